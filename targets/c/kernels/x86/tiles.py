"""Register tiles: some pixels times some channels of a dense convolution, as a C function.

The accumulators of a tile stay in registers. Each step takes one 32-bit word of every pixel, four
bytes or two 16-bit words of consecutive inputs, spread over a register, and multiplies it with the
weights of the same inputs for a register of channels: ``vpdpbusd`` or ``vpmaddwd``. The inputs of a
window are runs: a row of the kernel is one (or one for each column where columns are dilated),
padded to whole words with weights of 0.
"""

from __future__ import annotations

import dataclasses
import hashlib

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.x86.isa import WORD, Isa
from intaglio.targets.c.kernels.x86.stores import Result, tail_functions, write_results
from intaglio.targets.c.kernels.x86.tails import Tail


@dataclasses.dataclass(frozen=True)
class Reach:
    """How a tile walks through its inputs.

    Attributes:
        words: Inputs are 16-bit words, not bytes.
        direct: Bytes are those of the tensor, not shifted by 128.
        step: Bytes from one pixel to the next.
        rows: Rows of the kernel.
        runs: Runs of inputs in a row.
        skip: Bytes from one run to the next.
        length: 32-bit words of a run.
    """

    words: bool
    direct: bool
    step: int
    rows: int
    runs: int
    skip: int
    length: int


def named(prefix: str, lines: list[str], needs: tuple[Function, ...], head: str) -> Function:
    """A function whose name ends in a digest of its text, ``@`` in ``head`` being the name.

    It needs those of ``needs`` that it calls.
    """
    text = "\n".join(lines)
    needs = tuple(function for function in needs if f"{function.name}(" in text)
    digest = hashlib.sha256("\n".join([head, *lines]).encode()).hexdigest()[:6]
    name = f"{prefix}_{digest}"
    return Function(name, "\n".join([head.replace("@", name), *lines]), needs)


def tile(
    tail: Tail, reach: Reach, pixels: int, vectors: int, channels: int, pitch: int
) -> Function:
    """A tile.

    Args:
        tail: How it ends.
        reach: How it walks.
        pixels: Pixels of the tile.
        vectors: Registers of channels.
        channels: Channels of them that exist.
        pitch: Channels of an output pixel.

    Returns:
        ``void f(const uint8_t *const *rows, size_t at, const int8_t *w, const int32_t *tail,
        int8_t *y)``, ``at`` being the byte of the first pixel in each row; or with ``const int8_t
        *x`` in place of both where the inputs are direct.
    """
    isa, lanes = tail.isa, tail.isa.lanes
    names = [[f"a{p}_{v}" for v in range(vectors)] for p in range(pixels)]
    source = "const int8_t *x" if reach.direct else "const uint8_t *const *rows, size_t at"
    head = (
        f"/* {pixels} pixels, {channels} channels: bias + inputs times weights, rescaled. */\n"
        f"static void @({source}, const int8_t *w,\n    const int32_t *tail, {tail.dtype}_t *y)\n{{"
    )
    lines = []
    if reach.direct:
        lines.append(f"    const {isa.type} flip = {isa.op('set1_epi8', '-128')};")
    for v in range(vectors):
        first = f"{isa.load.name}(tail + {v * 4 * lanes})"
        alike = ", ".join(f"{row[v]} = bias{v}" for row in names)
        lines += [f"    const {isa.type} bias{v} = {first};", f"    {isa.type} {alike};"]
    lines.append(f"    {isa.type} packed;")
    lines += _walk(reach, _step(isa, reach, names))
    for v in range(vectors):
        lines += [f"    {line}" for line in tail.constants(v, "tail", v * 4 * lanes)]
        lines += [f"    {tail.apply(row[v], v)}" for row in names]
    results = [
        Result(name, p * pitch + v * lanes, min(lanes, channels - v * lanes))
        for p, row in enumerate(names)
        for v, name in enumerate(row)
    ]
    lines += [*write_results(tail, results), "}"]
    needs = (WORD, *tail_functions(tail))
    return named(f"{isa.name}_tile_{pixels}x{channels}", lines, needs, head)


def _walk(reach: Reach, step: list[str]) -> list[str]:
    if reach.direct:
        loops = [f"    for (size_t k = 0; k < {reach.length}; k++, x += 4) {{"]
        return [*loops, *(f"        {line}" for line in step), "    }"]
    depth, lines = 2, [f"    for (size_t r = 0; r < {reach.rows}; r++) {{"]
    if reach.runs > 1:
        lines.append(f"        for (size_t t = 0; t < {reach.runs}; t++) {{")
        lines.append(f"            const uint8_t *x = rows[r] + at + t * {reach.skip};")
        depth = 3
    else:
        lines.append("        const uint8_t *x = rows[r] + at;")
    pad = "    " * depth
    lines.append(f"{pad}for (size_t k = 0; k < {reach.length}; k++, x += 4) {{")
    lines += [f"{pad}    {line}" for line in step]
    lines += ["    " * at + "}" for at in range(depth, 0, -1)]
    return lines


def _step(isa: Isa, reach: Reach, names: list[list[str]]) -> list[str]:
    # One word of every pixel times the weights of all channels.
    vectors, lanes = len(names[0]), isa.lanes
    spread = [isa.op("set1_epi32", f"x86_word(x + {p * reach.step})") for p in range(len(names))]
    if reach.words:
        width = 2 * lanes
        half = "_mm256_loadu_si256" if lanes == 16 else "_mm_loadu_si128"
        kind = "__m256i" if lanes == 16 else "__m128i"
        lines = [f"const {isa.type} x{p} = {text};" for p, text in enumerate(spread)]
        lines.append(f"{isa.type} w0;")
        for v in range(vectors):
            at = f"(const {kind} *)(const void *)(w + {v * width})"
            lines.append(f"w0 = {isa.op('cvtepi8_epi16', f'{half}({at})')};")
            for p, row in enumerate(names):
                if isa.masks:
                    lines.append(f"{row[v]} = {isa.op('dpwssd_epi32', row[v], f'x{p}', 'w0')};")
                else:
                    product = isa.op("madd_epi16", f"x{p}", "w0")
                    lines.append(f"{row[v]} = {isa.op('add_epi32', row[v], product)};")
        return [*lines, f"w += {vectors * width};"]
    width = 4 * lanes
    lines = [f"const {isa.type} w{v} = {isa.load.name}(w + {v * width});" for v in range(vectors)]
    lines.append(f"{isa.type} word;")
    for text, row in zip(spread, names, strict=True):
        if reach.direct:
            text = isa.op(f"xor_si{isa.bits}", text, "flip")
        lines.append(f"word = {text};")
        lines += [
            f"{name} = {isa.op('dpbusd_epi32', name, 'word', f'w{v}')};"
            for v, name in enumerate(row)
        ]
    return [*lines, f"w += {vectors * width};"]
