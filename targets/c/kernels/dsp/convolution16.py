"""Dense convolution of int16 with int8 weights: a window at a time, two output channels.

The activations are pairs of int16 already. Weights are stored in the order 0, 2, 1, 3, so that
SXTB16 makes the pairs (0, 1) and (2, 3) of them. Sums have 64 bits (SMLALD) where 32 (SMLAD) are
too few. A window with a row of its own in memory is read in place, others are copied to scratch
memory, with zeros as padding.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.dsp.gather import INSIDE, WINDOW
from intaglio.targets.c.kernels.dsp.intrinsics import EVEN_ODD, LOAD
from intaglio.targets.c.kernels.portable.rescaling import CLAMP, Rescaling, rescaling
from intaglio.targets.c.literals import c_type, number
from intaglio.targets.c.network import Convolution
from intaglio.transforms.fixed_point import Rounding

_COPY = Function(
    "dsp_copy16",
    """\
static int16_t *dsp_zeros16(int16_t *to, int32_t count)
{
    for (; count > 0; count--) {
        *to++ = 0;
    }
    return to;
}

/* The window of one pixel, zeros where it is padding and behind it. */
static void dsp_copy16(const dsp_window *g, const int16_t *x, int32_t row, int32_t column,
                       int16_t *to)
{
    const int32_t channels = g->channels, start = column * g->stride_columns - g->pad_left;
    int16_t *const end = to + g->depth;
    int32_t from = row * g->stride_rows - g->pad_top, i, j;
    for (i = 0; i < g->kernel_rows; i++, from += g->dilation_rows) {
        const int32_t at = from * g->columns + start;
        if (from < 0 || from >= g->rows) {
            to = dsp_zeros16(to, g->kernel_columns * channels);
        } else if (g->dilation_columns == 1) {
            const int32_t before = dsp_before(start, g->kernel_columns);
            const int32_t within = dsp_within(start, before, g->kernel_columns, g->columns);
            to = dsp_zeros16(to, before * channels);
            if (within > 0) {
                memcpy(to, x + (at + before) * channels, 2u * (uint32_t)(within * channels));
                to += within * channels;
            }
            to = dsp_zeros16(to, (g->kernel_columns - before - within) * channels);
        } else {
            for (j = 0; j < g->kernel_columns; j++, to += channels) {
                const int32_t here = start + j * g->dilation_columns;
                if (here < 0 || here >= g->columns) {
                    dsp_zeros16(to, channels);
                } else {
                    memcpy(to, x + (from * g->columns + here) * channels,
                           2u * (uint32_t)channels);
                }
            }
        }
    }
    dsp_zeros16(to, (int32_t)(end - to));
}""",
    (WINDOW, INSIDE),
)

_LOAD16 = Function(
    "dsp_load16",
    """\
/* Two int16 from any address that an int16_t may have. */
DSP_INLINE uint32_t dsp_load16(const int16_t *from)
{
    uint32_t pair;
    memcpy(&pair, from, 4);
    return pair;
}""",
    (EVEN_ODD,),
)


def _function(code: Rescaling, wide: bool, y: str) -> Function:
    """The convolution for one kind of sums, rescale and result."""
    acc, accumulate = ("int64_t", "__smlald") if wide else ("int32_t", "__smlad")
    rescale = code.function.name
    cast = "(int32_t)" if wide and code.accumulator == "int32_t" else ""
    multiplier = c_type(code.multiplier.dtype.name)
    name = f"dsp_convolution16_{'wide_' if wide else ''}{rescale}_to_{y.removesuffix('_t')}"
    text = f"""\
