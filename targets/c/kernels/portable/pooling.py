"""Largest values and averages of windows."""

from __future__ import annotations

from string import Template

import numpy as np

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.portable.window import TAPS, WINDOW, declare_window
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import Pool

_POOL = Template("""\
/* ${what} Up to 32 channels at a time. */
static void ${name}(const ${x} *x, const struct window *shape, ${x} *y)
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
${count}            for (first = 0; first < channels; first += 32) {
                const int32_t part = channels - first < 32 ? channels - first : 32;
                ${acc} acc[32];
                for (k = 0; k < part; k++) {
                    acc[k] = ${start};
                }
                for (i = rows.first; i < rows.end; i++) {
                    int32_t pixel = first
                        + ((top + i * shape->row_dilation) * shape->columns + left
                            + columns.first * shape->column_dilation) * channels;
                    for (j = columns.first; j < columns.end; j++) {
                        for (k = 0; k < part; k++) {
                            ${step}
                        }
                        pixel += shape->column_dilation * channels;
                    }
                }
                for (k = 0; k < part; k++) {
                    y[first + k] = ${result};
                }
            }
            y += channels;
        }
    }
}""")

_COUNT = """\
            const int32_t count = (rows.end - rows.first) * (columns.end - columns.first);
            const int32_t half = count / 2;
"""


def pool(layer: Pool, variant: str, budget: int) -> Implementation | None:
    """Code of a pooling layer."""
    dtype = layer.inputs[0].dtype
    kind = "average" if layer.average else "max"
    name = f"{kind}_pool_{dtype}"
    lowest = int(np.iinfo(dtype).min)
    if layer.average:
        elements = layer.window.kernel[0] * layer.window.kernel[1]
        # The sum and half of the number of elements.
        wide = elements * (1 - 2 * lowest) >= 1 << 32
        name += "_wide" if wide else ""
        words = {
            "what": "Averages of windows over elements inside the image, ties away from zero.",
            "count": _COUNT,
            "acc": "int64_t" if wide else "int32_t",
            "start": "0",
            "step": "acc[k] += x[pixel + k];",
            "result": f"({c_type(dtype)})((acc[k] < 0 ? acc[k] - half : acc[k] + half) / count)",
        }
    else:
        words = {
            "what": "The largest value of each window.",
            "count": "",
            "acc": c_type(dtype),
            "start": str(lowest),
            "step": "acc[k] = x[pixel + k] > acc[k] ? x[pixel + k] : acc[k];",
            "result": "acc[k]",
        }
    text = _POOL.substitute(words, name=name, x=c_type(dtype))
    return Implementation(
        call=f"{declare_window(layer.window)}\n{name}(x0, &shape, y);",
        functions=(Function(name, text, (WINDOW, TAPS)),),
    )
