"""Sums of products of int8 activations and int16 weights that training changes.

The weights are not known when the code is written, so the zero point of the activations cannot be
folded into a bias: it is subtracted from each value. What lies outside the image adds nothing.
"""

from __future__ import annotations

from string import Template

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.portable.dots import NOINLINE

#: Products of a value of 9 bits and a weight of 16 that fit an int32_t: 257 * 255 * 32767 < 2^31.
PRODUCTS = 256

_DOT = Function(
    "trained_dot",
    """\
/* The sum of count products of x - x_zero_point and a row of weights. */
static NOINLINE int32_t trained_dot(const int8_t *x, int32_t x_zero_point, const int16_t *weights,
    int32_t count)
{
    int32_t sum = 0, i;
    for (i = 0; i < count; i++) {
        sum += (x[i] - x_zero_point) * weights[i];
    }
    return sum;
}""",
    (NOINLINE,),
)

_DOT4 = Function(
    "trained_dot4",
    """\
/* Four such sums, of rows of weights that lie distance apart. */
static NOINLINE void trained_dot4(const int8_t *x, int32_t x_zero_point, const int16_t *weights,
    int32_t distance, int32_t count, int32_t *sums)
{
    const int16_t *w0 = weights, *w1 = w0 + distance, *w2 = w1 + distance, *w3 = w2 + distance;
    int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0, i;
    for (i = 0; i < count; i++) {
        const int32_t value = x[i] - x_zero_point;
        sum0 += value * w0[i];
        sum1 += value * w1[i];
        sum2 += value * w2[i];
        sum3 += value * w3[i];
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}""",
    (NOINLINE,),
)

_ROWS = Template("""\
/* Adds to rows accumulators the products of x - x_zero_point and a row of weights each; the rows
   lie distance apart. ${comment} */
static void ${name}(const int8_t *x, int32_t x_zero_point, const int16_t *weights,
    int32_t distance, int32_t count, int32_t rows, ${sum} *acc)
{
    int32_t row, from, length, i;
    for (from = 0; from < count; from += length) {
        const int16_t *line = weights + from;
        length = ${length};
        for (row = 0; row + 4 <= rows; row += 4) {
            int32_t sums[4];
            ${dot4}(x + from, x_zero_point, line, distance, length, sums);
            for (i = 0; i < 4; i++) {
                acc[row + i] += sums[i];
            }
            line += 4 * distance;
        }
        for (; row < rows; row++) {
            acc[row] += ${dot}(x + from, x_zero_point, line, length);
            line += distance;
        }
    }
}""")


def trained_dot_rows(
    *, wide: bool, inner: tuple[Function, Function] = (_DOT, _DOT4), prefix: str = ""
) -> Function:
    """``f(x, x_zero_point, weights, distance, count, rows, acc)``: adds dot products to ``acc``.

    Args:
        wide: Accumulators are int64_t, and sums of int32_t end before they could overflow.
        inner: What sums products with a row of weights, and with four.
        prefix: Of its name, where the inner functions are those of a processor.
    """
    name = f"{prefix}trained_dot_rows{'_wide' if wide else ''}"
    text = _ROWS.substitute(
        name=name,
        dot=inner[0].name,
        dot4=inner[1].name,
        sum="int64_t" if wide else "int32_t",
        length=f"count - from < {PRODUCTS} ? count - from : {PRODUCTS}" if wide else "count",
        comment=f"{PRODUCTS} products at a time fit 32 bits." if wide else "All sums fit 32 bits.",
    )
    return Function(name, text, inner)
