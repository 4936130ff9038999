"""Rows of an int8 image as 16-bit words less the zero point, in a ring in scratch memory.

The border is 0, since padding adds nothing to a sum. Depthwise convolutions read pairs: a 32-bit
word holds a pixel's value and that of the next tap of the same channel, so that ``vpmaddwd`` takes
two taps of a register of channels without any shuffle.
"""

from __future__ import annotations

import dataclasses

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.x86.rows import SLACK, Ring
from intaglio.targets.c.network import TrainedConvolution, Window

CENTERED = Function(
    "x86_centered_row",
    """\
/* left zeros, count numbers of x less zero_point as words, right zeros; all zeros without x. */
static void x86_centered_row(int16_t *to, const int8_t *x, size_t left, size_t count, size_t right,
    int zero_point)
{
    const __m256i zero = _mm256_set1_epi16((int16_t)zero_point);
    if (x == NULL) {
        memset(to, 0, (left + count + right) * sizeof *to);
        return;
    }
    memset(to, 0, left * sizeof *to);
    to += left;
    for (; count >= 16; count -= 16, x += 16, to += 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)x);
        const __m256i words = _mm256_sub_epi16(_mm256_cvtepi8_epi16(bytes), zero);
        _mm256_storeu_si256((__m256i *)(void *)to, words);
    }
    for (; count > 0; count--) {
        *to++ = (int16_t)(*x++ - zero_point);
    }
    memset(to, 0, right * sizeof *to);
}""",
)

_PAIRS = Function(
    "x86_pairs",
    """\
/* count pairs of words: low less zero_point, then high less zero_point; 0 where there is none. */
static void x86_pairs(int16_t *to, const int8_t *low, const int8_t *high, size_t count,
    int zero_point)
{
    const __m256i zero = _mm256_set1_epi32(zero_point);
    const __m256i words = _mm256_set1_epi32(0xFFFF);
    size_t i = 0;
    if (low == NULL && high == NULL) {
        memset(to, 0, 2 * count * sizeof *to);
        return;
    }
    for (; i + 8 <= count; i += 8) {
        __m256i pair = _mm256_setzero_si256();
        if (low != NULL) {
            const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)(low + i));
            pair = _mm256_sub_epi32(_mm256_cvtepi8_epi32(bytes), zero);
            pair = _mm256_and_si256(pair, words);
        }
        if (high != NULL) {
            const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)(high + i));
            const __m256i next = _mm256_sub_epi32(_mm256_cvtepi8_epi32(bytes), zero);
            pair = _mm256_or_si256(pair, _mm256_slli_epi32(next, 16));
        }
        _mm256_storeu_si256((__m256i *)(void *)(to + 2 * i), pair);
    }
    for (; i < count; i++) {
        to[2 * i] = (int16_t)(low == NULL ? 0 : low[i] - zero_point);
        to[2 * i + 1] = (int16_t)(high == NULL ? 0 : high[i] - zero_point);
    }
}""",
)

_PAIR_ROW = """\
/* As x86_centered_row, each number with the one @distance@ behind it. */
static void x86_pair_row_@distance@(int16_t *to, const int8_t *x, size_t left, size_t count,
    size_t right, int zero_point)
{
    const size_t all = left + count + right;
    size_t i = 0;
    if (x == NULL) {
        memset(to, 0, 2 * all * sizeof *to);
        return;
    }
    while (i < all) {
        /* Up to end, each half of the pairs is inside the image, or each is outside. */
        const size_t next = i + @distance@;
        const size_t first_end = i < left ? left : i < left + count ? left + count : all;
        const size_t second_end = next < left ? left : next < left + count ? left + count : 0;
        size_t end = first_end;
        if (second_end != 0 && second_end - @distance@ < end) {
            end = second_end - @distance@;
        }
        x86_pairs(to + 2 * i, i >= left && i < left + count ? x + (i - left) : NULL,
            next >= left && next < left + count ? x + (next - left) : NULL, end - i, zero_point);
        i = end;
    }
}"""


@dataclasses.dataclass(frozen=True)
class CenteredRing(Ring):
    """A ring of words less the zero point, which is ``fill``; the border is 0."""

    @property
    def functions(self) -> tuple[Function, ...]:
        """What its code calls."""
        return (CENTERED,)


@dataclasses.dataclass(frozen=True)
class PairedRing(Ring):
    """A ring of pairs of words: each with that of the next tap of its channel."""

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return 4

    @property
    def functions(self) -> tuple[Function, ...]:
        """What its code calls."""
        distance = self.window.dilations[1] * self.window.image[2]
        text = _PAIR_ROW.replace("@distance@", str(distance))
        return (Function(f"x86_pair_row_{distance}", text, (_PAIRS,)),)


def ring_of(layer: TrainedConvolution, window: Window, *, pairs: bool = False) -> Ring:
    """The ring of a layer's rows.

    Args:
        layer: The layer.
        window: Its window, or one that sees the same.
        pairs: Elements are pairs of taps.
    """
    kind = PairedRing if pairs else CenteredRing
    return kind(window, True, False, layer.inputs[0].zero_point)


def ring_bytes(ring: Ring) -> int:
    """Scratch memory of a ring, a multiple of 64."""
    return -(-(ring.bytes + SLACK) // 64) * 64
