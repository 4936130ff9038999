"""The head with AVX2: tables, the linear skip, and sub-pixels put side by side."""

from __future__ import annotations

import numpy as np

from intaglio.targets.c.images.avx2_stem import pairs
from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.centred import CentredNetwork


def head(network: CentredNetwork) -> tuple[str, list[Array]]:
    """Text of ``head_block`` and its constants."""
    upscale, stride = network.upscale, network.stride
    before = (network.kernel - stride) // 2
    cells = upscale**2
    taps = [before + d * stride // upscale for d in range(upscale)]
    under = [f"{stride * q + t % stride} * plane + {t // stride}" for q in taps for t in taps]
    pixels = "\n".join(
        f"    finish(found + {2 * o}, taps, {network.channels + o}, pixels + {place}, made + {o});"
        for o, place in enumerate(under)
    )
    wide = cells + cells % 2
    text = f"""\
/* The pixels of one output: head, skip, and what lies under them. */
static inline void finish(const __m256i *found, const __m256i *taps, int o, const uint8_t *under,
                          __m256i *to)
{{
    const __m256i zero = _mm256_setzero_si256(), x = load(under);
    __m256i sums[4], low, high;
    int k;
    sum_taps(taps, o, sums);
    for (k = 0; k < 4; k++) {{
        /* 32 bits of a word: its upper half, moved down again. */
        const __m256i word = k % 2 == 0 ? _mm256_unpacklo_epi16(zero, found[k / 2])
                                        : _mm256_unpackhi_epi16(zero, found[k / 2]);
        const __m256i sum = _mm256_srai_epi32(word, {16 - network.head_shift});
        sums[k] = _mm256_srai_epi32(_mm256_add_epi32(sums[k], sum), {network.out_shift});
    }}
    low = _mm256_packs_epi32(sums[0], sums[1]);
    high = _mm256_packs_epi32(sums[2], sums[3]);
    low = _mm256_adds_epi16(low, _mm256_unpacklo_epi8(x, zero));
    high = _mm256_adds_epi16(high, _mm256_unpackhi_epi8(x, zero));
    *to = _mm256_packus_epi16(low, high);
}}

{_store(upscale)}

static inline void head_block(const uint8_t *index, const uint8_t *pixels, ptrdiff_t plane,
                              uint8_t *out, ptrdiff_t out_stride)
{{
    __m256i taps[{4 * pairs(network)}], found[{2 * wide}], made[{cells}];
    int o, line;
    for (o = 0; o < {cells}; o += 2) {{
        look_up(@head_tables@ + o * {16 * network.channels}, index, found + 2 * o);
    }}
    load_taps(pixels, plane, taps);
{pixels}
    for (line = 0; line < {upscale}; line++) {{
        store_line(made + line * {upscale}, out + line * out_stride);
    }}
}}"""
    return text, [] if upscale == 1 else [_patterns(upscale)]


def _store(upscale: int) -> str:
    """Text of ``store_line``: 32 cells of each column, interleaved."""
    if upscale == 1:
        return """\
static inline void store_line(const __m256i *from, uint8_t *to)
{
    store(to, from[0]);
}"""
    return f"""\
static inline void store_line(const __m256i *from, uint8_t *to)
{{
    int part, column, half;
    for (part = 0; part < {upscale}; part++) {{
        __m256i both = _mm256_setzero_si256();
        for (column = 0; column < {upscale}; column++) {{
            const __m256i order = twice(@interleave@ + 16 * ({upscale} * part + column));
            both = _mm256_or_si256(both, _mm256_shuffle_epi8(from[column], order));
        }}
        for (half = 0; half < 2; half++) {{
            const __m128i bytes = half == 0 ? _mm256_castsi256_si128(both)
                                            : _mm256_extracti128_si256(both, 1);
            _mm_storeu_si128((__m128i *)(to + 16 * ({upscale} * half + part)), bytes);
        }}
    }}
}}"""


def _patterns(upscale: int) -> Array:
    """For 16 bytes of the line, (parts, columns, 16): cell of the column's byte, or 128: none."""
    place = np.arange(16 * upscale).reshape(upscale, 1, 16)
    column = np.arange(upscale)[:, None]
    data = np.where(place % upscale == column, place // upscale, 128)
    return Array("interleave", data.astype(np.uint8))
