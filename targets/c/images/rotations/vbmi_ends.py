"""The last steps with AVX-512: branches and rotations added, sub-pixels put side by side."""

from __future__ import annotations

from intaglio.transforms.table_networks.reference import ReferenceNetwork


def ends(network: ReferenceNetwork) -> str:
    """Text of ``merge_row`` and ``store_row``."""
    upscale, cells = network.upscale, network.upscale**2
    both = "bytes = _mm512_adds_epi8(bytes, load(other + from));"
    if len(network.branches) == 1:
        both = "(void)other;"
    return f"""\
/* Adds the branches, turns the sub-pixels back and adds the rotation; from 128 on. */
static inline void merge_row(int rotation, const int8_t *made, const int8_t *other, int16_t *sums,
                             int cells)
{{
    const uint8_t *const turned = @turned@ + rotation * OUTPUTS;
    int at, o;
    for (at = 0; at < cells * OUTPUTS; at += BLOCK * OUTPUTS) {{
        for (o = 0; o < OUTPUTS; o++) {{
            const ptrdiff_t from = at + turned[o] * BLOCK;
            int16_t *const to = sums + at + o * BLOCK;
            __m512i bytes = load(made + from), low = _mm512_set1_epi16(128), high = low;
            {both}
            if (rotation != 0) {{
                low = load(to);
                high = load(to + 32);
            }}
            low = _mm512_add_epi16(low, _mm512_cvtepi8_epi16(_mm512_castsi512_si256(bytes)));
            high = _mm512_add_epi16(
                high, _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64(bytes, 1)));
            _mm512_storeu_si512(to, low);
            _mm512_storeu_si512(to + 32, high);
        }}
    }}
}}

{_INTERLEAVE if upscale == 4 else _plain(upscale)}

/* The pixels of some cells; of whole blocks they are made in place. */
static inline void store_row(const int16_t *sums, int from, int to, uint8_t *out,
                             ptrdiff_t out_stride)
{{
    int at, o, line;
    for (at = from / BLOCK * BLOCK; at < to; at += BLOCK) {{
        uint8_t planes[{64 * cells}], made[{64 * cells}];
        const int first = at < from ? from - at : 0;
        const int end = to - at < BLOCK ? to - at : BLOCK;
        uint8_t *const pixels = out + (ptrdiff_t)(at + first - from) * {upscale};
        for (o = 0; o < OUTPUTS; o++) {{
            const int16_t *const sum = sums + at * OUTPUTS + o * BLOCK;
            const __m512i zero = _mm512_setzero_si512();
            _mm256_storeu_si256((__m256i *)(void *)(planes + 64 * o),
                                _mm512_cvtusepi16_epi8(_mm512_max_epi16(load(sum), zero)));
            _mm256_storeu_si256((__m256i *)(void *)(planes + 64 * o + 32),
                                _mm512_cvtusepi16_epi8(_mm512_max_epi16(load(sum + 32), zero)));
        }}
        for (line = 0; line < {upscale}; line++) {{
            uint8_t *const to_line = pixels + line * out_stride;
            const int is_whole = end - first == BLOCK;
            uint8_t *const place = is_whole ? to_line : made;
            interleave(planes + line * {64 * upscale}, place);
            if (!is_whole) {{
                memcpy(to_line, made + first * {upscale}, (size_t)(end - first) * {upscale});
            }}
        }}
    }}
}}"""


def _plain(upscale: int) -> str:
    if upscale == 1:
        return """\
static inline void interleave(const uint8_t *planes, uint8_t *to)
{
    memcpy(to, planes, 64);
}"""
    return f"""\
static inline void interleave(const uint8_t *planes, uint8_t *to)
{{
    int j, column;
    for (j = 0; j < 64; j++) {{
        for (column = 0; column < {upscale}; column++) {{
            to[{upscale} * j + column] = planes[64 * column + j];
        }}
    }}
}}"""


_INTERLEAVE = """\
/* Four cells of sixteen pixels from each quarter of a register. */
static inline void store_cells(__m512i cells, uint8_t *to)
{
    _mm_storeu_si128((__m128i *)(void *)to, _mm512_castsi512_si128(cells));
    _mm_storeu_si128((__m128i *)(void *)(to + 64), _mm512_extracti32x4_epi32(cells, 1));
    _mm_storeu_si128((__m128i *)(void *)(to + 128), _mm512_extracti32x4_epi32(cells, 2));
    _mm_storeu_si128((__m128i *)(void *)(to + 192), _mm512_extracti32x4_epi32(cells, 3));
}

static inline void interleave(const uint8_t *planes, uint8_t *to)
{
    const __m512i a = load(planes), b = load(planes + 64);
    const __m512i c = load(planes + 128), d = load(planes + 192);
    const __m512i low = _mm512_unpacklo_epi8(a, b), high = _mm512_unpackhi_epi8(a, b);
    const __m512i below = _mm512_unpacklo_epi8(c, d), above = _mm512_unpackhi_epi8(c, d);
    store_cells(_mm512_unpacklo_epi16(low, below), to);
    store_cells(_mm512_unpackhi_epi16(low, below), to + 16);
    store_cells(_mm512_unpacklo_epi16(high, above), to + 32);
    store_cells(_mm512_unpackhi_epi16(high, above), to + 48);
}"""
