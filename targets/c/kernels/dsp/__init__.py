"""Kernels for Cortex-M4, M7 and M33: the DSP extension."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Kernels

KERNELS: Kernels = {}
