"""Kernels for x86: AVX2, and AVX-512 with VNNI."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Implementation, Kernels
from intaglio.targets.c.kernels.x86.dense import dense
from intaglio.targets.c.kernels.x86.depthwise import depthwise
from intaglio.targets.c.kernels.x86.pools import pool, reduction
from intaglio.targets.c.kernels.x86.prelu import prelu
from intaglio.targets.c.kernels.x86.sums import sum_of
from intaglio.targets.c.kernels.x86.tables import requantization, table
from intaglio.targets.c.kernels.x86.transposed import transposed
from intaglio.targets.c.network import (
    Convolution,
    Pool,
    PRelu,
    Reduction,
    Requantization,
    Sum,
    Table,
    TransposedConvolution,
)


def _convolution(layer: Convolution, variant: str, budget: int) -> Implementation | None:
    del budget
    return dense(layer, variant) if layer.groups == 1 else depthwise(layer, variant)


KERNELS: Kernels = {
    Convolution: _convolution,
    Pool: pool,
    PRelu: prelu,
    Reduction: reduction,
    Requantization: requantization,
    Sum: sum_of,
    Table: table,
    TransposedConvolution: transposed,
}
