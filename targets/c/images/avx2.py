"""Blocks of a centred table network with AVX2.

A table of 16 rows is half a register, twice in it; ``vpshufb`` looks 32 cells up. Entries of two
channels are put side by side and added as words (``vpmaddubsw`` with ones). In all registers of
words the one half holds cells 0-7 and 16-23, the other the rest, as unpacking and packing bytes
have it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.images.avx2_head import head
from intaglio.targets.c.images.avx2_stem import stem, stem_arrays
from intaglio.targets.c.images.avx2_windows import window_arrays, windows
from intaglio.targets.c.images.interface import Kernels
from intaglio.targets.c.images.layers import even_outputs, layers_of
from intaglio.transforms.table_networks.centred import CentredNetwork

BLOCK = 32


def kernels(network: CentredNetwork, variant: str) -> Kernels:
    """The functions of AVX2.

    Args:
        network: The network.
        variant: ``avx2``.
    """
    del variant
    channels = network.channels
    layers = layers_of(network, pack_tables, window_arrays)
    head_text, head_arrays = head(network)
    arrays = (*stem_arrays(network), *layers.arrays, *head_arrays)
    index_bytes = BLOCK * channels
    parts = [
        f"enum {{ BLOCK = {BLOCK}, INDEX_BYTES = {index_bytes} }};",
        _LAYERS.replace("@rows@", layers.rows).replace("@channels@", str(channels)),
        stem(network),
        windows(channels, layers.with_single, layers.with_general),
        _MIX.replace("@channels@", str(channels)) if network.mixings else "",
        head_text,
    ]
    code = "\n\n".join(part for part in parts if part)
    return Kernels(BLOCK, index_bytes, code, arrays)


def pack_tables(tables: NDArray[np.int8]) -> NDArray[np.int8]:
    """(output pairs, channel pairs, 2 outputs, 2 channels, 16 rows) of (channels, 16, outputs)."""
    channels, rows, _ = tables.shape
    pairs = even_outputs(tables).reshape(channels // 2, 2, rows, -1, 2)
    return np.ascontiguousarray(pairs.transpose(3, 0, 4, 1, 2))


_LAYERS = """\
struct layer {
    const int8_t *tables;
    const int16_t *taps;
    int single; /* each channel has one tap at most */
    int tap_shift;
    int shift;
};

static const struct layer layers[] = {
@rows@
};

static inline __m256i load(const void *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

static inline void store(void *to, __m256i value)
{
    _mm256_storeu_si256((__m256i *)to, value);
}

/* 16 bytes, twice. */
static inline __m256i twice(const void *from)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)from));
}

/* Sums of two outputs, in the two halves of words. */
static inline void look_up(const int8_t *tables, const uint8_t *index, __m256i sums[4])
{
    const __m256i ones = _mm256_set1_epi8(1);
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
    int c;
    for (c = 0; c < @channels@; c += 2) {
        const __m256i i = load(index), j = load(index + BLOCK);
        const __m256i p = _mm256_shuffle_epi8(twice(tables), i);
        const __m256i q = _mm256_shuffle_epi8(twice(tables + 16), j);
        const __m256i u = _mm256_shuffle_epi8(twice(tables + 32), i);
        const __m256i v = _mm256_shuffle_epi8(twice(tables + 48), j);
        s0 = _mm256_add_epi16(s0, _mm256_maddubs_epi16(ones, _mm256_unpacklo_epi8(p, q)));
        s1 = _mm256_add_epi16(s1, _mm256_maddubs_epi16(ones, _mm256_unpackhi_epi8(p, q)));
        s2 = _mm256_add_epi16(s2, _mm256_maddubs_epi16(ones, _mm256_unpacklo_epi8(u, v)));
        s3 = _mm256_add_epi16(s3, _mm256_maddubs_epi16(ones, _mm256_unpackhi_epi8(u, v)));
        index += 2 * BLOCK;
        tables += 64;
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}"""

_MIX = """\
static inline void mix_block(int layer, const uint8_t *index, const int8_t *here, int8_t *out,
                             ptrdiff_t stride)
{
    const struct layer *const l = layers + layer;
    const __m256i half = _mm256_set1_epi16((int16_t)((1 << l->shift) >> 1));
    const __m128i shift = _mm_cvtsi32_si128(l->shift);
    const int8_t *from = l->tables;
    int o, k;
    for (o = 0; o < @channels@; o += 2) {
        __m256i sums[4];
        look_up(from, index, sums);
        for (k = 0; k < 2; k++) {
            const __m256i f = load(here + (o + k) * stride);
            __m256i low = _mm256_sra_epi16(_mm256_add_epi16(sums[2 * k], half), shift);
            __m256i high = _mm256_sra_epi16(_mm256_add_epi16(sums[2 * k + 1], half), shift);
            low = _mm256_add_epi16(low, _mm256_srai_epi16(_mm256_unpacklo_epi8(f, f), 8));
            high = _mm256_add_epi16(high, _mm256_srai_epi16(_mm256_unpackhi_epi8(f, f), 8));
            store(out + (o + k) * stride, _mm256_packs_epi16(low, high));
        }
        from += 32 * @channels@;
    }
}"""
