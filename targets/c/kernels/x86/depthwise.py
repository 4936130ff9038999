"""Depthwise convolutions: sixteen channels, or sixteen elements of a row, at a time.

VNNI: the bytes of up to four rows are interleaved, ``[lane][row]``, by one permutation, and
``vpdpbusd`` multiplies a column of the kernel at once; a column serves every pixel of the tile that
it belongs to. AVX2: 16-bit words of two taps are interleaved and multiplied by ``vpmaddwd``; its
registers hold the channels in the order of ``vpunpcklwd`` until they are packed.

Where a pixel has fewer than sixteen channels and the stride is 1, lanes run on into the next
pixels: the constants repeat with the channels.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.x86.dense import bounds, is_plain, reads_words, ring_of
from intaglio.targets.c.kernels.x86.isa import AVX2, VNNI
from intaglio.targets.c.kernels.x86.stores import (
    STORE_SOME,
    STORE_SOME_256,
    Result,
    tail_functions,
    write_results,
)
from intaglio.targets.c.kernels.x86.tails import Tail, make_tail
from intaglio.targets.c.kernels.x86.tiles import named
from intaglio.targets.c.network import Convolution

_LANES = 16
#: Pixels of a tile, at most.
_PIXELS = {"vnni": 8, "avx2": 4}
_AVX2_ORDER = np.array([0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15])


@dataclasses.dataclass(frozen=True)
class Plan:
    """How rows are cut into units of sixteen elements.

    Attributes:
        blocks: Units along the channels.
        units: Units along a row.
        step: Elements from a unit of a row to the next, in the input.
        pitch: The same in the output.
        count: Elements of the last unit (along the channels or the row) that exist.
        flat: Units run along the row.
    """

    blocks: int
    units: int
    step: int
    pitch: int
    count: int
    flat: bool


def depthwise(layer: Convolution, variant: str) -> Implementation | None:
    """A depthwise convolution of one output channel an input channel, or None."""
    window, channels = layer.window, layer.window.image[2]
    if not layer.is_depthwise or layer.groups != channels or len(layer.weights) != channels:
        return None
    if not is_plain(layer):
        return None
    plan = _plan(layer)
    words = reads_words(layer, variant)
    tail = _tail(layer, plan, words)
    if tail is None:
        return None
    ring = ring_of(layer, words)
    weights = _avx2_weights(layer, plan) if words else _vnni_weights(layer, plan)
    lines, functions = _calls(layer, tail, plan, words, weights.shape[1])
    to = f"{layer.output.dtype}_t *const to = y + row * {window.result[1] * channels};"
    arrays = (Array("weights", weights), Array("tail", tail.parameters))
    body = "\n".join(ring.loop([to, *lines]))
    return Implementation(body, (*ring.functions, *functions), arrays, ring.bytes)


def _plan(layer: Convolution) -> Plan:
    window, channels = layer.window, layer.window.image[2]
    columns = window.result[1]
    if channels < _LANES and _LANES % channels == 0 and window.strides[1] == 1:
        elements = columns * channels
        units = -(-elements // _LANES)
        return Plan(1, units, _LANES, _LANES, elements - (units - 1) * _LANES, True)
    blocks = -(-channels // _LANES)
    step = window.strides[1] * channels
    return Plan(blocks, columns, step, channels, channels - (blocks - 1) * _LANES, False)


def _lanes(plan: Plan, channels: int) -> NDArray[np.int64]:
    # The channel of each lane of all blocks; lanes that do not exist repeat others.
    return np.arange(plan.blocks * _LANES) % channels


def _tail(layer: Convolution, plan: Plan, words: bool) -> Tail | None:
    channels = layer.window.image[2]
    lanes = _lanes(plan, channels)
    if words:
        lanes = lanes.reshape(-1, _LANES)[:, _AVX2_ORDER].reshape(-1)
    bias, bound = bounds(layer, words)
    scales = dataclasses.replace(
        layer.rescale,
        multiplier=np.broadcast_to(layer.rescale.multiplier, channels)[lanes],
        shift=np.broadcast_to(layer.rescale.shift, channels)[lanes],
    )
    isa = AVX2 if words else VNNI
    return make_tail(isa, scales, bias[lanes], bound[lanes], layer.output.dtype)


def _vnni_weights(layer: Convolution, plan: Plan) -> NDArray[np.int8]:
    # [block][four rows][column][lane][row]
    kh, kw = layer.window.kernel
    taps = layer.weights[_lanes(plan, layer.groups), :, :, 0]
    taps = np.pad(taps, ((0, 0), (0, -kh % 4), (0, 0)))
    fours = taps.reshape(plan.blocks, _LANES, -1, 4, kw).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(fours).reshape(plan.blocks, -1)


def _avx2_weights(layer: Convolution, plan: Plan) -> NDArray[np.int8]:
    # [block][pair of taps][lane in the order of the registers][tap]
    kh, kw = layer.window.kernel
    taps = layer.weights[_lanes(plan, layer.groups), :, :, 0].reshape(-1, kh * kw)
    taps = np.pad(taps, ((0, 0), (0, kh * kw % 2)))
    pairs = taps.reshape(plan.blocks, _LANES, -1, 2)[:, _AVX2_ORDER]
    return np.ascontiguousarray(pairs.transpose(0, 2, 1, 3)).reshape(plan.blocks, -1)


def _calls(
    layer: Convolution, tail: Tail, plan: Plan, words: bool, per_block: int
) -> tuple[list[str], tuple[Function, ...]]:
    # One row: whole blocks of channels in a loop, then the last one where it is not whole.
    write = _avx2_tile if words else _vnni_tile
    size = 2 if words else 1
    functions: list[Function] = []

    def row(block: str, count: int) -> list[str]:
        whole = plan.units - (plan.flat and plan.count < _LANES)
        most = _PIXELS["avx2" if words else "vnni"]
        pixels = -(-whole // -(-whole // most)) if whole else 0
        constants = f"@weights@ + {block} * {per_block}, @tail@ + {block} * {4 * _LANES}"
        lines: list[str] = []

        def call(number: int, at: str, to: str, last: int) -> str:
            function = write(layer, tail, plan, number, last)
            functions.append(function)
            here = f"{at} + {block} * {_LANES * size}"
            return f"{function.name}(rows, {here}, {constants}, to + {to} + {block} * {_LANES});"

        if whole:
            step = pixels * plan.step * size
            lines += [
                f"for (size_t p = 0; p < {whole // pixels}; p++) {{",
                f"    {call(pixels, f'p * {step}', f'p * {pixels * plan.pitch}', count)}",
                "}",
            ]
        if whole and whole % pixels:
            done = whole - whole % pixels
            lines.append(call(whole % pixels, str(done * plan.step * size), str(done * plan.pitch),
                              count))  # fmt: skip
        if whole < plan.units:
            at = whole * plan.step
            lines.append(call(1, str(at * size), str(at), plan.count))
        return lines

    if plan.flat:
        return row("0", _LANES), tuple(functions)
    whole, lines = plan.blocks - (plan.count < _LANES), []
    if whole:
        lines += [f"for (size_t b = 0; b < {whole}; b++) {{"]
        lines += [f"    {line}" for line in row("b", _LANES)] + ["}"]
    if whole < plan.blocks:
        lines += row(str(whole), plan.count)
    return lines, tuple(functions)


def _head(layer: Convolution, pixels: int, plan: Plan) -> str:
    rows, columns = layer.window.kernel
    kind = "sixteens of a row" if plan.flat else "pixels of sixteen channels"
    return (
        f"/* {pixels} {kind} of a depthwise {rows}x{columns} convolution. */\n"
        "static void @(const uint8_t *const *rows, size_t at, const int8_t *w,\n"
        f"    const int32_t *tail, {layer.output.dtype}_t *y)\n{{"
    )


def _columns(layer: Convolution, plan: Plan, pixels: int) -> dict[int, list[tuple[int, int]]]:
    # Element offset of each column of the kernel -> the pixels it serves, and its place in them.
    step = layer.window.dilations[1] * layer.window.image[2]
    found: dict[int, list[tuple[int, int]]] = {}
    for pixel in range(pixels):
        for column in range(layer.window.kernel[1]):
            found.setdefault(pixel * plan.step + column * step, []).append((pixel, column))
    return dict(sorted(found.items()))


def _vnni_tile(layer: Convolution, tail: Tail, plan: Plan, pixels: int, count: int) -> Function:
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
    lines += [f"    {tail.apply(f'a{p}', 'tail')}" for p in range(pixels)]
    results = [Result(f"a{p}", p * plan.pitch, count) for p in range(pixels)]
    lines += [*write_results(tail, results), "}"]
    return named("vnni_depthwise", lines, tuple(needs), _head(layer, pixels, plan))


def _interleave(rows: int) -> Function:
    words = [f"0x{0x30201000 + i * 0x01010101:08x}" for i in range(_LANES)]
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


_PACK = Function(
    "avx2_pack_channels",
    """\
