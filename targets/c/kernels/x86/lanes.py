"""A few bytes as 32-bit lanes and back, of a number that only has to be at most the lanes."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.x86.isa import AVX2, Isa

_TAKE_VNNI = Function(
    "vnni_take",
    """\
/* count bytes, at most 16, as lanes; 0 in the others. */
static inline __m512i vnni_take(const int8_t *from, size_t count)
{
    const __mmask16 some = (__mmask16)(0xFFFFu >> (16 - count));
    return _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(some, from));
}""",
)

_TAKE_AVX2 = Function(
    "avx2_take",
    """\
/* count bytes, at most 8, as lanes; 0 in the others. */
static inline __m256i avx2_take(const int8_t *from, size_t count)
{
    int8_t bytes[8] = {0};
    if (count == 8) {
        return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from));
    }
    memcpy(bytes, from, count);
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)bytes));
}""",
)

_PUT_VNNI = Function(
    "vnni_put",
    """\
/* The first count lanes, at most 16, as bytes, saturated. */
static inline void vnni_put(int8_t *to, __m512i value, size_t count)
{
    const __mmask16 some = (__mmask16)(0xFFFFu >> (16 - count));
    _mm_mask_storeu_epi8(to, some, _mm512_cvtsepi32_epi8(value));
}""",
)

_PUT_AVX2 = Function(
    "avx2_put",
    """\
/* The first count lanes, at most 8, as bytes, saturated. */
static inline void avx2_put(int8_t *to, __m256i value, size_t count)
{
    int8_t bytes[16];
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(value),
        _mm256_extracti128_si256(value, 1));
    _mm_storeu_si128((__m128i *)(void *)bytes, _mm_packs_epi16(words, words));
    memcpy(to, bytes, count);
}""",
)


def take(isa: Isa) -> Function:
    """Takes ``count`` bytes from a pointer."""
    return _TAKE_AVX2 if isa is AVX2 else _TAKE_VNNI


def put(isa: Isa) -> Function:
    """Puts ``count`` lanes of a value to a pointer."""
    return _PUT_AVX2 if isa is AVX2 else _PUT_VNNI
