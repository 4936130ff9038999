"""The stem with AVX2: pixels in pairs of taps, as words, times two weights (``vpmaddwd``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.centred import MIDDLE, CentredNetwork


def stem_arrays(network: CentredNetwork) -> list[Array]:
    """Weights of features and skip, (outputs, pairs) of 32 bits, and the sums' first values."""
    outputs = len(network.stem_bias)
    weights = np.zeros((outputs, 2 * pairs(network)), np.int16)
    weights[:, : network.kernel**2] = network.stem_weights.reshape(outputs, -1)
    words: NDArray[np.int32] = weights.view(np.int32)
    total = network.stem_weights.astype(np.int64).sum(axis=(1, 2))
    half = np.full(outputs, (1 << network.out_shift) >> 1)
    half[: network.channels] = (1 << network.stem_shift) >> 1
    bias = network.stem_bias - MIDDLE * total + half
    return [Array("stem_weights", words), Array("stem_bias", bias.astype(np.int32))]


def pairs(network: CentredNetwork) -> int:
    """Pairs of the window's taps."""
    return (network.kernel**2 + 1) // 2


def stem(network: CentredNetwork) -> str:
    """Text of ``stem_block``, and of what it shares with the head."""
    stride, kernel, count = network.stride, network.kernel, pairs(network)
    places = [
        f"{q * stride + t % stride} * plane + {t // stride}"
        for q in range(kernel)
        for t in range(kernel)
    ]
    if len(places) % 2:
        places.append(places[-1])
    loads = "\n".join(
        f"    pair_up(load(pixels + {places[2 * i]}), load(pixels + {places[2 * i + 1]}), "
        f"taps + {4 * i});"
        for i in range(count)
    )
    finish = f"_mm256_srai_epi32(sums[{{}}], {network.stem_shift})"
    return f"""\
/* Two taps of the block's cells: words of cells 0-3 and 16-19, 4-7 and 20-23, and so on. */
static inline void pair_up(__m256i p, __m256i q, __m256i *to)
{{
    const __m256i zero = _mm256_setzero_si256();
    const __m256i low = _mm256_unpacklo_epi8(p, q), high = _mm256_unpackhi_epi8(p, q);
    to[0] = _mm256_unpacklo_epi8(low, zero);
    to[1] = _mm256_unpackhi_epi8(low, zero);
    to[2] = _mm256_unpacklo_epi8(high, zero);
    to[3] = _mm256_unpackhi_epi8(high, zero);
}}

static inline void load_taps(const uint8_t *pixels, ptrdiff_t plane, __m256i *taps)
{{
{loads}
}}

/* One output of the stem. */
static inline void sum_taps(const __m256i *taps, int o, __m256i sums[4])
{{
    const int32_t *const w = @stem_weights@ + o * {count};
    __m256i s0 = _mm256_set1_epi32(@stem_bias@[o]), s1 = s0, s2 = s0, s3 = s0;
    int pair;
    for (pair = 0; pair < {count}; pair++) {{
        const __m256i both = _mm256_set1_epi32(w[pair]);
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(taps[4 * pair], both));
        s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(taps[4 * pair + 1], both));
        s2 = _mm256_add_epi32(s2, _mm256_madd_epi16(taps[4 * pair + 2], both));
        s3 = _mm256_add_epi32(s3, _mm256_madd_epi16(taps[4 * pair + 3], both));
    }}
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}}

static inline void stem_block(const uint8_t *pixels, ptrdiff_t plane, int8_t *out,
                              ptrdiff_t stride)
{{
    __m256i taps[{4 * count}];
    int o;
    load_taps(pixels, plane, taps);
    for (o = 0; o < {network.channels}; o++) {{
        __m256i sums[4], low, high;
        sum_taps(taps, o, sums);
        low = _mm256_packs_epi32({finish.format(0)},
                                 {finish.format(1)});
        high = _mm256_packs_epi32({finish.format(2)},
                                  {finish.format(3)});
        store(out + o * stride, _mm256_packs_epi16(low, high));
    }}
}}"""
