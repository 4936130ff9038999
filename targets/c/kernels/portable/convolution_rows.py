"""Convolutions row by row of the window, where it lies: they need no memory of their own.

A tap in the padding stands for the input's zero point. Where the zero point is folded into the bias
a tap that is skipped has to be given back: ``x_zero_point`` times the sum of its weights.
"""

from __future__ import annotations

from string import Template

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.portable.dots import NOINLINE
from intaglio.targets.c.kernels.portable.window import TAPS, WINDOW

_WEIGHTS_OUTSIDE = Template("""\
/* The sum of a filter's weights at the taps that are not inside; the taps of a row are depth
   weights each. */
static NOINLINE int32_t weights_outside_${w}(const ${w} *weights, const struct window *shape,
    int32_t depth, struct taps rows, struct taps columns)
{
    const int32_t first = columns.first * depth, end = columns.end * depth;
    const int32_t length = shape->kernel_columns * depth;
    int32_t sum = 0, row, i;
    for (row = 0; row < shape->kernel_rows; row++) {
        const int is_inside = row >= rows.first && row < rows.end;
        for (i = 0; i < (is_inside ? first : length); i++) {
            sum += weights[i];
        }
        for (i = end; is_inside && i < length; i++) {
            sum += weights[i];
        }
        weights += length;
    }
    return sum;
}""")

_ROWS = Template("""\
/* A convolution with weights [filters, kernel rows, kernel columns, channels of a group]; each row
   of a window is read where it lies. The bias has -x_zero_point * sum of weights in it; taps
   outside the image give their part back. Up to 32 filters at a time. */
static void ${name}(const ${x} *x, const ${w} *weights, const ${bias} *bias,
    const struct window *shape, int32_t groups, int32_t x_zero_point,
    const struct ${stage} *stage, ${y} *y)
{
    const int32_t depth = shape->channels / groups;
    const int32_t filters = shape->filters / groups;
    const int32_t size = shape->kernel_rows * shape->kernel_columns * depth;
    /* Taps of a row lie one behind the other in the image as they do in the weights. */
    const int is_contiguous = groups == 1 && shape->column_dilation == 1;
    int32_t row, column, group, first, i, k;
    for (row = 0; row < shape->result_rows; row++) {
        const int32_t top = row * shape->row_stride - shape->top;
        const struct taps rows =
            taps_inside(top, shape->row_dilation, shape->kernel_rows, shape->rows);
        for (column = 0; column < shape->result_columns; column++) {
            const int32_t left = column * shape->column_stride - shape->left;
            const struct taps columns =
                taps_inside(left, shape->column_dilation, shape->kernel_columns, shape->columns);
            const int32_t run = is_contiguous ? columns.end - columns.first : 1;
            const int skips = rows.end - rows.first < shape->kernel_rows
                || columns.end - columns.first < shape->kernel_columns;
            for (group = 0; group < groups; group++) {
                for (first = 0; first < filters; first += 32) {
                    const int32_t count = filters - first < 32 ? filters - first : 32;
                    const int32_t channel = group * filters + first;
                    const ${w} *kernel = weights + channel * size;
                    ${sum} acc[32];
                    for (i = 0; i < count; i++) {
                        acc[i] = bias[channel + i];
                        if (skips && x_zero_point != 0) {
                            acc[i] += ${wide}x_zero_point * weights_outside_${w}(
                                kernel + i * size, shape, depth, rows, columns);
                        }
                    }
                    for (i = rows.first; i < rows.end; i++) {
                        const int32_t line =
                            (top + i * shape->row_dilation) * shape->columns + left;
                        for (k = columns.first; k < columns.end; k += run) {
                            const int32_t pixel = line + k * shape->column_dilation;
                            ${dot}(x + pixel * shape->channels + group * depth,
                                kernel + (i * shape->kernel_columns + k) * depth, size,
                                run * depth, count, acc);
                        }
                    }
                    ${finish}(acc, count, stage, channel, y + channel);
                }
            }
            y += shape->filters;
        }
    }
}""")


def row_function(words: dict[str, str], needs: tuple[Function, ...]) -> Function:
    """The C function, see :mod:`.convolution` for ``words``."""
    w = words["w"]
    outside = Function(
        f"weights_outside_{w}", _WEIGHTS_OUTSIDE.substitute(w=w), (WINDOW, TAPS, NOINLINE)
    )
    return Function(words["name"], _ROWS.substitute(words), (outside, *needs))
