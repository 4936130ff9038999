"""Kernels in plain C99: the fallback of every processor, and the definition in code."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Kernels

KERNELS: Kernels = {}
