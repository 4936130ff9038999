"""Kernels for AArch64: NEON, and its dot product where there is one."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Implementation, Kernels
from intaglio.targets.c.kernels.neon.dense import dense
from intaglio.targets.c.kernels.neon.depthwise import depthwise
from intaglio.targets.c.network import Convolution


def _convolution(layer: Convolution, variant: str, budget: int) -> Implementation | None:
    del budget
    return dense(layer, variant) or depthwise(layer, variant)


KERNELS: Kernels = {Convolution: _convolution}
