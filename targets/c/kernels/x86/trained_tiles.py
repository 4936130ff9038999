"""Register tiles of trained convolutions: some pixels times some filters, as a C function.

As :mod:`.tiles`, with words of 16 bits and weights of 16 bits that were packed in scratch memory.
Where a sum of 32 bits could overflow, it is moved to sums of 64 bits in time.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.x86.isa import WORD, Isa
from intaglio.targets.c.kernels.x86.tiles import Reach, named
from intaglio.targets.c.kernels.x86.trained_ends import End


def tile(
    end: End,
    reach: Reach,
    sizes: tuple[int, int, int],
    pitches: tuple[int, int],
    dtype: str,
    most: int,
) -> Function:
    """A tile.

    Args:
        end: How it ends.
        reach: How it walks.
        sizes: Pixels, registers of channels, channels of them that exist.
        pitches: Channels of an output pixel, and registers of a pair of packed weights.
        dtype: Type of the results.
        most: Pairs of products that fit a sum of 32 bits.

    Returns:
        ``void f(const uint8_t *const *rows, size_t at, const int16_t *w, const int32_t *bias,
        <parameters of end>, int8_t *y)``, ``at`` being the byte of the first pixel in each row.
    """
    isa, (pixels, vectors, channels) = end.isa, sizes
    names = [[f"a{p}_{v}" for v in range(vectors)] for p in range(pixels)]
    head = (
        f"/* {pixels} pixels, {channels} channels: bias + inputs times weights, rescaled. */\n"
        "static void @(const uint8_t *const *rows, size_t at, const int16_t *w,\n"
        f"    const {'int64_t' if end.wide else 'int32_t'} *bias, {end.parameter},\n"
        f"    {dtype}_t *y)\n{{"
    )
    step = _step(isa, reach, names, pitches[1])
    lines = start(end, names)
    lines += _walk_in_parts(isa, reach, names, step, most) if end.wide else _walk(reach, step)
    lines += end.finish(names, channels, pitches[0])
    needs = (WORD, MOVE[isa.name], isa.load, *end.functions)
    text = [*(f"    {line}" for line in lines), "}"]
    return named(f"{isa.name}_trained_{pixels}x{channels}", text, needs, head)


def start(end: End, names: list[list[str]]) -> list[str]:
    """Statements that make the accumulators, beginning with the bias."""
    isa, lines = end.isa, []
    load, half = isa.load.name, isa.lanes // 2
    for v in range(len(names[0])):
        parts = (("l", 0), ("h", half)) if end.wide else (("", 0),)
        for part, at in parts:
            lines.append(f"const {isa.type} bias{v}{part} = {load}(bias + {v * isa.lanes + at});")
            alike = ", ".join(f"{row[v]}{part} = bias{v}{part}" for row in names)
            lines.append(f"{isa.type} {alike};")
    if end.wide:
        zero = isa.op(f"setzero_si{isa.bits}")
        lines.append(
            f"{isa.type} {', '.join(f'{name} = {zero}' for row in names for name in row)};"
        )
    return lines


def moved(isa: Isa, names: list[list[str]]) -> list[str]:
    """Statements that move sums of 32 bits to those of 64."""
    return [f"{MOVE[isa.name].name}(&{n}, &{n}l, &{n}h);" for row in names for n in row]


def multiplied(isa: Isa, acc: str, x: str, w: str) -> str:
    """A statement that adds the products of pairs of words."""
    if isa.masks:
        return f"{acc} = {isa.op('dpwssd_epi32', acc, x, w)};"
    return f"{acc} = {isa.op('add_epi32', acc, isa.op('madd_epi16', x, w))};"


def _step(isa: Isa, reach: Reach, names: list[list[str]], registers: int) -> list[str]:
    # One pair of every pixel times the weights of all channels.
    vectors, width = len(names[0]), 2 * isa.lanes
    lines = [f"const {isa.type} w{v} = {isa.load.name}(w + {v * width});" for v in range(vectors)]
    lines.append(f"{isa.type} word;")
    for p, row in enumerate(names):
        lines.append(f"word = {isa.op('set1_epi32', f'x86_word(x + {p * reach.step})')};")
        lines += [multiplied(isa, name, "word", f"w{v}") for v, name in enumerate(row)]
    return [*lines, f"w += {registers * width};"]


def _walk(reach: Reach, step: list[str], rows: str = "", count: str = "") -> list[str]:
    # All rows, or those that `rows` names; all pairs of a run.
    lines = [rows or f"for (size_t r = 0; r < {reach.rows}; r++) {{"]
    run, depth = "const uint8_t *x = rows[r] + at;", 1
    if reach.runs > 1:
        lines.append(f"    for (size_t t = 0; t < {reach.runs}; t++) {{")
        run, depth = f"const uint8_t *x = rows[r] + at + t * {reach.skip};", 2
    pad = "    " * depth
    lines += [
        f"{pad}{run}",
        f"{pad}for (size_t k = 0; k < {count or reach.length}; k++, x += 4) {{",
        *(f"{pad}    {line}" for line in step),
    ]
    return [*lines, *("    " * at + "}" for at in range(depth, -1, -1))]


def _walk_in_parts(
    isa: Isa, reach: Reach, names: list[list[str]], step: list[str], most: int
) -> list[str]:
    pairs = reach.runs * reach.length
    move = moved(isa, names)
    if pairs * reach.rows <= most:
        return [*_walk(reach, step), *move]
    if pairs <= most:
        together = most // pairs
        inner = _walk(reach, step, "for (size_t r = first; r < end; r++) {")
        return [
            f"for (size_t first = 0; first < {reach.rows}; first += {together}) {{",
            f"    const size_t left = {reach.rows} - first;",
            f"    const size_t end = first + (left < {together} ? left : {together});",
            *(f"    {line}" for line in (*inner, *move)),
            "}",
        ]
    outer = [
        f"for (size_t r = 0; r < {reach.rows}; r++) {{",
        f"    for (size_t t = 0; t < {reach.runs}; t++) {{",
        f"        const uint8_t *x = rows[r] + at + t * {reach.skip};",
        "        size_t end, k = 0;",
        f"        while (k < {reach.length}) {{",
        f"            end = {reach.length} - k < {most} ? {reach.length} : k + {most};",
        "            for (; k < end; k++, x += 4) {",
        *(f"                {line}" for line in step),
        "            }",
        *(f"            {line}" for line in move),
        "        }",
        "    }",
        "}",
    ]
    return outer


def _move(name: str, bits: int, upper: str) -> Function:
    t, op = f"__m{bits}i", "_mm512" if bits == 512 else "_mm256"
    lines = [
        "/* Adds int32 lanes to those of int64, and begins anew. */",
        f"static inline void {name}_move({t} *sums, {t} *low, {t} *high)",
        "{",
        f"    const __m{bits // 2}i first = {op}_castsi{bits}_si{bits // 2}(*sums);",
        f"    const __m{bits // 2}i second = {upper}(*sums, 1);",
        f"    *low = {op}_add_epi64(*low, {op}_cvtepi32_epi64(first));",
        f"    *high = {op}_add_epi64(*high, {op}_cvtepi32_epi64(second));",
        f"    *sums = {op}_setzero_si{bits}();",
        "}",
    ]
    return Function(f"{name}_move", "\n".join(lines))


#: Moves sums, by the name of the registers.
MOVE = {
    "vnni": _move("vnni", 512, "_mm512_extracti64x4_epi64"),
    "vnni_half": _move("vnni_half", 256, "_mm256_extracti128_si256"),
    "avx2": _move("avx2", 256, "_mm256_extracti128_si256"),
}
