"""Convolutions whose int16 weights training changes: C functions that all such layers share.

Nothing is known of the weights but their bound: the kernels read them as they lie, ``[filters,
kernel rows, kernel columns, channels of a group]``, and need no memory of their own.
"""

from __future__ import annotations

from string import Template

import numpy as np

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.portable.stage import output_stage
from intaglio.targets.c.kernels.portable.trained_dots import trained_dot_rows
from intaglio.targets.c.kernels.portable.window import TAPS, WINDOW, declare_window, one_row
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import TrainedConvolution
from intaglio.transforms.fixed_point import Rounding

_SIGNATURE = """\
static void ${name}(const int8_t *x, const int16_t *weights, const ${bias} *bias,
    const int32_t *trained_bias, const struct window *shape, int32_t groups,
    int32_t x_zero_point, const struct ${stage} *stage, ${y} *y)
"""

_DENSE = Template(
    """\
/* A convolution with weights [filters, kernel rows, kernel columns, channels of a group]; each row
   of a window is read where it lies. trained_bias may be NULL. Up to 32 filters at a time. */
"""
    + _SIGNATURE
    + """\
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
            for (group = 0; group < groups; group++) {
                for (first = 0; first < filters; first += 32) {
                    const int32_t count = filters - first < 32 ? filters - first : 32;
                    const int32_t channel = group * filters + first;
                    const int16_t *kernel = weights + channel * size;
                    ${sum} acc[32];
                    for (i = 0; i < count; i++) {
                        acc[i] = bias[channel + i];
                        if (trained_bias != NULL) {
                            acc[i] += trained_bias[channel + i];
                        }
                    }
                    for (i = rows.first; i < rows.end; i++) {
                        const int32_t line =
                            (top + i * shape->row_dilation) * shape->columns + left;
                        for (k = columns.first; k < columns.end; k += run) {
                            const int32_t pixel = line + k * shape->column_dilation;
                            ${dot}(x + (pixel * shape->channels + group * depth), x_zero_point,
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
}"""
)

_DEPTHWISE = Template(
    """\
/* A convolution with weights [filters, kernel rows, kernel columns]: a filter, or a few, for each
   channel. trained_bias may be NULL. Up to 32 filters at a time. */
"""
    + _SIGNATURE
    + """\
{
    const int32_t size = shape->kernel_rows * shape->kernel_columns;
    const int32_t multiple = shape->filters / groups;
    int32_t row, column, first, i, j, k;
    for (row = 0; row < shape->result_rows; row++) {
        const int32_t top = row * shape->row_stride - shape->top;
        const struct taps rows =
            taps_inside(top, shape->row_dilation, shape->kernel_rows, shape->rows);
        for (column = 0; column < shape->result_columns; column++) {
            const int32_t left = column * shape->column_stride - shape->left;
            const struct taps columns =
                taps_inside(left, shape->column_dilation, shape->kernel_columns, shape->columns);
            for (first = 0; first < shape->filters; first += 32) {
                const int32_t count = shape->filters - first < 32 ? shape->filters - first : 32;
                ${sum} acc[32];
                for (i = 0; i < count; i++) {
                    acc[i] = bias[first + i];
                    if (trained_bias != NULL) {
                        acc[i] += trained_bias[first + i];
                    }
                }
                for (j = rows.first; j < rows.end; j++) {
                    const int32_t line = (top + j * shape->row_dilation) * shape->columns + left;
                    for (k = columns.first; k < columns.end; k++) {
                        const int8_t *pixel =
                            x + (line + k * shape->column_dilation) * shape->channels;
                        const int16_t *tap =
                            weights + (first * size + j * shape->kernel_columns + k);
                        if (multiple == 1) {
                            for (i = 0; i < count; i++) {
                                acc[i] += (pixel[first + i] - x_zero_point) * tap[i * size];
                            }
                        } else {
                            for (i = 0; i < count; i++) {
                                acc[i] += (pixel[(first + i) / multiple] - x_zero_point)
                                    * tap[i * size];
                            }
                        }
                    }
                }
                ${finish}(acc, count, stage, first, y + first);
            }
            y += shape->filters;
        }
    }
}"""
)


def convolve_trained(layer: TrainedConvolution, variant: str, budget: int) -> Implementation | None:
    """Code of a convolution with trained weights."""
    return convolve_with(layer, trained_dot_rows(wide=is_wide(layer)), "")


def convolve_with(layer: TrainedConvolution, dot: Function, prefix: str) -> Implementation:
    """Code of a convolution with the inner loop of a processor.

    Args:
        layer: The layer.
        dot: What adds dot products, see :func:`.trained_dots.trained_dot_rows`.
        prefix: Of the names of C functions that call it.
    """
    depthwise = layer.is_depthwise
    # Weights of one column keep their order when rows become columns.
    window = layer.window if depthwise else one_row(layer.window)
    y = c_type(layer.output.dtype)
    stage = output_stage(layer.rescale, y, wide=is_wide(layer))
    bias = trained_bias(layer)
    suffix = "_".join(
        [y.removesuffix("_t"), *(["wide_sum"] if is_wide(layer) else []), stage.name]
        + (["bias64"] if bias.data.dtype == np.int64 else [])
    )
    words = {
        "name": f"trained_depthwise_{suffix}"
        if depthwise
        else f"{prefix}trained_convolution_{suffix}",
        "bias": c_type(bias.data.dtype.name),
        "sum": "int64_t" if is_wide(layer) else "int32_t",
        "y": y,
        "stage": stage.struct,
        "finish": stage.finish.name,
    }
    needs = [WINDOW, TAPS, stage.finish]
    if depthwise:
        text = _DEPTHWISE.substitute(words)
    else:
        text = _DENSE.substitute(words, dot=dot.name)
        needs.append(dot)
    return Implementation(
        call=f"{declare_window(window)}\n{stage.declaration}\n"
        f"{words['name']}(x0, x1, @bias@, {'x2' if len(layer.inputs) > 2 else 'NULL'}, &shape,\n"
        f"    {layer.groups}, {layer.inputs[0].zero_point}, &stage, y);",
        functions=(Function(words["name"], text, tuple(needs)),),
        arrays=(bias, *stage.arrays),
    )


def is_wide(layer: TrainedConvolution) -> bool:
    """Whether sums need 64 bits.

    A layer with a trained bias is called wide, but its sums may be proved to fit 32 bits with that:
    only then has it a rescale that takes 32.
    """
    return layer.wide and layer.rescale.rounding not in (Rounding.DOUBLE, Rounding.SINGLE)


def trained_bias(layer: TrainedConvolution) -> Array:
    """The part of the bias that does not change: int32, or int64 where it does not fit."""
    limits = np.iinfo(np.int32)
    fits = not np.any((layer.bias < limits.min) | (layer.bias > limits.max))
    return Array("bias", layer.bias.astype(np.int32 if fits else np.int64))
