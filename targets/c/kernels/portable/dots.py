"""Sums of products of values that lie one behind the other: the inner loops of convolutions."""

from __future__ import annotations

from string import Template

from intaglio.targets.c.kernels.base import Function

#: Keeps a function apart from its callers.
NOINLINE = Function(
    "noinline",
    """\
/* An inner loop that is a function of its own has the registers for itself. */
#if defined(__GNUC__)
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE
#endif""",
)

_DOT = Template("""\
/* The sum of count products. */
static NOINLINE int32_t dot_${name}(const ${x} *x, const ${w} *weights, int32_t count)
{
    int32_t sum = 0, i;
    for (i = 0; i < count; i++) {
        sum += x[i] * weights[i];
    }
    return sum;
}""")

_DOT4 = Template("""\
/* Adds to each of four accumulators the products of x and a row of weights; the rows lie distance
   apart. Each value of x is loaded once for all four. */
static NOINLINE void dot4_${name}(const ${x} *x, const ${w} *weights, int32_t distance,
    int32_t count, int32_t *acc)
{
    const ${w} *w0 = weights, *w1 = w0 + distance, *w2 = w1 + distance, *w3 = w2 + distance;
    int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0, i;
    for (i = 0; i < count; i++) {
        const int32_t value = x[i];
        sum0 += value * w0[i];
        sum1 += value * w1[i];
        sum2 += value * w2[i];
        sum3 += value * w3[i];
    }
    acc[0] += sum0;
    acc[1] += sum1;
    acc[2] += sum2;
    acc[3] += sum3;
}""")

_ROWS = Template("""\
/* The same for any number of rows and as many accumulators. */
static void dot_rows_${name}(const ${x} *x, const ${w} *weights, int32_t distance, int32_t count,
    int32_t rows, int32_t *acc)
{
    const int32_t fours = rows & ~3;
    int32_t row;
    for (row = 0; row < fours; row += 4) {
        dot4_${name}(x, weights + row * distance, distance, count, acc + row);
    }
    for (row = fours; row < rows; row++) {
        acc[row] += dot_${name}(x, weights + row * distance, count);
    }
}""")

_WIDE_ROWS = Template("""\
/* The same with accumulators of 64 bits: 256 products at a time fit 32. */
static void dot_rows_${name}_wide(const ${x} *x, const ${w} *weights, int32_t distance,
    int32_t count, int32_t rows, int64_t *acc)
{
    int32_t row, from, i;
    for (row = 0; row < rows; row += 4) {
        const int32_t part = rows - row < 4 ? rows - row : 4;
        for (from = 0; from < count; from += 256) {
            const int32_t length = count - from < 256 ? count - from : 256;
            int32_t sums[4] = {0, 0, 0, 0};
            dot_rows_${name}(
                x + from, weights + row * distance + from, distance, length, part, sums);
            for (i = 0; i < part; i++) {
                acc[row + i] += sums[i];
            }
        }
    }
}""")


def dot_rows(x: str, w: str, *, wide: bool) -> Function:
    """``dot_rows(x, weights, distance, count, rows, acc)``: dot products of ``x`` with each row.

    Args:
        x: C type of the values: ``int8_t`` or ``int16_t``.
        w: C type of the weights, which are at most 255 in magnitude.
        wide: Accumulators are int64_t, else int32_t.
    """
    name = f"{x}_{w}".replace("_t", "")
    words = {"name": name, "x": x, "w": w}
    one = Function(f"dot_{name}", _DOT.substitute(words), (NOINLINE,))
    four = Function(f"dot4_{name}", _DOT4.substitute(words), (NOINLINE,))
    narrow = Function(f"dot_rows_{name}", _ROWS.substitute(words), (one, four))
    if not wide:
        return narrow
    return Function(f"dot_rows_{name}_wide", _WIDE_ROWS.substitute(words), (narrow,))
