"""The inner block of a convolution: two output channels of many pixels.

Activations and weights are int16 here. A step is four of the values that are summed, 0 and 2 in one
word, 1 and 3 in the next, for two pixels (or channels) side by side: 4 words each. So a step reads
8 words with two instructions and multiplies 16 times with eight SMLAD: 0.625 instructions per
multiplication. All 14 registers are in use, therefore it is a function in assembler; the form in C
is for other compilers.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.dsp.finish import Finish
from intaglio.targets.c.kernels.dsp.naked import NAKED, quoted, unused

#: Steps without a branch, and bytes of the instructions of one.
_UNROLLED = 16
STEP_BYTES = 40

STEP = """\
ldm r0!, {r6-r9}
ldm r1!, {r10-r12, lr}
smlad r2, r6, r10, r2
smlad r3, r6, r12, r3
smlad r4, r8, r10, r4
smlad r5, r8, r12, r5
smlad r2, r7, r11, r2
smlad r3, r7, lr, r3
smlad r4, r9, r11, r4
smlad r5, r9, lr, r5"""

_NONE = ("", "")

_ARGUMENTS = """\
    const uint32_t *x, const uint32_t *w, int8_t *y, const int32_t *constants, int32_t steps,
    int32_t pairs, int32_t stride, int32_t low, int32_t high"""


def block(end: Finish) -> Function:
    """``dsp_block_<finish>``: see the comment in its text."""
    name = f"dsp_block_{end.name}"
    text = f"""\
/*
 * Two output channels of 2 * pairs pixels. A step is 4 words of x and 4 of w: values 0 and 2, then
 * 1 and 3, of the first pixel or channel, then of the second. Pixel i is written to y[i * stride].
 * constants: bias 0, bias 1, bias 0, bias 1; multiplier, half and shift of channel 0, then of 1.
 */
#if DSP_ASSEMBLER
static DSP_NAKED void {name}(
{unused(_ARGUMENTS)})
{{
    __asm volatile(
{quoted(_assembler(end))});
}}
#else
static void {name}(
{_ARGUMENTS})
{{
    int32_t pair, step, i;
    for (pair = 0; pair < pairs; pair++) {{
        const uint32_t *weight = w;
        int32_t a = constants[0], b = constants[1], c = constants[2], d = constants[3], acc[4];
        for (step = 0; step < steps; step++, x += 4, weight += 4) {{
            a = __smlad((int16x2_t)x[0], (int16x2_t)weight[0], a);
            b = __smlad((int16x2_t)x[0], (int16x2_t)weight[2], b);
            c = __smlad((int16x2_t)x[2], (int16x2_t)weight[0], c);
            d = __smlad((int16x2_t)x[2], (int16x2_t)weight[2], d);
            a = __smlad((int16x2_t)x[1], (int16x2_t)weight[1], a);
            b = __smlad((int16x2_t)x[1], (int16x2_t)weight[3], b);
            c = __smlad((int16x2_t)x[3], (int16x2_t)weight[1], c);
            d = __smlad((int16x2_t)x[3], (int16x2_t)weight[3], d);
        }}
        acc[0] = a;
        acc[1] = b;
        acc[2] = c;
        acc[3] = d;
        for (i = 0; i < 4; i++) {{
            const int32_t *end = constants + 4 + 3 * (i & 1);
            y[(i >> 1) * stride + (i & 1)] =
                {end.call("acc[i]", "end[0]", "end[1]", "end[2]")};
        }}
        y += 2 * stride;
    }}
    (void)low;
    (void)high;
}}
#endif"""
    return Function(name, text, (NAKED, end.function()))


def _assembler(end: Finish) -> str:
    """The function. Its frame: stride, y, multipliers, w, constants, end of w, entry, end of x."""
    steps = "\n".join([STEP] * _UNROLLED)
    return f"""\
.syntax unified
push {{r4-r11, lr}}
sub sp, sp, #32
ldrd r4, r5, [sp, #68]
ldr r6, [sp, #76]
strd r6, r2, [sp]
add r7, r3, #16
str r7, [sp, #8]
strd r1, r3, [sp, #12]
add r7, r1, r4, lsl #4
str r7, [sp, #20]
mul r7, r4, r5
add r7, r0, r7, lsl #4
str r7, [sp, #28]
sub r4, r4, #1
and r4, r4, #{_UNROLLED - 1}
add r4, r4, #1
mov r5, #{STEP_BYTES}
adr.w r6, 3f
mls r6, r4, r5, r6
add r6, r6, #1
str r6, [sp, #24]
1:
ldrd r1, lr, [sp, #12]
ldm lr, {{r2-r5}}
ldr pc, [sp, #24]
2:
{steps}
3:
ldr r6, [sp, #20]
cmp r1, r6
bne 2b
ldm sp, {{r1, r12, lr}}
{_clamped_end(end) if end.clamps else _end(end)}
ldr r6, [sp, #28]
str r12, [sp, #4]
cmp r0, r6
bne 1b
add sp, sp, #32
pop {{r4-r11, pc}}"""


def _end(end: Finish) -> str:
    lines = ["ldm lr, {r6-r11}"]
    for pixel in ("r2", "r3"), ("r4", "r5"):
        lines += [
            *end.assembler(pixel[0], ("r6", "r7", "r8"), "lr", _NONE),
            "strb lr, [r12]",
            *end.assembler(pixel[1], ("r9", "r10", "r11"), "lr", _NONE),
            "strb lr, [r12, #1]",
            "add r12, r12, r1",
        ]
    return "\n".join(lines)


def _clamped_end(end: Finish) -> str:
    lines = ["ldrd r9, r10, [sp, #80]"]
    for channel in ("r2", "r4"), ("r3", "r5"):
        lines += [
            "ldm lr!, {r6-r8}",
            *end.assembler(channel[0], ("r6", "r7", "r8"), "r11", ("r9", "r10")),
            "strb r11, [r12]",
            *end.assembler(channel[1], ("r6", "r7", "r8"), "r11", ("r9", "r10")),
            "strb r11, [r12, r1]",
            "add r12, r12, #1",
        ]
    return "\n".join([*lines, "sub r12, r12, #2", "add r12, r12, r1, lsl #1"])
