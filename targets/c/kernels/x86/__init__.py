"""Kernels for x86: AVX2, and AVX-512 with VNNI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from intaglio.targets.c.kernels.base import Implementation, Kernels
from intaglio.targets.c.kernels.x86.additive_tables import additive_tables
from intaglio.targets.c.kernels.x86.dense import dense
from intaglio.targets.c.kernels.x86.depthwise import depthwise
from intaglio.targets.c.kernels.x86.pools import pool, reduction
from intaglio.targets.c.kernels.x86.prelu import prelu
from intaglio.targets.c.kernels.x86.sums import sum_of
from intaglio.targets.c.kernels.x86.tables import requantization, table
from intaglio.targets.c.kernels.x86.trained import trained
from intaglio.targets.c.kernels.x86.transposed import transposed
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
    TransposedConvolution,
)

Kernel = Callable[[Any, str], "Implementation | None"]


def _convolution(layer: Convolution, variant: str) -> Implementation | None:
    return dense(layer, variant) if layer.groups == 1 else depthwise(layer, variant)


def _not_empty(kernel: Kernel) -> Callable[[Any, str, int], Implementation | None]:
    """The kernel as the emitter calls it; layers without elements are left to portable code."""

    def implement(layer: Any, variant: str, budget: int) -> Implementation | None:
        del budget  # Rings of rows are small, and nothing works without them.
        tensors = (*layer.inputs, layer.output)
        return kernel(layer, variant) if all(tensor.size for tensor in tensors) else None

    return implement


KERNELS: Kernels = {
    AdditiveTables: _not_empty(additive_tables),
    Convolution: _not_empty(_convolution),
    Pool: _not_empty(pool),
    PRelu: _not_empty(prelu),
    Reduction: _not_empty(reduction),
    Requantization: _not_empty(requantization),
    Sum: _not_empty(sum_of),
    Table: _not_empty(table),
    TrainedConvolution: _not_empty(trained),
    TransposedConvolution: _not_empty(transposed),
}