/* weights: of two channels four and four values in turn, each in the order 0, 2, 1, 3. */
static void {name}(const int16_t *x, {y} *y, uint8_t *scratch, const dsp_window *g,
    int is_whole, int32_t rows, int32_t channels, const int8_t *weights, const {acc} *bias,
    const {multiplier} *multiplier, const int8_t *shift, int32_t low, int32_t high,
    int32_t zero_point)
{{
    int16_t *const copy = (int16_t *)(void *)scratch;
    const int32_t steps = g->depth / 4;
    int32_t row, column, channel, i;
    for (row = 0; row < rows; row++) {{
        for (column = 0; column < g->result_columns; column++, y += channels) {{
            const int16_t *window = copy;
            const int8_t *weight = weights;
            if (is_whole) {{
                window = x + (row * g->stride_rows * g->columns + column * g->stride_columns)
                    * g->channels;
            }} else {{
                dsp_copy16(g, x, row, column, copy);
            }}
            for (channel = 0; channel < channels; channel += 2) {{
                /* An odd last channel is computed with the one before it, once more. */
                const int32_t c = channel < channels - 1 ? channel : channel - 1;
                {acc} one = bias[c], other = bias[c + 1];
                const int16_t *at = window;
                for (i = steps; i > 0; i--, at += 4, weight += 8) {{
                    const uint32_t first = dsp_load16(at), second = dsp_load16(at + 2);
                    const uint32_t a = dsp_load(weight), b = dsp_load(weight + 4);
                    one = {accumulate}((int16x2_t)first, (int16x2_t)dsp_even(a), one);
                    other = {accumulate}((int16x2_t)first, (int16x2_t)dsp_even(b), other);
                    one = {accumulate}((int16x2_t)second, (int16x2_t)dsp_odd(a), one);
                    other = {accumulate}((int16x2_t)second, (int16x2_t)dsp_odd(b), other);
                }}
                y[c] = ({y})(clamp({rescale}({cast}one, multiplier[c], shift[c]), low, high)
                    + zero_point);
                y[c + 1] = ({y})(clamp({rescale}({cast}other, multiplier[c + 1], shift[c + 1]),
                    low, high) + zero_point);
            }}
        }}
    }}
}}"""
    return Function(name, text, (_COPY, EVEN_ODD, LOAD, _LOAD16, CLAMP, code.function))


def implement(layer: Convolution, variant: str, budget: int) -> Implementation | None:
    """Code of a dense convolution of int16 whose zero points are 0."""
    del variant, budget
    window, outputs, rescale = layer.window, layer.weights.shape[0], layer.rescale
    if layer.groups != 1 or layer.weight_zero_point or layer.inputs[0].zero_point or outputs < 2:
        return None
    if rescale.rounding not in (Rounding.DOUBLE, Rounding.SINGLE, Rounding.WIDE):
        return None
    code = rescaling(
        dataclasses.replace(
            rescale,
            multiplier=np.broadcast_to(rescale.multiplier.reshape(-1), outputs),
            shift=np.broadcast_to(rescale.shift.reshape(-1), outputs),
        )
    )
    channels = window.image[2]
    taps = window.kernel[0] * window.kernel[1] * channels
    depth = -(-taps // 4) * 4
    whole = window.kernel == (1, 1) and window.pads == (0, 0) and channels % 4 == 0
    geometry = (
        *window.image, window.result[1], *window.kernel, *window.strides, *window.dilations,
        *window.pads, 0, depth,
    )  # fmt: skip
    function = _function(code, layer.wide, c_type(layer.output.dtype))
    limits = ", ".join(map(number, (code.low, code.high, code.zero_point)))
    call = f"""\
static const dsp_window window = {{
    {", ".join(map(str, geometry))}
}};
{function.name}(x0, y, {"NULL" if whole else "scratch"}, &window, {int(whole)},
    {window.result[0]}, {outputs}, @weights@, @bias@, @multiplier@, @shift@, {limits});"""
    return Implementation(
        call=call,
        functions=(function,),
        arrays=(
            Array("weights", _pack(layer.weights.reshape(outputs, taps), depth)),
            Array("bias", layer.bias.astype(np.int64 if layer.wide else np.int32)),
            Array("multiplier", code.multiplier),
            Array("shift", code.shift),
        ),
        scratch=0 if whole else 2 * depth,
    )


def _pack(flat: NDArray[np.int8], depth: int) -> NDArray[np.int8]:
    """Weights ``[O, K]`` in pairs of channels, of each four values 0, 2, 1, 3."""
    outputs, taps = flat.shape
    padded = np.zeros((outputs, depth), np.int8)
    padded[:, :taps] = flat
    ordered = padded.reshape(outputs, depth // 4, 4)[:, :, [0, 2, 1, 3]]
    pairs = []
    for first in range(0, outputs, 2):
        start = min(first, outputs - 2)
        pairs.append(ordered[start : start + 2].transpose(1, 0, 2).reshape(-1))
    return np.concatenate(pairs)
