"""Windows with NEON: which row of its tables each channel reads, one byte a cell."""

from __future__ import annotations

import numpy as np

from intaglio.targets.c.images.windows import single_taps
from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.centred import Window


def window_arrays(number: int, window: Window) -> tuple[Array, bool]:
    """The taps of a layer, and whether they are single ones.

    Single taps: row, column - 1 and weight of each channel. Others: nine of each channel.
    """
    single = single_taps(window)
    if single is None:
        return Array(f"taps{number}", window.taps.reshape(len(window.taps), 9)), False
    data = np.stack([single.row, single.column - 1, single.weight], axis=1)
    return Array(f"taps{number}", data.astype(np.int8)), True


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
    single = "single(rows, at, l->taps + 3 * c, shift, index + BLOCK * c + half);"
    several = "several(rows, at, l->taps + 9 * c, shift, index + BLOCK * c + half);"
    if with_single and with_general:
        body = (
            f"            if (l->single) {{\n                {single}\n            }} else {{\n"
            f"                {several}\n            }}"
        )
    else:
        body = f"            {single if with_single else several}"
    parts.append(_BLOCK.replace("@body@", body).replace("@channels@", str(channels)))
    return "\n\n".join(parts)


_WRITE = """\
/* Half up, and rows -8 to 7 become 0 to 15. */
static inline void write_index(int16x8_t low, int16x8_t high, int16x8_t shift, uint8_t *to)
{
    int8x16_t rows = vcombine_s8(vqmovn_s16(vrshlq_s16(low, shift)),
                                 vqmovn_s16(vrshlq_s16(high, shift)));
    rows = vminq_s8(vmaxq_s8(rows, vdupq_n_s8(-8)), vdupq_n_s8(7));
    vst1q_u8(to, vreinterpretq_u8_s8(vaddq_s8(rows, vdupq_n_s8(8))));
}"""

_SINGLE = """\
static inline void single(const int8_t *const *rows, ptrdiff_t at, const int8_t *tap,
                          int16x8_t shift, uint8_t *to)
{
    const int8x16_t f = vld1q_s8(rows[tap[0]] + at + tap[1]);
    const int8x16_t w = vdupq_n_s8(tap[2]);
    write_index(vmull_s8(vget_low_s8(f), vget_low_s8(w)), vmull_high_s8(f, w), shift, to);
}"""


def _several() -> str:
    lines = []
    for tap in range(9):
        lines += [
            f"    f = vld1q_s8(rows[{tap // 3}] + at + {tap % 3 - 1});",
            f"    w = vdupq_n_s8(tap[{tap}]);",
            "    low = vmlal_s8(low, vget_low_s8(f), vget_low_s8(w));",
            "    high = vmlal_high_s8(high, f, w);",
        ]
    sums = "\n".join(lines)
    return f"""\
static inline void several(const int8_t *const *rows, ptrdiff_t at, const int8_t *tap,
                           int16x8_t shift, uint8_t *to)
{{
    int16x8_t low = vdupq_n_s16(0), high = low;
    int8x16_t f, w;
{sums}
    write_index(low, high, shift, to);
}}"""


_BLOCK = """\
static inline void window_block(int layer, const int8_t *above, const int8_t *here,
                                const int8_t *below, ptrdiff_t stride, uint8_t *index)
{
    const struct layer *const l = layers + layer;
    const int8_t *const rows[3] = {above, here, below};
    const int16x8_t shift = vdupq_n_s16((int16_t)-l->tap_shift);
    int c, half;
    for (c = 0; c < @channels@; c++) {
        for (half = 0; half < BLOCK; half += 16) {
            const ptrdiff_t at = c * stride + half;
@body@
        }
    }
}"""
