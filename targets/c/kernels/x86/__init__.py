"""Kernels for x86: AVX2, and AVX-512 with VNNI."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Kernels

KERNELS: Kernels = {}
