"""Products of transformed tiles and kernels, summed over the channels at each of 16 points."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.dsp.block import STEP, STEP_BYTES
from intaglio.targets.c.kernels.dsp.naked import NAKED, quoted, unused

#: Steps of four channels that the points are unrolled to.
MOST_STEPS = 16

_POINT_ARGUMENTS = "    const uint32_t *x, const uint32_t *w, int32_t *sums, int32_t steps"

_POINTS_ASSEMBLER = f"""\
.syntax unified
push {{r4-r11, lr}}
sub sp, sp, #12
add r4, r2, #256
str r4, [sp, #8]
mov r5, #{STEP_BYTES}
adr.w r6, 2f
mls r6, r3, r5, r6
add r6, r6, #1
strd r2, r6, [sp]
1:
mov r2, #0
mov r3, #0
mov r4, #0
mov r5, #0
ldr pc, [sp, #4]
{chr(10).join([STEP] * MOST_STEPS)}
2:
ldrd r6, r7, [sp, #0]
ldr r8, [sp, #8]
stm r6!, {{r2-r5}}
str r6, [sp]
cmp r6, r8
bne 1b
add sp, sp, #12
pop {{r4-r11, pc}}""".replace("ldrd r6, r7, [sp, #0]", "ldr r6, [sp]")

POINTS = Function(
    "dsp_winograd_points",
    f"""\
/*
 * Sums of two tiles and two channels at each of 16 points: tile 0 with channels 0 and 1, tile 1
 * with both. Steps (16 at most) are those of a dsp_block.
 */
#if DSP_ASSEMBLER
static DSP_NAKED void dsp_winograd_points(
{unused(_POINT_ARGUMENTS)})
{{
    __asm volatile(
{quoted(_POINTS_ASSEMBLER)});
}}
#else
static void dsp_winograd_points(
{_POINT_ARGUMENTS})
{{
    int32_t point, step;
    for (point = 0; point < 16; point++, sums += 4) {{
        int32_t a = 0, b = 0, c = 0, d = 0;
        for (step = 0; step < steps; step++, x += 4, w += 4) {{
            a = __smlad((int16x2_t)x[0], (int16x2_t)w[0], a);
            b = __smlad((int16x2_t)x[0], (int16x2_t)w[2], b);
            c = __smlad((int16x2_t)x[2], (int16x2_t)w[0], c);
            d = __smlad((int16x2_t)x[2], (int16x2_t)w[2], d);
            a = __smlad((int16x2_t)x[1], (int16x2_t)w[1], a);
            b = __smlad((int16x2_t)x[1], (int16x2_t)w[3], b);
            c = __smlad((int16x2_t)x[3], (int16x2_t)w[1], c);
            d = __smlad((int16x2_t)x[3], (int16x2_t)w[3], d);
        }}
        sums[0] = a;
        sums[1] = b;
        sums[2] = c;
        sums[3] = d;
    }}
}}
#endif""",
    (NAKED,),
)
