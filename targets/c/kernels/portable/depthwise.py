"""Depthwise convolutions with one filter a channel: weights [kernel rows, kernel columns, C].

All channels of a tap lie side by side in the image and in the weights, so a compiler can take many
at a time. The zero point is folded into the bias, see :mod:`.convolution`.
"""

from __future__ import annotations

from string import Template

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.portable.constants import constants, function_name
from intaglio.targets.c.kernels.portable.stage import output_stage
from intaglio.targets.c.kernels.portable.window import TAPS, WINDOW, declare_window, is_padded
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import Convolution

_DEPTHWISE = Template("""\
/* A convolution of each channel with a filter of its own; weights [kernel rows, kernel columns,
   channels]. The bias has -x_zero_point * sum of weights in it; a tap outside the image gives its
   part back. Up to 32 channels at a time. */
static void ${name}(const ${x} *x, const ${w} *weights, const ${bias} *bias,
    const struct window *shape, int32_t x_zero_point, const struct ${stage} *stage, ${y} *y)
{
    const int32_t channels = shape->channels;
    int32_t row, column, first, i, j, k;
    for (row = 0; row < shape->result_rows; row++) {
        const int32_t top = row * shape->row_stride - shape->top;
        const struct taps rows =
            taps_inside(top, shape->row_dilation, shape->kernel_rows, shape->rows);
        for (column = 0; column < shape->result_columns; column++) {
            const int32_t left = column * shape->column_stride - shape->left;
            const struct taps columns =
                taps_inside(left, shape->column_dilation, shape->kernel_columns, shape->columns);
            for (first = 0; first < channels; first += 32) {
                const int32_t count = channels - first < 32 ? channels - first : 32;
                const ${w} *tap = weights + first;
                ${sum} acc[32];
                for (k = 0; k < count; k++) {
                    acc[k] = bias[first + k];
                }
                for (i = 0; i < shape->kernel_rows; i++) {
                    for (j = 0; j < shape->kernel_columns; j++) {
                        if (i >= rows.first && i < rows.end && j >= columns.first
                            && j < columns.end) {
                            const ${x} *pixel = x + first
                                + ((top + i * shape->row_dilation) * shape->columns + left
                                    + j * shape->column_dilation) * channels;
                            for (k = 0; k < count; k++) {
                                acc[k] += pixel[k] * tap[k];
                            }
                        } else if (x_zero_point != 0) {
                            for (k = 0; k < count; k++) {
                                acc[k] += x_zero_point * tap[k];
                            }
                        }
                        tap += channels;
                    }
                }
                for (k = 0; k < count; k++) {
                    y[first + k] = (${y})${finish}(${cast}acc[k], stage, first + k);
                }
            }
            y += channels;
        }
    }
}""")


def is_simple(layer: Convolution) -> bool:
    """Whether ``layer`` has one filter for each of several channels."""
    return layer.is_depthwise and layer.groups == layer.weights.shape[0]


def convolve_depthwise(layer: Convolution) -> Implementation:
    """Code of a depthwise convolution for which :func:`is_simple` holds."""
    window = layer.window
    data = constants(layer.inputs[0], layer.weights, layer.weight_zero_point, layer.bias, fold=True)
    stage = output_stage(layer.rescale)
    x, y = c_type(layer.inputs[0].dtype), c_type(layer.output.dtype)
    w, bias = c_type(data.weights.dtype.name), c_type(data.bias.dtype.name)
    name = function_name("depthwise", x, w, bias, y, stage.name, wide=data.wide)
    text = _DEPTHWISE.substitute(
        name=name,
        x=x,
        w=w,
        bias=bias,
        sum="int64_t" if data.wide else "int32_t",
        y=y,
        stage=stage.struct,
        finish=stage.finish.name,
        cast="(int32_t)" if data.wide and stage.accumulator == "int32_t" else "",
    )
    padding = layer.inputs[0].zero_point if is_padded(window) else 0
    return Implementation(
        call=f"{declare_window(window)}\n{stage.declaration}\n"
        f"{name}(x0, @weights@, @bias@, &shape, {padding}, &stage, y);",
        functions=(Function(name, text, (WINDOW, TAPS, stage.finish)),),
        arrays=(
            Array("weights", data.weights.transpose(1, 2, 3, 0)),
            Array("bias", data.bias),
            *stage.arrays,
        ),
    )
