"""Fully connected layer of int8: one pixel, so that every weight is used once.

The input is widened to int16 in scratch memory; weights are widened in registers, for two output
channels at a time: 1.25 instructions a multiplication.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.dsp.finish import HALF, Finish
from intaglio.targets.c.kernels.dsp.folding import Folded
from intaglio.targets.c.kernels.dsp.intrinsics import EVEN_ODD, LOAD
from intaglio.targets.c.kernels.dsp.naked import NAKED, quoted, unused
from intaglio.targets.c.kernels.dsp.packing import pack
from intaglio.targets.c.network import Convolution

_ARGUMENTS = "    const uint32_t *x, const int8_t *w, int32_t *sums, int32_t steps"


def _products(*pairs: tuple[str, str, str, str]) -> str:
    """Four weights times four values: register of the weights, of the values, of the sum."""
    lines = []
    for weights, even, odd, total in pairs:
        lines += [
            f"sxtb16 r12, {weights}",
            f"smlad {total}, r12, {even}, {total}",
            f"sxtb16 {weights}, {weights}, ror #8",
            f"smlad {total}, {weights}, {odd}, {total}",
        ]
    return "\n".join(lines)


_ASSEMBLER = f"""\
.syntax unified
push {{r2, r4-r11, lr}}
ldrd r4, r5, [r2]
tst r3, #1
beq 1f
ldm r0!, {{r10, r11}}
ldm r1!, {{r6, r7}}
{_products(("r6", "r10", "r11", "r4"), ("r7", "r10", "r11", "r5"))}
1:
lsrs r3, r3, #1
beq 3f
2:
ldm r1!, {{r6-r9}}
ldm r0!, {{r2, r10, r11, lr}}
{_products(("r6", "r2", "r10", "r4"), ("r7", "r2", "r10", "r5"))}
{_products(("r8", "r11", "lr", "r4"), ("r9", "r11", "lr", "r5"))}
subs r3, r3, #1
bne 2b
3:
pop {{r2}}
strd r4, r5, [r2]
pop {{r4-r11, pc}}"""

_DOTS = Function(
    "dsp_dots",
    f"""\
/* Adds products to the sums of two channels. A step is 2 words of x, values 0 and 2, then 1 and 3,
   and four weights of each channel. */
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
    int32_t one = sums[0], other = sums[1];
    for (; steps > 0; steps--, x += 2, w += 8) {{
        const uint32_t a = dsp_load(w), b = dsp_load(w + 4);
        one = __smlad((int16x2_t)x[0], (int16x2_t)dsp_even(a), one);
        other = __smlad((int16x2_t)x[0], (int16x2_t)dsp_even(b), other);
        one = __smlad((int16x2_t)x[1], (int16x2_t)dsp_odd(a), one);
        other = __smlad((int16x2_t)x[1], (int16x2_t)dsp_odd(b), other);
    }}
    sums[0] = one;
    sums[1] = other;
}}
#endif""",
    (NAKED, EVEN_ODD, LOAD),
)


def _function(end: Finish) -> Function:
    name = f"dsp_dense_{end.name}"
    half = "dsp_half(zero_point, shift[c + i])"
    result = end.call("sums[i]", "multiplier[c + i]", half, "shift[c + i]")
    clamp = ", int32_t low, int32_t high" if end.clamps else ""
    return Function(
        name,
        f"""\
/* weights: of two channels four and four values in turn; channels in pairs. */
static void {name}(const int8_t *x, int8_t *y, uint8_t *scratch, int32_t depth, int32_t channels,
    const int8_t *weights, const int32_t *bias, const int32_t *multiplier, const int8_t *shift,
    int32_t zero_point{clamp})
{{
    uint32_t *const values = (uint32_t *)(void *)scratch;
    const int32_t steps = (depth + 3) / 4;
    int32_t channel, i;
    for (i = 0; i < depth / 4; i++) {{
        const uint32_t bytes = dsp_load(x + 4 * i);
        values[2 * i] = dsp_even(bytes);
        values[2 * i + 1] = dsp_odd(bytes);
    }}
    if (depth % 4 != 0) {{
        uint32_t bytes = 0;
        memcpy(&bytes, x + 4 * i, (uint32_t)(depth % 4));
        values[2 * i] = dsp_even(bytes);
        values[2 * i + 1] = dsp_odd(bytes);
    }}
    for (channel = 0; channel < channels; channel += 2, weights += 8 * steps) {{
        /* An odd last channel is computed with the one before it, once more. */
        const int32_t c = channel < channels - 1 ? channel : channel - 1;
        int32_t sums[2];
        sums[0] = bias[c];
        sums[1] = bias[c + 1];
        dsp_dots(values, weights, sums, steps);
        for (i = 0; i < 2; i++) {{
            y[c + i] = {result};
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
    steps = -(-depth // 4)
    limits = f", {end.low}, {end.high}" if end.clamps else ""
    call = f"""\
{function.name}(x0, y, scratch, {depth}, {outputs}, @weights@, @bias@, @multiplier@, @shift@,
    {end.zero_point}{limits});"""
    order = [*range(depth), *([-1] * (4 * steps - depth))]
    return Implementation(
        call=call,
        functions=(function,),
        arrays=(
            Array("weights", pack(folded.weights, order)),
            Array("bias", folded.bias),
            Array("multiplier", end.multiplier),
            Array("shift", end.shift),
        ),
        scratch=8 * steps,
        in_place=(0,),
    )
