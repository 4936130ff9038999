"""Convolutions over patches: what a window sees is gathered first, in the order of the weights.

A filter is then one long dot product, and taps in the padding are as good as others. The patch is
gathered once for all filters of a pixel.
"""

from __future__ import annotations

from string import Template

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.portable.dots import NOINLINE
from intaglio.targets.c.kernels.portable.window import TAPS, WINDOW, is_padded
from intaglio.targets.c.network import Window

_GATHER = Template("""\
/* Copies what a window sees into patch, in the order of the weights; taps outside the image give
   x_zero_point. top and left are the place of the first tap in the image. */
static NOINLINE void gather_${dtype}(const ${x} *x, const struct window *shape, int32_t groups,
    int32_t top, int32_t left, ${x} x_zero_point, ${x} *patch)
{
    const struct taps rows = taps_inside(top, shape->row_dilation, shape->kernel_rows, shape->rows);
    const struct taps columns =
        taps_inside(left, shape->column_dilation, shape->kernel_columns, shape->columns);
    const int32_t depth = shape->channels / groups;
    /* Taps of a row lie one behind the other in the image, too. */
    const int32_t run =
        groups == 1 && shape->column_dilation == 1 ? columns.end - columns.first : 1;
    int32_t i, j, k;
    for (i = 0; i < shape->kernel_rows; i++) {
        const int32_t line = (top + i * shape->row_dilation) * shape->columns + left;
        for (j = 0; j < shape->kernel_columns;) {
            int32_t taps = 1;
            if (i >= rows.first && i < rows.end && j >= columns.first && j < columns.end) {
                taps = run;
                memcpy(patch, x + (line + j * shape->column_dilation) * shape->channels,
                    (size_t)(taps * depth) * sizeof *x);
            } else {
                for (k = 0; k < depth; k++) {
                    patch[k] = x_zero_point;
                }
            }
            patch += taps * depth;
            j += taps;
        }
    }
}""")

_PATCHES = Template("""\
/* A convolution with weights [filters, kernel rows, kernel columns, channels of a group], whose
   windows are gathered in patch unless they lie one behind the other in the image. The bias has
   -x_zero_point * sum of weights in it. Up to 32 filters at a time. */
static void ${name}(const ${x} *x, const ${w} *weights, const ${bias} *bias,
    const struct window *shape, int32_t groups, ${x} x_zero_point, ${x} *patch,
    const struct ${stage} *stage, ${y} *y)
{
    const int32_t depth = shape->channels / groups;
    const int32_t filters = shape->filters / groups;
    const int32_t size = shape->kernel_rows * shape->kernel_columns * depth;
    int32_t row, column, group, first, i;
    for (row = 0; row < shape->result_rows; row++) {
        const int32_t top = row * shape->row_stride - shape->top;
        for (column = 0; column < shape->result_columns; column++) {
            const int32_t left = column * shape->column_stride - shape->left;
            for (group = 0; group < groups; group++) {
                const ${x} *seen = patch;
                if (patch == NULL) {
                    seen = x + (top * shape->columns + left) * shape->channels + group * depth;
                } else {
                    gather_${dtype}(x + group * depth, shape, groups, top, left, x_zero_point,
                        patch);
                }
                for (first = 0; first < filters; first += 32) {
                    const int32_t count = filters - first < 32 ? filters - first : 32;
                    const int32_t channel = group * filters + first;
                    ${sum} acc[32];
                    for (i = 0; i < count; i++) {
                        acc[i] = bias[channel + i];
                    }
                    ${dot}(seen, weights + channel * size, size, size, count, acc);
                    ${finish}(acc, count, stage, channel, y + channel);
                }
            }
            y += shape->filters;
        }
    }
}""")


def patch_function(words: dict[str, str], needs: tuple[Function, ...]) -> Function:
    """The C function, see :mod:`.convolution` for ``words``."""
    dtype = words["x"].removesuffix("_t")
    gather = gather_function(words["x"])
    return Function(words["name"], _PATCHES.substitute(words, dtype=dtype), (gather, *needs))


def gather_function(x: str) -> Function:
    """``gather(x, shape, groups, top, left, x_zero_point, patch)`` for values of a C type."""
    dtype = x.removesuffix("_t")
    text = _GATHER.substitute(x=x, dtype=dtype)
    return Function(f"gather_{dtype}", text, (WINDOW, TAPS, NOINLINE))


def is_whole(window: Window, groups: int) -> bool:
    """Whether everything that a window sees lies one behind the other in the image."""
    (rows, columns), (row_dilation, column_dilation) = window.kernel, window.dilations
    is_row = columns == 1 or (groups == 1 and column_dilation == 1)
    are_rows = rows == 1 or (
        groups == 1 and columns == window.image[1] and (row_dilation, column_dilation) == (1, 1)
    )
    return is_row and are_rows and not is_padded(window)
