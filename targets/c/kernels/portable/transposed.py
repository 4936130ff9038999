"""Transposed convolutions: each result gathers the inputs that reach it, so nothing is scattered.

Which taps an input reaches depends on the result's place, so the zero point cannot be folded into
the bias. Each tap has ``x_zero_point * sum of its weights`` in a table instead.
"""

from __future__ import annotations

from string import Template

import numpy as np

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.portable.constants import constants, function_name
from intaglio.targets.c.kernels.portable.dots import dot_rows
from intaglio.targets.c.kernels.portable.stage import output_stage
from intaglio.targets.c.kernels.portable.window import WINDOW, declare_window
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import TransposedConvolution

_SOURCES = Function(
    "sources",
    """\
/* Inputs from first on, before end, may reach a place of the result along one axis. */
struct sources {
    int32_t first, end;
};

/* The inputs i of 0 .. size - 1 with 0 <= place - i * stride <= reach; place is counted from the
   start of the padding. */
static inline struct sources sources_of(int32_t place, int32_t stride, int32_t reach, int32_t size)
{
    struct sources found;
    found.first = place > reach ? (place - reach + stride - 1) / stride : 0;
    found.end = place / stride < size ? place / stride + 1 : size;
    return found;
}""",
)

_TRANSPOSED = Template("""\
/* A transposed convolution, y[i * stride + k * dilation - pad] += x[i] * w[k], with weights
   [filters, kernel rows, kernel columns, channels of a group]. offsets is x_zero_point * the sum of
   weights of each tap, [filters, kernel rows, kernel columns]; NULL for none. */
static void ${name}(const ${x} *x, const ${w} *weights, const ${bias} *bias,
    const ${bias} *offsets, const struct window *shape, int32_t groups,
    const struct ${stage} *stage, ${y} *y)
{
    const int32_t depth = shape->channels / groups;
    const int32_t filters = shape->filters / groups;
    const int32_t taps = shape->kernel_rows * shape->kernel_columns;
    const int32_t row_reach = (shape->kernel_rows - 1) * shape->row_dilation;
    const int32_t column_reach = (shape->kernel_columns - 1) * shape->column_dilation;
    int32_t row, column, group, first, i, j, k;
    for (row = 0; row < shape->result_rows; row++) {
        const int32_t down = row + shape->top;
        const struct sources rows = sources_of(down, shape->row_stride, row_reach, shape->rows);
        for (column = 0; column < shape->result_columns; column++) {
            const int32_t across = column + shape->left;
            const struct sources columns =
                sources_of(across, shape->column_stride, column_reach, shape->columns);
            for (group = 0; group < groups; group++) {
                for (first = 0; first < filters; first += 32) {
                    const int32_t count = filters - first < 32 ? filters - first : 32;
                    const int32_t channel = group * filters + first;
                    ${sum} acc[32];
                    for (k = 0; k < count; k++) {
                        acc[k] = bias[channel + k];
                    }
                    for (i = rows.first; i < rows.end; i++) {
                        const int32_t below = down - i * shape->row_stride;
                        for (j = columns.first; j < columns.end; j++) {
                            const int32_t beside = across - j * shape->column_stride;
                            const int32_t tap = channel * taps
                                + below / shape->row_dilation * shape->kernel_columns
                                + beside / shape->column_dilation;
                            if (below % shape->row_dilation != 0
                                || beside % shape->column_dilation != 0) {
                                continue;
                            }
                            ${dot}(x + (i * shape->columns + j) * shape->channels + group * depth,
                                weights + tap * depth, taps * depth, depth, count, acc);
                            for (k = 0; offsets != NULL && k < count; k++) {
                                acc[k] -= offsets[tap + k * taps];
                            }
                        }
                    }
                    ${finish}(acc, count, stage, channel, y + channel);
                }
            }
            y += shape->filters;
        }
    }
}""")


def convolve_transposed(
    layer: TransposedConvolution, variant: str, budget: int
) -> Implementation | None:
    """Code of a transposed convolution."""
    tensor = layer.inputs[0]
    data = constants(tensor, layer.weights, 0, layer.bias, fold=False)
    x, y = c_type(tensor.dtype), c_type(layer.output.dtype)
    stage = output_stage(layer.rescale, y, wide=data.wide)
    w, bias = c_type(data.weights.dtype.name), "int64_t" if data.wide else "int32_t"
    dot = dot_rows(x, w, wide=data.wide)
    name = function_name("transposed", x, w, bias, y, stage.name, wide=data.wide)
    text = _TRANSPOSED.substitute(
        name=name,
        x=x,
        w=w,
        bias=bias,
        sum=data.sum_type,
        y=y,
        stage=stage.struct,
        dot=dot.name,
        finish=stage.finish.name,
    )
    kept = np.int64 if data.wide else np.int32
    arrays = [Array("weights", data.weights), Array("bias", layer.bias.astype(kept)), *stage.arrays]
    if tensor.zero_point:
        sums = layer.weights.astype(np.int64).sum(3) * tensor.zero_point
        arrays.append(Array("offsets", sums.astype(kept)))
    return Implementation(
        call=f"{declare_window(layer.window)}\n{stage.declaration}\n"
        f"{name}(x0, @weights@, @bias@, {'@offsets@' if tensor.zero_point else 'NULL'}, &shape,\n"
        f"    {layer.groups}, &stage, y);",
        functions=(Function(name, text, (WINDOW, _SOURCES, dot, stage.finish)),),
        arrays=tuple(arrays),
    )
