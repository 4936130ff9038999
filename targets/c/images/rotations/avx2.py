"""Sums of a cell with AVX2: sixteen words, to which a row of a table is added in one go."""

from __future__ import annotations

from intaglio.targets.c.images.rotations.rounding import high_factor, mean_function
from intaglio.targets.c.images.rotations.rows import RowKernels, plain_ends, row_kernels
from intaglio.transforms.table_networks.reference import TAPS, ReferenceNetwork

#: The channels that one register holds.
CHANNELS = 16


def kernels(network: ReferenceNetwork) -> RowKernels | None:
    """The functions of AVX2; None for a network that has not just 16 channels."""
    if network.branches[0].channels != CHANNELS:
        return None
    words = _WORDS.replace("@ninth@", str(high_factor(TAPS)))
    if any(stage.depthwise is not None for b in network.branches for stage in b.stages):
        words = mean_function("mean_of_taps", TAPS) + "\n\n" + words
    ends = _ends(network) if network.upscale == 4 else plain_ends(network)
    return row_kernels(network, words, CHANNELS, ends, multiplies=True)


_WORDS = """\
typedef __m256i words;
typedef __m256i cell_words;

static inline void clear(words *sum)
{
    *sum = _mm256_setzero_si256();
}

static inline __m128i load(const void *from)
{
    return _mm_loadu_si128((const __m128i *)from);
}

static inline void add_row(words *sum, const int8_t *row)
{
    *sum = _mm256_add_epi16(*sum, _mm256_cvtepi8_epi16(load(row)));
}

/* Sixteenths, half to even. */
static inline __m256i sixteenth(__m256i sum)
{
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(sum, 4), _mm256_set1_epi16(1));
    return _mm256_srai_epi16(
        _mm256_add_epi16(_mm256_add_epi16(sum, _mm256_set1_epi16(7)), odd), 4);
}

static inline void clamp_bytes(__m256i levels, __m128i high, uint8_t *to)
{
    const __m256i packed = _mm256_packus_epi16(levels, levels);
    const __m128i bytes = _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 8));
    _mm_storeu_si128((__m128i *)to, _mm_min_epu8(bytes, high));
}

/* Levels from 0 to the highest, scaled, as bytes. */
static inline void clamp_levels(__m256i levels, const struct layer *l, uint8_t *to)
{
    const __m128i high = _mm_set1_epi8((char)l->high);
    if (l->factors != NULL) {
        const __m256i zero = _mm256_set1_epi16((int16_t)l->zero);
        const __m256i most = _mm256_set1_epi16((int16_t)l->high);
        const __m256i factors = _mm256_loadu_si256((const __m256i *)(const void *)l->factors);
        __m256i bounded = _mm256_max_epi16(_mm256_setzero_si256(), levels);
        bounded = _mm256_sub_epi16(_mm256_min_epi16(bounded, most), zero);
        bounded = _mm256_sll_epi16(bounded, _mm_cvtsi32_si128(l->shift));
        levels = _mm256_add_epi16(_mm256_mulhrs_epi16(bounded, factors), zero);
    }
    clamp_bytes(levels, high, to);
}

/* The levels of a cell behind the stem. */
static inline void settle_level(const words *sum, int own, const struct layer *l, uint8_t *to)
{
    const __m256i mean = _mm256_mulhrs_epi16(*sum, _mm256_set1_epi16(@ninth@));
    clamp_levels(_mm256_add_epi16(mean, _mm256_set1_epi16((int16_t)own)), l, to);
}

/* The levels of a cell behind a pointwise layer, in their place. */
static inline void settle(const words *sum, uint8_t *cell, const struct layer *l)
{
    const __m256i own = _mm256_cvtepu8_epi16(load(cell));
    clamp_levels(_mm256_add_epi16(sixteenth(*sum), own), l, cell);
}

static inline void clear_cell(cell_words *sum)
{
    clear(sum);
}

static inline void add_cell(cell_words *sum, const int8_t *row)
{
    add_row(sum, row);
}

static inline void finish(const cell_words *sum, const uint8_t *cell, const struct layer *l,
                          int8_t *to)
{
    const __m256i own = _mm256_sub_epi16(
        _mm256_cvtepu8_epi16(load(cell)), _mm256_set1_epi16((int16_t)l->zero));
    const __m256i all = _mm256_add_epi16(sixteenth(*sum), own);
    const __m256i packed = _mm256_packs_epi16(all, all);
    _mm_storeu_si128(
        (__m128i *)to, _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 8)));
}"""


def _ends(network: ReferenceNetwork) -> str:
    both = "bytes = _mm_adds_epi8(bytes, load(other + 16 * j));"
    if len(network.branches) == 1:
        both = "(void)other;"
    return f"""\
/* Adds the branches, turns the sub-pixels back and adds the rotation; from 128 on. */
static inline void merge_row(int rotation, const int8_t *made, const int8_t *other, int16_t *sums,
                             int cells)
{{
    const __m128i turned = load(@turned@ + 16 * rotation);
    int j;
    for (j = 0; j < cells; j++) {{
        __m256i *const sum = (__m256i *)(void *)(sums + 16 * j);
        __m256i before = _mm256_set1_epi16(128);
        __m128i bytes = load(made + 16 * j);
        {both}
        bytes = _mm_shuffle_epi8(bytes, turned);
        if (rotation != 0) {{
            before = _mm256_loadu_si256(sum);
        }}
        _mm256_storeu_si256(sum, _mm256_add_epi16(before, _mm256_cvtepi8_epi16(bytes)));
    }}
}}

static inline void store_row(const int16_t *sums, int from, int to, uint8_t *out,
                             ptrdiff_t out_stride)
{{
    int j, line;
    for (j = from; j < to; j++) {{
        const __m256i sum = _mm256_loadu_si256((const __m256i *)(const void *)(sums + 16 * j));
        uint8_t cell[16];
        _mm_storeu_si128((__m128i *)cell, _mm256_castsi256_si128(
            _mm256_permute4x64_epi64(_mm256_packus_epi16(sum, sum), 8)));
        for (line = 0; line < 4; line++) {{
            memcpy(out + line * out_stride + (ptrdiff_t)(j - from) * 4, cell + 4 * line, 4);
        }}
    }}
}}"""
