"""Windows with AVX2: which row of its tables each channel reads, one byte a cell.

Single taps are one rounding high multiplication of bytes in the upper halves of words. Other
windows take taps in pairs: ``vpmaddubsw`` multiplies unsigned by signed bytes, so absolute taps are
the one side and features the other, inverted (``-1 - f``) where the tap is negative; the sum's
first value makes up for that. No pair saturates: 255 * 128 is below 2^15.
"""

from __future__ import annotations

import numpy as np

from intaglio.targets.c.images.windows import single_taps
from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.centred import Window

#: Bits that features are moved to the left in front of the high multiplication.
_MOVED = 8
#: Pairs of nine taps.
_PAIRS = 5


def window_arrays(number: int, window: Window) -> tuple[Array, bool]:
    """The taps of a layer, and whether they are single ones.

    Single taps: row, column - 1 and factor of each channel. Others: of each channel the first value
    of its sum, five pairs of absolute taps and five of masks that invert.
    """
    single = single_taps(window)
    factors = None if single is None else single.factors(_MOVED)
    if single is not None and factors is not None:
        data = np.stack([single.row, single.column - 1, factors], axis=1).astype(np.int16)
        return Array(f"taps{number}", data), True
    channels = len(window.taps)
    taps = np.zeros((channels, 2 * _PAIRS), np.int64)
    taps[:, :9] = window.taps.reshape(channels, 9)
    first = np.where(taps < 0, -taps, 0).sum(axis=1).astype(np.int16)
    absolute = np.abs(taps).astype(np.uint8).view(np.int16)
    masks = np.where(taps < 0, -1, 0).astype(np.int8).view(np.int16)
    data = np.concatenate([first[:, None], absolute, masks], axis=1)
    return Array(f"taps{number}", data), False


def windows(channels: int, with_single: bool, with_general: bool) -> str:
    """Text of ``window_block``.

    Args:
        channels: Features of a cell.
        with_single: Whether a layer has single taps.
        with_general: Whether a layer has others.
    """
    parts = [_WRITE]
    if with_single:
        parts.append(_SINGLE)
    if with_general:
        parts.append(_several())
    several = "several(rows, c * stride, l->taps + 11 * c, l->tap_shift, index + BLOCK * c);"
    single = "single(rows, c * stride, l->taps + 3 * c, index + BLOCK * c);"
    if with_single and with_general:
        body = (
            f"        if (l->single) {{\n            {single}\n        }} else {{\n"
            f"            {several}\n        }}"
        )
    else:
        body = f"        {single if with_single else several}"
    parts.append(_BLOCK.replace("@body@", body).replace("@channels@", str(channels)))
    return "\n\n".join(parts)


_WRITE = """\
/* Rows -8 to 7 become 0 to 15. */
static inline void write_index(__m256i low, __m256i high, uint8_t *to)
{
    __m256i rows = _mm256_packs_epi16(low, high);
    rows = _mm256_min_epi8(_mm256_max_epi8(rows, _mm256_set1_epi8(-8)), _mm256_set1_epi8(7));
    store(to, _mm256_add_epi8(rows, _mm256_set1_epi8(8)));
}"""

_SINGLE = """\
static inline void single(const int8_t *const *rows, ptrdiff_t offset, const int16_t *tap,
                          uint8_t *to)
{
    const __m256i zero = _mm256_setzero_si256(), factor = _mm256_set1_epi16(tap[2]);
    const __m256i f = load(rows[tap[0]] + offset + tap[1]);
    write_index(_mm256_mulhrs_epi16(_mm256_unpacklo_epi8(zero, f), factor),
                _mm256_mulhrs_epi16(_mm256_unpackhi_epi8(zero, f), factor), to);
}"""


def _several() -> str:
    lines = []
    for pair in range(_PAIRS):
        first, second = 2 * pair, min(2 * pair + 1, 8)
        loads = [f"load(rows[{tap // 3}] + offset + {tap % 3 - 1})" for tap in (first, second)]
        lines += [
            f"    p = {loads[0]};",
            f"    q = {loads[1] if first != second else 'p'};",
            f"    taps = _mm256_set1_epi16(tap[{1 + pair}]);",
            f"    mask = _mm256_set1_epi16(tap[{1 + _PAIRS + pair}]);",
        ]
        lines += [
            f"    {word} = _mm256_add_epi16({word}, _mm256_maddubs_epi16(taps, "
            f"_mm256_xor_si256(_mm256_unpack{end}_epi8(p, q), mask)));"
            for word, end in (("low", "lo"), ("high", "hi"))
        ]
    sums = "\n".join(lines)
    return f"""\
static inline void several(const int8_t *const *rows, ptrdiff_t offset, const int16_t *tap,
                           int shift, uint8_t *to)
{{
    __m256i low = _mm256_set1_epi16(tap[0]), high = low, p, q, taps, mask;
{sums}
    if (shift != 0) {{
        /* half_up; there is no such factor for a shift of 0. */
        const __m256i factor = _mm256_set1_epi16((int16_t)(1 << (15 - shift)));
        low = _mm256_mulhrs_epi16(low, factor);
        high = _mm256_mulhrs_epi16(high, factor);
    }}
    write_index(low, high, to);
}}"""


_BLOCK = """\
static inline void window_block(int layer, const int8_t *above, const int8_t *here,
                                const int8_t *below, ptrdiff_t stride, uint8_t *index)
{
    const struct layer *const l = layers + layer;
    const int8_t *const rows[3] = {above, here, below};
    int c;
    for (c = 0; c < @channels@; c++) {
@body@
    }
}"""
