"""Fully connected layer of int8: one pixel, so that every weight is used once.

Input and weights are widened to int16 in registers, for four output channels at a time: 1.31
instructions a multiplication, and no scratch memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.dsp.finish import HALF, Finish
from intaglio.targets.c.kernels.dsp.folding import Folded
from intaglio.targets.c.kernels.dsp.intrinsics import EVEN_ODD, LOAD
from intaglio.targets.c.kernels.dsp.naked import NAKED, quoted, unused
from intaglio.targets.c.network import Convolution

_ARGUMENTS = "    const int8_t *x, const int8_t *w, int32_t *sums, int32_t steps"

_WEIGHTS = ("r10", "r11", "r12", "lr")

_STEP = "\n".join(
    [
        "ldr r9, [r0], #4",
        "ldm r1!, {r10-r12, lr}",
        "sxtb16 r8, r9",
        "sxtb16 r9, r9, ror #8",
        *(
            line
            for total, weight in zip(("r4", "r5", "r6", "r7"), _WEIGHTS, strict=True)
            for line in (
                f"sxtb16 r2, {weight}",
                f"smlad {total}, r2, r8, {total}",
                f"sxtb16 {weight}, {weight}, ror #8",
                f"smlad {total}, {weight}, r9, {total}",
            )
        ),
    ]
)

_ASSEMBLER = f"""\
.syntax unified
push {{r2, r4-r11, lr}}
ldm r2, {{r4-r7}}
tst r3, #1
beq 1f
{_STEP}
1:
lsrs r3, r3, #1
beq 3f
2:
{_STEP}
{_STEP}
subs r3, r3, #1
bne 2b
3:
pop {{r2}}
stm r2, {{r4-r7}}
pop {{r4-r11, pc}}"""

_DOTS = Function(
    "dsp_dots",
    f"""\
/* Adds products to the sums of four channels. A step is four values of x, and of w four of each
   channel. */
#if DSP_ASSEMBLER
static DSP_NAKED void dsp_dots(
{unused(_ARGUMENTS)})
{{
    __asm volatile(
{quoted(_ASSEMBLER)});
}}
#else
static void dsp_dots(
{_ARGUMENTS})
{{
    int32_t i;
    for (; steps > 0; steps--, x += 4) {{
        const uint32_t even = dsp_even(dsp_load(x)), odd = dsp_odd(dsp_load(x));
        for (i = 0; i < 4; i++, w += 4) {{
            const uint32_t weights = dsp_load(w);
            sums[i] = __smlad((int16x2_t)even, (int16x2_t)dsp_even(weights), sums[i]);
            sums[i] = __smlad((int16x2_t)odd, (int16x2_t)dsp_odd(weights), sums[i]);
        }}
    }}
}}
#endif""",
    (NAKED, EVEN_ODD, LOAD),
)


def _function(end: Finish) -> Function:
    name = f"dsp_dense_{end.name}"
    half = "dsp_half(zero_point, shift[channel + i])"
    result = end.call("sums[i]", "multiplier[channel + i]", half, "shift[channel + i]")
    clamp = ", int32_t low, int32_t high" if end.clamps else ""
    return Function(
        name,
        f"""\
/* weights: of four channels four values in turn, zeros where there are none. */
static void {name}(const int8_t *x, int8_t *y, int32_t depth, int32_t channels,
    const int8_t *weights, const int32_t *bias, const int32_t *multiplier, const int8_t *shift,
    int32_t zero_point{clamp})
{{
    const int32_t steps = depth / 4, left = depth % 4;
    int8_t last[4] = {{0, 0, 0, 0}};
    int32_t channel, i;
    for (i = 0; i < left; i++) {{
        last[i] = x[4 * steps + i];
    }}
    for (channel = 0; channel < channels; channel += 4) {{
        const int32_t count = channels - channel < 4 ? channels - channel : 4;
        int32_t sums[4] = {{0, 0, 0, 0}};
        for (i = 0; i < count; i++) {{
            sums[i] = bias[channel + i];
        }}
        dsp_dots(x, weights, sums, steps);
        weights += 16 * steps;
        if (left != 0) {{
            dsp_dots(last, weights, sums, 1);
            weights += 16;
        }}
        for (i = 0; i < count; i++) {{
            y[channel + i] = {result};
        }}
    }}
}}""",
        (HALF, _DOTS, end.function()),
    )


def implement(layer: Convolution, folded: Folded) -> Implementation | None:
    """Code of a layer of one pixel, or None where it has more."""
    window, (outputs, depth) = layer.window, folded.weights.shape
    if window.image[:2] != (1, 1) or window.result[:2] != (1, 1) or window.kernel != (1, 1):
        return None
    if window.pads != (0, 0):
        return None
    end = folded.end
    function = _function(end)
    limits = f", {end.low}, {end.high}" if end.clamps else ""
    call = f"""\
{function.name}(x0, y, {depth}, {outputs}, @weights@, @bias@, @multiplier@, @shift@,
    {end.zero_point}{limits});"""
    return Implementation(
        call=call,
        functions=(function,),
        arrays=(
            Array("weights", _pack(folded.weights)),
            Array("bias", folded.bias),
            Array("multiplier", end.multiplier),
            Array("shift", end.shift),
        ),
    )


def _pack(flat: NDArray[np.int64]) -> NDArray[np.int8]:
    """Weights ``[O, K]``, four channels by four values in turn."""
    outputs, depth = flat.shape
    padded = np.zeros((-(-outputs // 4) * 4, -(-depth // 4) * 4), np.int8)
    padded[:outputs, :depth] = flat
    blocks = padded.reshape(padded.shape[0] // 4, 4, padded.shape[1] // 4, 4)
    return np.ascontiguousarray(blocks.transpose(0, 2, 1, 3)).reshape(-1)
