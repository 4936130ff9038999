"""Convolutions, dense or in groups: one C function for all layers of the same types.

A tap in the padding stands for the input's zero point. Where the zero point is folded into the bias
a tap that is skipped has to be given back: ``x_zero_point`` times the sum of its weights.
"""

from __future__ import annotations

from string import Template

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.portable.constants import constants, function_name
from intaglio.targets.c.kernels.portable.depthwise import convolve_depthwise, is_simple
from intaglio.targets.c.kernels.portable.dots import NOINLINE, dot_rows
from intaglio.targets.c.kernels.portable.stage import output_stage
from intaglio.targets.c.kernels.portable.window import (
    TAPS,
    WINDOW,
    declare_window,
    is_padded,
    one_row,
)
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import Convolution

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

_CONVOLUTION = Template("""\
/* A convolution with weights [filters, kernel rows, kernel columns, channels of a group]. The bias
   has -x_zero_point * sum of weights in it. Up to four filters at a time see a window. */
static void ${name}(const ${x} *x, const ${w} *weights, const ${bias} *bias,
    const struct window *shape, int32_t groups, int32_t x_zero_point,
    const struct ${stage} *stage, ${y} *y)
{
    const int32_t depth = shape->channels / groups;
    const int32_t filters = shape->filters / groups;
    const int32_t filter = shape->kernel_rows * shape->kernel_columns * depth;
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
                for (first = 0; first < filters; first += 4) {
                    const int32_t count = filters - first < 4 ? filters - first : 4;
                    const int32_t channel = group * filters + first;
                    const ${w} *kernel = weights + channel * filter;
                    ${sum} acc[4];
                    for (i = 0; i < count; i++) {
                        acc[i] = bias[channel + i];
                        if (skips && x_zero_point != 0) {
                            acc[i] += ${wide}x_zero_point * weights_outside_${w}(
                                kernel + i * filter, shape, depth, rows, columns);
                        }
                    }
                    for (i = rows.first; i < rows.end; i++) {
                        const ${x} *line = x
                            + (top + i * shape->row_dilation) * shape->columns * shape->channels
                            + group * depth;
                        for (k = columns.first; k < columns.end; k += run) {
                            ${dot}(line + (left + k * shape->column_dilation) * shape->channels,
                                kernel + (i * shape->kernel_columns + k) * depth, filter,
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


def convolve(layer: Convolution, variant: str, budget: int) -> Implementation | None:
    """Code of a convolution."""
    if is_simple(layer):
        return convolve_depthwise(layer)
    window = one_row(layer.window)
    weights = layer.weights
    if window is not layer.window:
        weights = weights.transpose(0, 2, 1, 3)
    x_zero_point = layer.inputs[0].zero_point
    data = constants(layer.inputs[0], weights, layer.weight_zero_point, layer.bias, fold=True)
    stage = output_stage(layer.rescale, y := c_type(layer.output.dtype), wide=data.wide)
    dot = dot_rows(
        x := c_type(layer.inputs[0].dtype), w := c_type(data.weights.dtype.name), wide=data.wide
    )
    bias = c_type(data.bias.dtype.name)
    name = function_name("convolution", x, w, bias, y, stage.name, wide=data.wide)
    text = _CONVOLUTION.substitute(
        name=name,
        x=x,
        w=w,
        bias=bias,
        sum=data.sum_type,
        y=y,
        stage=stage.struct,
        dot=dot.name,
        finish=stage.finish.name,
        wide="(int64_t)" if data.wide else "",
    )
    outside = Function(f"weights_outside_{w}", _WEIGHTS_OUTSIDE.substitute(w=w), (NOINLINE,))
    function = Function(name, text, (WINDOW, TAPS, outside, dot, stage.finish))
    padding = x_zero_point if is_padded(window) else 0
    return Implementation(
        call=f"{declare_window(window)}\n{stage.declaration}\n"
        f"{name}(x0, @weights@, @bias@, &shape, {layer.groups}, {padding}, &stage, y);",
        functions=(function,),
        arrays=(Array("weights", data.weights), Array("bias", data.bias), *stage.arrays),
    )
