"""Depthwise tiles of AVX2: the taps of the kernel in pairs of 16-bit words.

The words of two taps are interleaved by ``vpunpcklwd`` and ``vpunpckhwd`` and multiplied by
``vpmaddwd``; registers hold the channels in the order that this leaves them in until the packing
undoes it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.x86.plans import LANES, Plan, channels_of_lanes, head
from intaglio.targets.c.kernels.x86.stores import STORE_SOME, STORE_SOME_256, tail_functions
from intaglio.targets.c.kernels.x86.tails import Tail
from intaglio.targets.c.kernels.x86.tiles import named
from intaglio.targets.c.network import Convolution

#: Channels of a unit as its two registers hold them.
WORD_ORDER = np.array([0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15])


def word_weights(layer: Convolution, plan: Plan) -> NDArray[np.int8]:
    """Weights as ``[block][pair of taps][lane in the order of the registers][tap]``."""
    kh, kw = layer.window.kernel
    taps = layer.weights[channels_of_lanes(plan, layer.groups), :, :, 0].reshape(-1, kh * kw)
    taps = np.pad(taps, ((0, 0), (0, kh * kw % 2)))
    pairs = taps.reshape(plan.blocks, LANES, -1, 2)[:, WORD_ORDER]
    return np.ascontiguousarray(pairs.transpose(0, 2, 1, 3)).reshape(plan.blocks, -1)


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


def word_tile(layer: Convolution, tail: Tail, plan: Plan, pixels: int, count: int) -> Function:
    """A tile of some units, of which ``count`` lanes are stored."""
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
    for number in (0, 1):
        lines += [f"    {line}" for line in tail.constants(number, "tail", 32 * number)]
    for p in range(pixels):
        lines += [f"    {tail.apply(f'a{p}', 0)}", f"    {tail.apply(f'b{p}', 1)}"]
    lines += _avx2_results(tail, plan, pixels, count)
    lines.append("}")
    needs = (*tail_functions(tail), _PACK, STORE_SOME, STORE_SOME_256)
    return named("avx2_depthwise", lines, needs, head(layer, pixels, plan))


def _avx2_results(tail: Tail, plan: Plan, pixels: int, count: int) -> list[str]:
    # Two pixels make a register of bytes; one makes a register of words.
    lines = []
    if tail.dtype == "int16":
        for p in range(pixels):
            lines.append(f"packed = _mm256_packs_epi32(a{p}, b{p});")
            lines += tail.clamp("packed")
            to = f"y + {p * plan.pitch}"
            if count == LANES:
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
            if count == LANES:
                lines.append(f"_mm_storeu_si128((__m128i *)(void *)({to}), {half});")
            else:
                lines.append(f"avx2_store_some({to}, {half}, {count});")
    return [f"    {line}" for line in lines]
