"""Depthwise tiles of VNNI: the columns of the kernel as dot products of four bytes.

The bytes of up to four rows are interleaved, ``[lane][row]``, by one permutation, and ``vpdpbusd``
multiplies a column of the kernel at once; a column serves every pixel of the tile that it belongs
to.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.x86.plans import LANES, Plan, channels_of_lanes, head
from intaglio.targets.c.kernels.x86.stores import Result, tail_functions, write_results
from intaglio.targets.c.kernels.x86.tails import Tail
from intaglio.targets.c.kernels.x86.tiles import named
from intaglio.targets.c.network import Convolution


def byte_weights(layer: Convolution, plan: Plan) -> NDArray[np.int8]:
    """Weights as ``[block][four rows][column][lane][row]``."""
    kh, kw = layer.window.kernel
    taps = layer.weights[channels_of_lanes(plan, layer.groups), :, :, 0]
    taps = np.pad(taps, ((0, 0), (0, -kh % 4), (0, 0)))
    fours = taps.reshape(plan.blocks, LANES, -1, 4, kw).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(fours).reshape(plan.blocks, -1)


def byte_tile(layer: Convolution, tail: Tail, plan: Plan, pixels: int, count: int) -> Function:
    """A tile of some units, of which ``count`` lanes are stored."""
    kh, kw = layer.window.kernel
    needs = [*tail_functions(tail)]
    first = ", ".join(f"a{p} = bias" for p in range(pixels))
    lines = [
        "    const __m512i bias = vnni_load(tail);",
        f"    __m512i {first};",
        "    __m512i column, packed;",
    ]
    for start in range(0, kh, 4):
        rows = range(start, min(start + 4, kh))
        interleave = _interleave(len(rows))
        needs.append(interleave)
        for column in range(kw):
            at = (start // 4 * kw + column) * 64
            lines.append(f"    const __m512i w{start}_{column} = vnni_load(w + {at});")
        for offset, served in _columns(layer, plan, pixels).items():
            sources = ", ".join(f"rows[{row}] + at + {offset}" for row in rows)
            lines.append(f"    column = {interleave.name}({sources});")
            lines += [
                f"    a{p} = _mm512_dpbusd_epi32(a{p}, column, w{start}_{k});" for p, k in served
            ]
    lines += [f"    {line}" for line in tail.constants(0, "tail")]
    lines += [f"    {tail.apply(f'a{p}', 0)}" for p in range(pixels)]
    results = [Result(f"a{p}", p * plan.pitch, count) for p in range(pixels)]
    lines += [*write_results(tail, results), "}"]
    return named("vnni_depthwise", lines, tuple(needs), head(layer, pixels, plan))


def _columns(layer: Convolution, plan: Plan, pixels: int) -> dict[int, list[tuple[int, int]]]:
    # Element offset of each column of the kernel -> the pixels it serves, and its place in them.
    step = layer.window.dilations[1] * layer.window.image[2]
    found: dict[int, list[tuple[int, int]]] = {}
    for pixel in range(pixels):
        for column in range(layer.window.kernel[1]):
            found.setdefault(pixel * plan.step + column * step, []).append((pixel, column))
    return dict(sorted(found.items()))


def _interleave(rows: int) -> Function:
    words = [f"0x{0x30201000 + i * 0x01010101:08x}" for i in range(LANES)]
    order = ",\n        ".join(", ".join(words[at : at + 8]) for at in (0, 8))
    parameters = ", ".join(f"const uint8_t *x{r}" for r in range(rows))
    lines = [
        f"/* Sixteen bytes of {rows} rows: [lane][row]. */",
        f"static inline __m512i vnni_column{rows}({parameters})",
        "{",
        f"    const __m512i order = _mm512_setr_epi32(\n        {order});",
        "    __m512i bytes = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)x0));",
    ]
    for row in range(1, rows):
        part = f"_mm_loadu_si128((const __m128i *)x{row})"
        lines.append(f"    bytes = _mm512_inserti32x4(bytes, {part}, {row});")
    lines += ["    return _mm512_permutexvar_epi8(order, bytes);", "}"]
    return Function(f"vnni_column{rows}", "\n".join(lines))
