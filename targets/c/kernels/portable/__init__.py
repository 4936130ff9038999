"""Kernels in plain C99: the fallback of every processor, and the definition in code."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Kernels
from intaglio.targets.c.kernels.portable.additive_tables import look_up_additively
from intaglio.targets.c.kernels.portable.border import cross_border
from intaglio.targets.c.kernels.portable.convolution import convolve
from intaglio.targets.c.kernels.portable.extreme import take_extremes
from intaglio.targets.c.kernels.portable.move import move
from intaglio.targets.c.kernels.portable.multiplication import multiply
from intaglio.targets.c.kernels.portable.pooling import pool
from intaglio.targets.c.kernels.portable.prelu import apply_prelu
from intaglio.targets.c.kernels.portable.product import multiply_matrices
from intaglio.targets.c.kernels.portable.reduction import reduce_axes
from intaglio.targets.c.kernels.portable.requantization import requantize
from intaglio.targets.c.kernels.portable.resize_linear import resize_linearly
from intaglio.targets.c.kernels.portable.sigmoid16 import apply_sigmoid16
from intaglio.targets.c.kernels.portable.softmax import apply_softmax
from intaglio.targets.c.kernels.portable.softmax16 import apply_softmax16
from intaglio.targets.c.kernels.portable.sums import add
from intaglio.targets.c.kernels.portable.tables import look_up, look_up_between
from intaglio.targets.c.kernels.portable.take import take
from intaglio.targets.c.kernels.portable.trained import convolve_trained
from intaglio.targets.c.kernels.portable.transposed import convolve_transposed
from intaglio.targets.c.network import (
    AdditiveTables,
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
    TrainedConvolution,
    TransposedConvolution,
)

KERNELS: Kernels = {
    AdditiveTables: look_up_additively,
    Border: cross_border,
    Convolution: convolve,
    Extreme: take_extremes,
    InterpolatedTable: look_up_between,
    Move: move,
    Multiplication: multiply,
    PRelu: apply_prelu,
    Pool: pool,
    Product: multiply_matrices,
    Reduction: reduce_axes,
    Requantization: requantize,
    ResizeLinear: resize_linearly,
    Sigmoid16: apply_sigmoid16,
    Softmax16: apply_softmax16,
    Softmax: apply_softmax,
    Sum: add,
    Table: look_up,
    Take: take,
    TrainedConvolution: convolve_trained,
    TransposedConvolution: convolve_transposed,
}
