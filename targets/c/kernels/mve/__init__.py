"""Kernels for Cortex-M55 and M85: Helium, the M-profile vector extension."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Implementation, Kernels
from intaglio.targets.c.kernels.mve import (
    convolution,
    depthwise,
    pooling,
    prelu,
    sums,
    tables,
    trained,
)
from intaglio.targets.c.network import (
    Convolution,
    Pool,
    PRelu,
    Requantization,
    Sum,
    Table,
    TrainedConvolution,
)


def _convolution(layer: Convolution, variant: str, budget: int) -> Implementation | None:
    kernel = depthwise.implement if layer.is_depthwise else convolution.implement
    return kernel(layer, variant, budget)


KERNELS: Kernels = {
    Convolution: _convolution,
    Sum: sums.implement,
    Pool: pooling.implement,
    PRelu: prelu.implement,
    Table: tables.look_up,
    Requantization: tables.requantize,
    TrainedConvolution: trained.implement,
}
