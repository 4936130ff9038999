"""Softmax of int8 rows with gemmlowp's fixed-point arithmetic (``passes/dialect/softmax.py``).

The exponentials of the 256 differences to the row's peak are a table. Each counts rounded to Q12.19
in the sum; the sum is shifted to [1, 2), and half of it, in Q0.31, is inverted by three
Newton-Raphson steps from ``48/17 - 32/17 * d``.
"""

from __future__ import annotations

import numpy as np

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.portable.broadcasting import nothing, overwritable
from intaglio.targets.c.kernels.portable.values import INT32_MAXIMUM, fits_int32
from intaglio.targets.c.network import Softmax

#: ``(a*b + 2^30) >> 31``; the only product that does not fit, (-2^31)^2, does not occur.
MULTIPLY_Q31 = Function(
    "multiply_q31",
    """\
/* a * b for numbers in Q0.31, to nearest, ties upward; not both are -1. */
static inline int32_t multiply_q31(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + (INT64_C(1) << 30)) >> 31);
}""",
)

#: The reciprocal of a sum of exponentials.
RECIPROCAL = Function(
    "reciprocal_of_sum",
    """\
/* 1 / sum = result * 2^-bits, the result in Q0.31. The sum is in Q12.19, at least 1. */
static int32_t reciprocal_of_sum(uint32_t sum, int32_t *bits)
{
    int32_t above = 0;
    while (sum >> above >= UINT32_C(1) << 20) {
        above++;
    }
    *bits = above;
    /* Half of the sum in [1, 2) as Q0.31. The estimates of its reciprocal, in [1, 2], are Q2.29. */
    const int32_t denominator = (int32_t)(sum << (11 - above));
    int32_t estimate = 1515870810 + multiply_q31(denominator, -1010580540);
    for (int32_t step = 0; step < 3; step++) {
        const int32_t error = (INT32_C(1) << 29) - multiply_q31(denominator, estimate);
        estimate += multiply_q31(estimate, error) * 4;
    }
    return estimate < INT32_C(1) << 30 ? estimate * 2 : INT32_MAX;
}""",
    (MULTIPLY_Q31,),
)

SOFTMAX = Function(
    "softmax",
    """\
/* Softmax of rows. exponentials[k] is exp(-k steps) in Q0.31; results are in 1/256, less 128. */
static void softmax(const int8_t *x, int8_t *y, int32_t rows, int32_t length,
                    const int32_t *exponentials)
{
    for (int32_t row = 0; row < rows; row++) {
        int32_t peak = x[0];
        for (int32_t i = 1; i < length; i++) {
            peak = x[i] > peak ? x[i] : peak;
        }
        uint32_t sum = 0;
        for (int32_t i = 0; i < length; i++) {
            sum += ((uint32_t)exponentials[peak - x[i]] + 2048u) >> 12;
        }
        int32_t bits;
        const int32_t reciprocal = reciprocal_of_sum(sum, &bits);
        const int32_t places = bits + 23;
        if (places > 31) {
            /* Nothing is left of a number below 2^31 that is rounded by more bits than it has. */
            memset(y, -128, (size_t)length);
        } else {
            const uint32_t half = UINT32_C(1) << (places - 1);
            for (int32_t i = 0; i < length; i++) {
                const int32_t share = multiply_q31(exponentials[peak - x[i]], reciprocal);
                const uint32_t level = ((uint32_t)share + half) >> places;
                y[i] = (int8_t)((level < 255 ? (int32_t)level : 255) - 128);
            }
        }
        x += length;
        y += length;
    }
}""",
    (RECIPROCAL,),
)


def apply_softmax(layer: Softmax, variant: str, budget: int) -> Implementation:
    """Code of an int8 softmax.

    Args:
        layer: The layer.
        variant: Not needed.
        budget: Not needed.

    Raises:
        InternalError: Rows are too long, or the table is none of exponentials.
    """
    del variant, budget
    if not layer.output.size:
        return Implementation(nothing(layer))
    length = layer.output.shape[-1]
    table = np.asarray(layer.constants["exp_table"], np.int64).reshape(-1)
    if table.size != 256 or table.min() < 0 or table[0] != INT32_MAXIMUM:
        raise InternalError(f"the table of '{layer.name}' is none of exponentials")
    if not fits_int32(length * ((int(table.max()) + 2048) >> 12)):
        raise InternalError(f"the rows of '{layer.name}' are too long: {length} elements")
    call = f"softmax(x0, y, {layer.output.size // length}, {length}, @exponentials@);"
    return Implementation(
        call,
        functions=(SOFTMAX,),
        arrays=(Array("exponentials", table.astype(np.int32)),),
        in_place=overwritable(layer),
    )
