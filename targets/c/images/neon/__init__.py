"""Blocks of a centred table network on AArch64: a table of 16 rows is one register.

``tbl`` looks 16 cells up; ``saddw`` and ``saddw2`` add the entries to words. A block has 32 cells,
two outputs at a time, so that each table and each register of indices serves twice.
"""

from __future__ import annotations

from intaglio.targets.c.images.neon.kernels import kernels

__all__ = ["kernels"]
