"""Kernels for AArch64: NEON, and its dot product where there is one."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Kernels

KERNELS: Kernels = {}
