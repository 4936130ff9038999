"""Kernels in plain C99: the fallback of every processor, and the definition in code."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Kernels
from intaglio.targets.c.kernels.portable.border import cross_border
from intaglio.targets.c.kernels.portable.convolution import convolve
from intaglio.targets.c.kernels.portable.extreme import extreme
from intaglio.targets.c.kernels.portable.move import move
from intaglio.targets.c.kernels.portable.multiplication import multiplication
from intaglio.targets.c.kernels.portable.pooling import pool
from intaglio.targets.c.kernels.portable.prelu import prelu
from intaglio.targets.c.kernels.portable.product import multiply_matrices
from intaglio.targets.c.kernels.portable.reduction import reduce_axes
from intaglio.targets.c.kernels.portable.requantization import requantization
from intaglio.targets.c.kernels.portable.resize_linear import resize_linear
from intaglio.targets.c.kernels.portable.sigmoid16 import sigmoid16
from intaglio.targets.c.kernels.portable.softmax import softmax
from intaglio.targets.c.kernels.portable.softmax16 import softmax16
from intaglio.targets.c.kernels.portable.sums import sum_of
from intaglio.targets.c.kernels.portable.tables import interpolated_table, table
from intaglio.targets.c.kernels.portable.take import take
from intaglio.targets.c.kernels.portable.transposed import convolve_transposed
from intaglio.targets.c.network import (
    Border,
    Convolution,
    Extreme,
    InterpolatedTable,
    Move,
    Multiplication,
    Pool,
    PRelu,
    Product,
    Reduction,
    Requantization,
    ResizeLinear,
    Sigmoid16,
    Softmax,
    Softmax16,
    Sum,
    Table,
    Take,
    TransposedConvolution,
)

KERNELS: Kernels = {
    Border: cross_border,
    Convolution: convolve,
    Extreme: extreme,
    InterpolatedTable: interpolated_table,
    Move: move,
    Multiplication: multiplication,
    PRelu: prelu,
    Pool: pool,
    Product: multiply_matrices,
    Reduction: reduce_axes,
    Requantization: requantization,
    ResizeLinear: resize_linear,
    Sigmoid16: sigmoid16,
    Softmax16: softmax16,
    Softmax: softmax,
    Sum: sum_of,
    Table: table,
    Take: take,
    TransposedConvolution: convolve_transposed,
}
