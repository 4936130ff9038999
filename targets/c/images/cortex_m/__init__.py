"""Blocks of a centred table network on Cortex-M with the DSP extension.

Two sums of 16 bits lie in a register: ``SXTAB16`` adds two entries of a table to them, so that four
look-ups are a load and two additions. Windows of single taps are a table of 256 bytes.
"""

from __future__ import annotations

from intaglio.targets.c.images.cortex_m.kernels import kernels

__all__ = ["kernels"]
