"""Rows of a depthwise 3x3 convolution of one channel, two outputs at a time.

The channel lies in scratch memory as int16 in rows, so that a word holds two neighbours ``A = (a0,
a1)``, the next one ``B = (b0, b1)``. With the weights of a row as ``(w0, w1)`` and ``(w1, w2)``,
both outputs take four multiplications:

* stride 1: ``a0 w0 + a1 w1`` (SMLAD), ``b0 w2`` (SMLABT); ``a1 w0`` (SMLATB), ``b0 w1 + b1 w2``;
* stride 2: ``a0 w0 + a1 w1``, ``b0 w2``; ``b0 w0 + b1 w1``, ``c0 w2``.

All 14 registers are in use: six of weights, three of rows, two sums, two of data, the output.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.dsp.finish import Finish
from intaglio.targets.c.kernels.dsp.naked import NAKED, quoted, unused

_ARGUMENTS = """\
    const uint32_t *x, int32_t pitch, const int32_t *constants, int8_t *y, int32_t rows,
    int32_t pairs, int32_t correction, int32_t low, int32_t high"""

#: Of a row: its pointer and the registers of its weights.
_ROWS = (("r0", "r4", "r5"), ("r1", "r6", "r7"), ("r2", "r8", "r9"))

_SECOND = {
    1: """\
                sum[1] += (int16_t)(at[0] >> 16) * (int16_t)weight[0];
                sum[1] = __smlad((int16x2_t)at[1], (int16x2_t)weight[1], sum[1]);""",
    2: """\
                sum[1] = __smlad((int16x2_t)at[1], (int16x2_t)weight[0], sum[1]);
                sum[1] += (int16_t)at[2] * (int16_t)(weight[1] >> 16);""",
}


def depthwise_rows(end: Finish, stride: int) -> Function:
    """``dsp_rows_<stride>_<finish>``: see the comment in its text."""
    name = f"dsp_rows_{stride}_{end.name}"
    text = f"""\
/*
 * Rows of one channel, stride {stride}, 2 * pairs outputs of each. x: rows of int16, pitch words
 * from one to the next. constants: of each row of weights the words (w0, w1) and (w1, w2); bias
 * twice; multiplier, half and shift; bytes from one output to the next. The second output of a pair
 * is written first: with 0 bytes there is only the other. y moves by correction behind each row.
 */
#if DSP_ASSEMBLER
static DSP_NAKED void {name}(
{unused(_ARGUMENTS)})
{{
    __asm volatile(
{quoted(_assembler(end, stride))});
}}
#else
static void {name}(
{_ARGUMENTS})
{{
    int32_t pair, i;
    for (; rows > 0; rows--, x += {stride} * pitch, y += correction) {{
        for (pair = 0; pair < pairs; pair++, y += 2 * constants[11]) {{
            int32_t sum[2];
            sum[0] = constants[6];
            sum[1] = constants[7];
            for (i = 0; i < 3; i++) {{
                const uint32_t *at = x + i * pitch + {stride} * pair;
                const int32_t *weight = constants + 2 * i;
                sum[0] = __smlad((int16x2_t)at[0], (int16x2_t)weight[0], sum[0]);
                sum[0] += (int16_t)at[1] * (int16_t)(weight[1] >> 16);
{_SECOND[stride]}
            }}
            y[constants[11]] =
                {end.call("sum[1]", "constants[8]", "constants[9]", "constants[10]")};
            y[0] = {end.call("sum[0]", "constants[8]", "constants[9]", "constants[10]")};
        }}
    }}
    (void)low;
    (void)high;
}}
#endif"""
    return Function(name, text, (NAKED, end.function()))


def _assembler(end: Finish, stride: int) -> str:
    """The function. Its frame: the constants, the end of a row in x, to the next row, row bytes."""
    constants, limits = ("r4", "r5", "r6"), ("r9", "r12")
    rows = "\n".join(_row(stride, *row) for row in _ROWS)
    finish = [
        *(["ldr r9, [sp, #108]", "ldr r12, [sp, #112]"] if end.clamps else []),
        *end.assembler("r11", constants, "r8", limits),
        "strb r8, [r3, r7]",
        *end.assembler("r10", constants, "r8", limits),
        "strb r8, [r3]",
    ]
    return f"""\
.syntax unified
push {{r4-r11, lr}}
sub sp, sp, #60
ldm r2!, {{r4-r11}}
stm sp, {{r4-r11}}
ldm r2, {{r4-r7}}
strd r4, r5, [sp, #32]
strd r6, r7, [sp, #40]
ldr r4, [sp, #100]
lsl r4, r4, #{1 + stride}
lsl r1, r1, #2
str r4, [sp, #56]
rsb r5, r4, r1, lsl #{stride - 1}
str r5, [sp, #52]
add r2, r0, r1, lsl #1
add r1, r0, r1
1:
ldr r4, [sp, #56]
add r4, r4, r0
str r4, [sp, #48]
2:
ldm sp, {{r4-r9}}
ldrd r10, r11, [sp, #24]
{rows}
ldrd r4, r5, [sp, #32]
ldrd r6, r7, [sp, #40]
{chr(10).join(finish)}
ldr r8, [sp, #48]
add r3, r3, r7, lsl #1
cmp r0, r8
bne 2b
ldr r4, [sp, #52]
ldr r5, [sp, #104]
ldr r6, [sp, #96]
add r0, r0, r4
add r1, r1, r4
add r2, r2, r4
add r3, r3, r5
subs r6, r6, #1
str r6, [sp, #96]
bne 1b
add sp, sp, #60
pop {{r4-r11, pc}}"""


def _row(stride: int, pointer: str, first: str, second: str) -> str:
    if stride == 1:
        return f"""\
ldrd r12, lr, [{pointer}], #4
smlad r10, r12, {first}, r10
smlatb r11, r12, {first}, r11
smlabt r10, lr, {second}, r10
smlad r11, lr, {second}, r11"""
    return f"""\
ldrd r12, lr, [{pointer}]
smlad r10, r12, {first}, r10
ldr r12, [{pointer}, #8]!
smlabt r10, lr, {second}, r10
smlad r11, lr, {first}, r11
smlabt r11, r12, {second}, r11"""
