"""The inner loops of trained convolutions: dot products of int16 pairs, four sums at a time.

Activations lie in scratch memory as int16, aligned to four bytes; weights lie where training keeps
them, at any address that an int16_t may have (LDR reads a pair there, LDM and LDRD would not).

* Two pixels, two filters: a step of four values reads four pairs of activations with two LDRD and
  four of weights with LDR, for 16 multiplications: 14 instructions.
* One pixel, four filters, as in fully connected layers: 17 instructions.

Sixteen steps come without a branch. The count of further rounds is in memory: all registers are in
use. The form in C is for other compilers.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.dsp.naked import NAKED, quoted, unused

_UNROLLED = 16

_TWO_ARGUMENTS = """\
    const int16_t *x, const int16_t *x_next, const int16_t *w, const int16_t *w_next,
    int32_t steps, int32_t *sums"""

_TWO_STEP = """\
ldrd r8, r9, [r0], #8
ldrd r10, r11, [r1], #8
ldr r12, [r2], #4
ldr lr, [r3], #4
smlad r4, r8, r12, r4
smlad r5, r8, lr, r5
smlad r6, r10, r12, r6
smlad r7, r10, lr, r7
ldr r12, [r2], #4
ldr lr, [r3], #4
smlad r4, r9, r12, r4
smlad r5, r9, lr, r5
smlad r6, r11, r12, r6
smlad r7, r11, lr, r7"""

_ONE_ARGUMENTS = """\
    const int16_t *x, const int16_t *const *w, int32_t steps, int32_t *sums"""

_ONE_STEP = """\
ldrd r8, r9, [r0], #8
ldr r10, [r1], #4
ldr r11, [r2], #4
smlad r4, r8, r10, r4
smlad r5, r8, r11, r5
ldr r10, [r3], #4
ldr r11, [r12], #4
smlad r6, r8, r10, r6
smlad r7, r8, r11, r7
ldr r10, [r1], #4
ldr r11, [r2], #4
smlad r4, r9, r10, r4
smlad r5, r9, r11, r5
ldr r10, [r3], #4
ldr r11, [r12], #4
smlad r6, r9, r10, r6
smlad r7, r9, r11, r7"""


def _loop(step: str) -> str:
    # Instructions are four bytes each. r4: steps; leaves through 3. The stack holds the rounds.
    count = len(step.splitlines())
    return f"""\
sub r4, r4, #1
lsr r5, r4, #4
str r5, [sp]
and r4, r4, #{_UNROLLED - 1}
add r4, r4, #1
mov r5, #{4 * count}
adr.w r6, 3f
mls r8, r4, r5, r6
add r8, r8, #1
mov r4, #0
mov r5, #0
mov r6, #0
mov r7, #0
bx r8
2:
{chr(10).join([step] * _UNROLLED)}
3:
ldr r8, [sp]
subs r8, r8, #1
str r8, [sp]
bpl.w 2b"""


_TWO_BY_TWO = f"""\
.syntax unified
push {{r4-r11, lr}}
sub sp, sp, #4
ldr r4, [sp, #40]
{_loop(_TWO_STEP)}
ldr r8, [sp, #44]
stm r8, {{r4-r7}}
add sp, sp, #4
pop {{r4-r11, pc}}"""

_ONE_BY_FOUR = f"""\
.syntax unified
push {{r3-r11, lr}}
sub sp, sp, #4
mov r4, r2
ldr r2, [r1, #4]
ldr r3, [r1, #8]
ldr r12, [r1, #12]
ldr r1, [r1]
{_loop(_ONE_STEP)}
ldr r8, [sp, #4]
stm r8, {{r4-r7}}
add sp, sp, #8
pop {{r4-r11, pc}}"""

LOAD_PAIR = Function(
    "dsp_pair_at",
    """\
/* Two int16 from any address that an int16_t may have. */
DSP_INLINE int16x2_t dsp_pair_at(const int16_t *from)
{
    uint32_t pair;
    memcpy(&pair, from, 4);
    return (int16x2_t)pair;
}""",
    (NAKED,),
)


def _function(name: str, comment: str, arguments: str, assembler: str, plain: str) -> Function:
    text = f"""\
/* {comment} */
#if DSP_ASSEMBLER
static DSP_NAKED void {name}(
{unused(arguments)})
{{
    __asm volatile(
{quoted(assembler)});
}}
#else
static void {name}(
{arguments})
{{
{plain}
}}
#endif"""
    return Function(name, text, (NAKED, LOAD_PAIR))


TWO_BY_TWO = _function(
    "dsp_trained_two",
    "The products of two pixels with two filters each, four times steps values, steps above 0:\n"
    "   sums of x with w, x with w_next, then of x_next.",
    _TWO_ARGUMENTS,
    _TWO_BY_TWO,
    """\
    int32_t i;
    sums[0] = sums[1] = sums[2] = sums[3] = 0;
    for (i = 0; i < 4 * steps; i += 2) {
        sums[0] = __smlad(dsp_pair_at(x + i), dsp_pair_at(w + i), sums[0]);
        sums[1] = __smlad(dsp_pair_at(x + i), dsp_pair_at(w_next + i), sums[1]);
        sums[2] = __smlad(dsp_pair_at(x_next + i), dsp_pair_at(w + i), sums[2]);
        sums[3] = __smlad(dsp_pair_at(x_next + i), dsp_pair_at(w_next + i), sums[3]);
    }""",
)

ONE_BY_FOUR = _function(
    "dsp_trained_one",
    "The products of a pixel with each of four filters, four times steps values, steps above 0.",
    _ONE_ARGUMENTS,
    _ONE_BY_FOUR,
    """\
    int32_t i, k;
    for (i = 0; i < 4; i++) {
        sums[i] = 0;
        for (k = 0; k < 4 * steps; k += 2) {
            sums[i] = __smlad(dsp_pair_at(x + k), dsp_pair_at(w[i] + k), sums[i]);
        }
    }""",
)