/* Two pixels of sixteen channels in the order of the registers as bytes, saturated. */
static inline __m256i avx2_pack_channels(__m256i a, __m256i b, __m256i c, __m256i d)
{
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    return _mm256_permute4x64_epi64(bytes, 0xD8);
}""",
)


def _avx2_tile(layer: Convolution, tail: Tail, plan: Plan, pixels: int, count: int) -> Function:
    kh, kw = layer.window.kernel
    step = layer.window.dilations[1] * layer.window.image[2]
    taps = [(r, k * step) for r in range(kh) for k in range(kw)]
    taps += taps[-1:] * (len(taps) % 2)
    lines = [
        f"    __m256i a{p} = avx2_load(tail), b{p} = avx2_load(tail + 32);" for p in range(pixels)
    ]
    lines.append("    __m256i v, u, wa, wb, packed;")
    for pair in range(len(taps) // 2):
        for name, half in (("wa", 0), ("wb", 16)):
            here = f"(const __m128i *)(const void *)(w + {pair * 32 + half})"
            lines.append(f"    {name} = _mm256_cvtepi8_epi16(_mm_loadu_si128({here}));")
        for p in range(pixels):
            for name, (row, offset) in zip("vu", taps[2 * pair : 2 * pair + 2], strict=True):
                place = 2 * (offset + p * plan.step)
                lines.append(f"    {name} = avx2_load(rows[{row}] + at + {place});")
            for a, part, weight in (("a", "lo", "wa"), ("b", "hi", "wb")):
                product = f"_mm256_madd_epi16(_mm256_unpack{part}_epi16(v, u), {weight})"
                lines.append(f"    {a}{p} = _mm256_add_epi32({a}{p}, {product});")
    for p in range(pixels):
        lines += [f"    {tail.apply(f'a{p}', 'tail')}", f"    {tail.apply(f'b{p}', 'tail + 32')}"]
    lines += _avx2_results(tail, plan, pixels, count)
    lines.append("}")
    needs = (*tail_functions(tail), _PACK, STORE_SOME, STORE_SOME_256)
    return named("avx2_depthwise", lines, needs, _head(layer, pixels, plan))


def _avx2_results(tail: Tail, plan: Plan, pixels: int, count: int) -> list[str]:
    # Two pixels make a register of bytes; one makes a register of words.
    lines = []
    if tail.dtype == "int16":
        for p in range(pixels):
            lines.append(f"packed = _mm256_packs_epi32(a{p}, b{p});")
            lines += tail.clamp("packed")
            to = f"y + {p * plan.pitch}"
            if count == _LANES:
                lines.append(f"_mm256_storeu_si256((__m256i *)(void *)({to}), packed);")
            else:
                lines.append(f"avx2_store_some256({to}, packed, {2 * count});")
        return [f"    {line}" for line in lines]
    for p in range(0, pixels, 2):
        q = min(p + 1, pixels - 1)
        lines.append(f"packed = avx2_pack_channels(a{p}, b{p}, a{q}, b{q});")
        lines += tail.clamp("packed")
        for which in range(p, min(p + 2, pixels)):
            half = f"_mm256_extracti128_si256(packed, {which - p})"
            to = f"y + {which * plan.pitch}"
            if count == _LANES:
                lines.append(f"_mm_storeu_si128((__m128i *)(void *)({to}), {half});")
            else:
                lines.append(f"avx2_store_some({to}, {half}, {count});")
    return [f"    {line}" for line in lines]
