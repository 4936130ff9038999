"""Rows of tables added to sums with AVX2: one load of 16 entries for each tap.

A row is read whole where a block has fewer outputs, too: what lies behind it is added to lanes that
nobody reads. Entries of 16 bits are added in pairs of taps (``vpmaddwd`` by ones widens
them), those of 8 bits in lanes of 16 bits, up to 255 taps at a time: 255 * 128 < 2^15.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.portable.additive_tables import (
    BLOCK,
    ROW,
    branch_struct,
    implementation,
)
from intaglio.targets.c.kernels.portable.dots import NOINLINE
from intaglio.targets.c.network import AdditiveTables

_WORDS = """\
/* Adds a row of each tap to the sums of one block of outputs; width is how many those are. */
static NOINLINE void avx2_add_rows_int16(const int8_t *seen,
    const struct table_branch_int16 *branch, int32_t first, int32_t width, int32_t *acc)
{
    const int16_t *tables = branch->tables + first * branch->rows;
    const int32_t *tap = branch->taps;
    const int32_t shift = branch->shift, mask = branch->mask, pairs = branch->count & ~1;
    const __m256i ones = _mm256_set1_epi16(1);
    /* Outputs 0 .. 3 and 8 .. 11, and the others. */
    __m256i even = _mm256_setzero_si256(), odd = even;
    int32_t sums[16], i;
    for (i = 0; i < pairs; i += 2, tap += 8) {
        const int16_t *a = tables + table_row(seen[tap[0]], shift, mask, tap) * width;
        const int16_t *b = tables + table_row(seen[tap[4]], shift, mask, tap + 4) * width;
        const __m256i r = _mm256_loadu_si256((const __m256i *)(const void *)a);
        const __m256i s = _mm256_loadu_si256((const __m256i *)(const void *)b);
        even = _mm256_add_epi32(even, _mm256_madd_epi16(_mm256_unpacklo_epi16(r, s), ones));
        odd = _mm256_add_epi32(odd, _mm256_madd_epi16(_mm256_unpackhi_epi16(r, s), ones));
    }
    if (i < branch->count) {
        const int16_t *a = tables + table_row(seen[tap[0]], shift, mask, tap) * width;
        const __m256i r = _mm256_loadu_si256((const __m256i *)(const void *)a);
        const __m256i s = _mm256_setzero_si256();
        even = _mm256_add_epi32(even, _mm256_madd_epi16(_mm256_unpacklo_epi16(r, s), ones));
        odd = _mm256_add_epi32(odd, _mm256_madd_epi16(_mm256_unpackhi_epi16(r, s), ones));
    }
    _mm256_storeu_si256((__m256i *)(void *)sums, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256((__m256i *)(void *)(sums + 8), _mm256_permute2x128_si256(even, odd, 0x31));
    for (i = 0; i < width; i++) {
        acc[i] += sums[i];
    }
}"""

_BYTES = """\
/* Adds a row of each tap to the sums of one block of outputs; width is how many those are. */
static NOINLINE void avx2_add_rows_int8(const int8_t *seen,
    const struct table_branch_int8 *branch, int32_t first, int32_t width, int32_t *acc)
{
    const int8_t *tables = branch->tables + first * branch->rows;
    const int32_t *tap = branch->taps;
    const int32_t shift = branch->shift, mask = branch->mask;
    __m256i low = _mm256_setzero_si256(), high = low;
    int32_t sums[16], i = 0, end;
    while (i < branch->count) {
        __m256i words = _mm256_setzero_si256();
        for (end = branch->count - i < 255 ? branch->count : i + 255; i < end; i++, tap += 4) {
            const int8_t *a = tables + table_row(seen[tap[0]], shift, mask, tap) * width;
            const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)a);
            words = _mm256_add_epi16(words, _mm256_cvtepi8_epi16(bytes));
        }
        low = _mm256_add_epi32(low, _mm256_cvtepi16_epi32(_mm256_castsi256_si128(words)));
        high = _mm256_add_epi32(high, _mm256_cvtepi16_epi32(_mm256_extracti128_si256(words, 1)));
    }
    _mm256_storeu_si256((__m256i *)(void *)sums, low);
    _mm256_storeu_si256((__m256i *)(void *)(sums + 8), high);
    for (i = 0; i < width; i++) {
        acc[i] += sums[i];
    }
}"""


def _add(entry: str) -> Function:
    """The function that adds rows, for entries of a C type."""
    name, text = ("int16", _WORDS) if entry == "int16_t" else ("int8", _BYTES)
    return Function(f"avx2_add_rows_{name}", text, (NOINLINE, branch_struct(entry), ROW))


def additive_tables(layer: AdditiveTables, variant: str) -> Implementation | None:
    """A layer of added tables; None where every output reads one channel only."""
    del variant
    return None if layer.is_depthwise else implementation(layer, _add, spare=BLOCK)
