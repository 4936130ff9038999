"""Functions of a byte: look-ups in a table of 256 bytes held in registers.

VBMI looks up 128 bytes by one instruction, with the lower seven bits of ``x``; the sign chooses
between two. AVX2 looks up 16 bytes in each of 16 parts and keeps the one whose number the upper
bits of ``x`` name: the others' indices saturate beyond 127, where ``vpshufb`` gives 0. A rescale of
one scale is a function of a byte, too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.portable.values import centered_values, rescaled
from intaglio.targets.c.kernels.x86.blocks import elementwise, isa_of
from intaglio.targets.c.kernels.x86.isa import AVX2
from intaglio.targets.c.network import Layer, Requantization, Table

_LOOK_UP = {
    "vnni": Function(
        "vnni_look_up",
        """\
/* table[x + 128] of 64 bytes. */
static inline __m512i vnni_look_up(__m512i x, const int8_t *table)
{
    const __m512i below = _mm512_permutex2var_epi8(_mm512_loadu_si512((const void *)table), x,
        _mm512_loadu_si512((const void *)(table + 64)));
    const __m512i above = _mm512_permutex2var_epi8(_mm512_loadu_si512((const void *)(table + 128)),
        x, _mm512_loadu_si512((const void *)(table + 192)));
    return _mm512_mask_mov_epi8(above, _mm512_movepi8_mask(x), below);
}""",
    ),
    "avx2": Function(
        "avx2_look_up",
        """\
/* table[x + 128] of 32 bytes. */
static inline __m256i avx2_look_up(__m256i x, const int8_t *table)
{
    __m256i found = _mm256_setzero_si256();
    const __m256i index = _mm256_xor_si256(x, _mm256_set1_epi8(-128));
    for (int part = 0; part < 16; part++) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(table + 16 * part));
        const __m256i mine = _mm256_xor_si256(index, _mm256_set1_epi8((char)(16 * part)));
        found = _mm256_or_si256(found, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes),
            _mm256_adds_epu8(mine, _mm256_set1_epi8(0x70))));
    }
    return found;
}""",
    ),
}


def table(layer: Table, variant: str) -> Implementation | None:
    """A table of 256 bytes for all elements; None for others."""
    if layer.inputs[0].dtype != "int8" or layer.output.dtype != "int8":
        return None
    entries = np.asarray(layer.table)
    return look_up(layer, entries.reshape(-1), variant) if entries.size == 256 else None


def requantization(layer: Requantization, variant: str) -> Implementation | None:
    """A rescale of bytes to bytes; None for others."""
    if layer.inputs[0].dtype != "int8" or layer.output.dtype != "int8":
        return None
    values = centered_values(layer.inputs[0])
    found = rescaled(layer.rescale, np.abs(values) if layer.magnitude else values)
    return look_up(layer, found, variant)


def look_up(layer: Layer, entries: NDArray[np.int64], variant: str) -> Implementation:
    """Code of ``entries[x + 128]`` for each element."""
    isa = isa_of(variant)
    function = _LOOK_UP["avx2" if isa is AVX2 else "vnni"]
    body = [f"packed = {function.name}({isa.load.name}(a), table);"]
    array = Array("table", entries.astype(np.int8))
    return elementwise(layer, isa, "table", body, array, (isa.load, function))
