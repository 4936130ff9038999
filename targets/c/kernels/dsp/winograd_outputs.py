"""The outputs of a whole Winograd tile, from sums to int8, in assembler."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.dsp.finish import Finish
from intaglio.targets.c.kernels.dsp.naked import NAKED, quoted, unused

#: What each column of sums adds to the outputs.
_COMBINED: tuple[list[str], ...] = (
    [],
    ["add r4, r4, r5", "add r6, r6, r7"],
    ["add r4, r4, r11", "sub r5, r5, r11", "add r6, r6, r8", "sub r7, r7, r8"],
    ["sub r5, r5, r11", "sub r7, r7, r8"],
)


def whole_tile(end: Finish) -> Function:
    """The outputs of a whole tile, in assembler."""
    arguments = "    const int32_t *sums, int8_t *y, const int32_t *constants, int32_t right,\n"
    arguments += "    int32_t below, int32_t low, int32_t high"
    lines = []
    # Of each column of sums: two rows of A', added to the outputs in r4 to r7.
    upper, lower = ("r4", "r5", "r11", "r11"), ("r6", "r7", "r8", "r8")
    for column, (one, other) in enumerate(zip(upper, lower, strict=True)):
        for place, register in enumerate((one, "r8", "r9", "r10")):
            lines.append(f"ldr {register}, [r0, #{64 * place + 16 * column}]")
        lines += [f"add {one}, {one}, r8", f"add {one}, {one}, r9"]
        lines += [f"sub {other}, r8, r9", f"sub {other}, {other}, r10"]
        lines += _COMBINED[column]
    lines.append("ldm r2!, {r8-r11}")
    places = 3 - end.factor
    lines += [f"add r{k}, r8, r{k}, asr #{places}" for k in range(4, 8)]
    if end.clamps:
        lines += ["ldr r8, [sp, #44]", "ldr lr, [sp, #48]"]
    stores = ("[r1]", "[r1, r3]", "[r4]", "[r4, r3]")
    for place, store in enumerate(stores):
        constants, limits = ("r9", "r10", "r11"), ("r8", "lr")
        lines += end.assembler(f"r{4 + place}", constants, "r12", limits, is_scaled=True)
        lines.append(f"strb r12, {store}")
        if not place:
            lines += ["ldr r4, [sp, #40]", "add r4, r4, r1"]
    body = "\n".join(lines)
    code = f"""\
.syntax unified
push {{r4-r11, lr}}
sub sp, sp, #4
add r4, r2, #32
str r4, [sp]
1:
{body}
add r0, r0, #4
add r1, r1, #1
ldr r12, [sp]
cmp r2, r12
bne 1b
add sp, sp, #4
pop {{r4-r11, pc}}"""
    name = f"dsp_winograd_full_{end.name}"
    return Function(
        name,
        f"""\
#if DSP_ASSEMBLER
/* The outputs of a whole tile and two channels: 73 instructions for four. */
static DSP_NAKED void {name}(
{unused(arguments)})
{{
    __asm volatile(
{quoted(code)});
}}
#endif""",
        (NAKED,),
    )
