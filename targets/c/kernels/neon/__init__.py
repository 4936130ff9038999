"""Kernels for AArch64: NEON, and its dot product where there is one."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Implementation, Kernels
from intaglio.targets.c.kernels.neon.additive_tables import additive_tables
from intaglio.targets.c.kernels.neon.dense import dense
from intaglio.targets.c.kernels.neon.depthwise import depthwise
from intaglio.targets.c.kernels.neon.elementwise import requantization, sum_of
from intaglio.targets.c.kernels.neon.pools import pool
from intaglio.targets.c.kernels.neon.prelu import prelu
from intaglio.targets.c.kernels.neon.reductions import reduction
from intaglio.targets.c.kernels.neon.tables import table
from intaglio.targets.c.kernels.neon.trained import trained
from intaglio.targets.c.network import (
    AdditiveTables,
    Convolution,
    Pool,
    PRelu,
    Reduction,
    Requantization,
    Sum,
    Table,
    TrainedConvolution,
)


def _convolution(layer: Convolution, variant: str, budget: int) -> Implementation | None:
    del budget
    return dense(layer, variant) or depthwise(layer, variant)


def _trained(layer: TrainedConvolution, variant: str, budget: int) -> Implementation | None:
    del budget
    return trained(layer, variant)


KERNELS: Kernels = {
    AdditiveTables: additive_tables,
    Convolution: _convolution,
    Pool: pool,
    PRelu: prelu,
    Reduction: reduction,
    Requantization: requantization,
    Sum: sum_of,
    Table: table,
    TrainedConvolution: _trained,
}
