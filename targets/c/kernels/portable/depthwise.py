"""Depthwise convolutions with one filter a channel: weights [kernel rows, kernel columns, C].

All channels of a tap lie side by side in the image and in the weights, so a compiler can take many
at a time. The zero point is folded into the bias, see :mod:`.convolution`.
"""

from __future__ import annotations

from string import Template

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.portable.constants import constants, function_name
from intaglio.targets.c.kernels.portable.dots import NOINLINE
from intaglio.targets.c.kernels.portable.stage import output_stage
from intaglio.targets.c.kernels.portable.window import TAPS, WINDOW, declare_window, is_padded
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import Convolution

_TAPS = Template("""\
/* Adds a tap of count channels to their accumulators. */
static NOINLINE void add_tap_${name}(const ${x} *x, const ${w} *weights, int32_t count,
    ${sum} *acc)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        acc[i] += x[i] * weights[i];
    }
}

/* Adds three taps; step lies between those of x, distance between those of the weights. */
static NOINLINE void add_three_taps_${name}(const ${x} *x, int32_t step, const ${w} *weights,
    int32_t distance, int32_t count, ${sum} *acc)
{
    const ${x} *x1 = x + step, *x2 = x1 + step;
    const ${w} *w1 = weights + distance, *w2 = w1 + distance;
    int32_t i;
    for (i = 0; i < count; i++) {
        acc[i] += x[i] * weights[i] + x1[i] * w1[i] + x2[i] * w2[i];
    }
}

/* Adds a tap outside the image, where all values are x_zero_point. */
static NOINLINE void add_outside_${name}(int32_t x_zero_point, const ${w} *weights,
    int32_t count, ${sum} *acc)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        acc[i] += x_zero_point * weights[i];
    }
}""")

_DEPTHWISE = Template("""\
/* A convolution of each channel with a filter of its own; weights [kernel rows, kernel columns,
   channels]. The bias has -x_zero_point * sum of weights in it; a tap outside the image gives its
   part back. Up to 32 channels at a time. */
static void ${name}(const ${x} *x, const ${w} *weights, const ${bias} *bias,
    const struct window *shape, int32_t x_zero_point, const struct ${stage} *stage, ${y} *y)
{
    const int32_t channels = shape->channels;
    const int32_t step = shape->column_dilation * channels;
    int32_t row, column, first, i, k;
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
                    const int is_inside = i >= rows.first && i < rows.end;
                    const int32_t line = first
                        + ((top + i * shape->row_dilation) * shape->columns + left) * channels;
                    k = 0;
                    while (k < shape->kernel_columns) {
                        int32_t taps = 1;
                        if (!is_inside || k < columns.first || k >= columns.end) {
                            if (x_zero_point != 0) {
                                add_outside_${taps}(x_zero_point, tap, count, acc);
                            }
                        } else if (columns.end - k >= 3) {
                            taps = 3;
                            add_three_taps_${taps}(
                                x + (line + k * step), step, tap, channels, count, acc);
                        } else {
                            add_tap_${taps}(x + (line + k * step), tap, count, acc);
                        }
                        tap += taps * channels;
                        k += taps;
                    }
                }
                ${finish}(acc, count, stage, first, y + first);
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
    x, y = c_type(layer.inputs[0].dtype), c_type(layer.output.dtype)
    w, bias = c_type(data.weights.dtype.name), c_type(data.bias.dtype.name)
    stage = output_stage(layer.rescale, y, wide=data.wide)
    adders = _adders(x, w, data.sum_type)
    name = function_name("depthwise", x, w, bias, y, stage.name, wide=data.wide)
    text = _DEPTHWISE.substitute(
        name=name,
        x=x,
        w=w,
        bias=bias,
        sum=data.sum_type,
        y=y,
        stage=stage.struct,
        finish=stage.finish.name,
        taps=adders.name.removeprefix("add_tap_"),
    )
    padding = layer.inputs[0].zero_point if is_padded(window) else 0
    return Implementation(
        call=f"{declare_window(window)}\n{stage.declaration}\n"
        f"{name}(x0, @weights@, @bias@, &shape, {padding}, &stage, y);",
        functions=(Function(name, text, (WINDOW, TAPS, adders, stage.finish)),),
        arrays=(
            Array("weights", data.weights.transpose(1, 2, 3, 0)),
            Array("bias", data.bias),
            *stage.arrays,
        ),
    )


def _adders(x: str, w: str, sum_type: str) -> Function:
    """The loops over channels: ``add_tap`` and others of its suffix."""
    parts = [x, *([w] if w != "int8_t" else []), *(["wide"] if sum_type == "int64_t" else [])]
    name = "_".join(part.removesuffix("_t") for part in parts)
    text = _TAPS.substitute(name=name, x=x, w=w, sum=sum_type)
    return Function(f"add_tap_{name}", text, (NOINLINE,))
