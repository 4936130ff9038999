"""Windows with AVX-512: which row of its tables each channel reads, packed for ``vpermb``.

A window of single taps is one load a channel: bytes go to the upper halves of words, and a rounding
high multiplication does tap, shift and rounding. Of other windows ``vpermb`` puts three neighbours
of a row into the word of each cell, and ``vpdpbusd`` multiplies them with the taps of the row.
Features become unsigned for it (``^ 128``), which the first value of the sum makes up for.
"""

from __future__ import annotations

import numpy as np

from intaglio.targets.c.images.windows import single_taps
from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.centred import Window

#: Bits that features are moved to the left in front of the high multiplication.
_MOVED = 8


def cells() -> np.ndarray:
    """Cells of the block's two registers, (2, 16), in the order of their 32-bit words."""
    word = np.arange(16)
    first = 8 * (word // 4) + word % 4
    return np.stack([first, first + 4])


def quads() -> Array:
    """Pattern that puts four bytes from a cell's place on into its word, (2 registers, 64)."""
    data = cells()[..., None] + np.arange(4)
    return Array("quads", data.reshape(2, 64).astype(np.uint8))


def window_arrays(number: int, window: Window) -> tuple[Array, bool]:
    """The taps of a layer, and whether they are single ones.

    Single taps: row, column - 1 and the factor, in both halves of 32 bits, of each channel. Others:
    of each channel the first value of its sum and the taps of the three rows.
    """
    single = single_taps(window)
    factors = None if single is None else single.factors(_MOVED)
    if single is not None and factors is not None:
        both = np.stack([factors, factors], axis=1).view(np.int32)[:, 0]
        data = np.stack([single.row, single.column - 1, both], axis=1).astype(np.int32)
        return Array(f"taps{number}", data), True
    channels = len(window.taps)
    taps = np.zeros((channels, 3, 4), np.int8)
    taps[:, :, :3] = window.taps
    first = -128 * window.taps.astype(np.int32).sum(axis=(1, 2), dtype=np.int32)
    packed = taps.reshape(channels, 12).view(np.int32)
    return Array(f"taps{number}", np.concatenate([first[:, None], packed], axis=1)), False


def windows(groups: int, with_single: bool, with_general: bool) -> tuple[str, list[Array]]:
    """Text of ``window_block`` and its constants.

    Args:
        groups: Groups of four channels.
        with_single: Whether a layer has single taps.
        with_general: Whether a layer has others.
    """
    single = _loop(groups, "single(rows, {c} * stride, l->taps + 3 * {c})")
    several = _loop(groups, "several(rows, {c} * stride, l->taps + 4 * {c}, l->tap_shift)")
    if with_single and with_general:
        body = (
            f"    if (l->single) {{\n{_deeper(single)}\n    }} else {{\n{_deeper(several)}\n    }}"
        )
    else:
        body = single if with_single else several
    parts = [_WRITE]
    arrays = [_order()]
    if with_single:
        parts.append(_SINGLE)
        arrays.append(_widen())
    if with_general:
        parts.append(_SEVERAL)
    parts.append(_BLOCK.replace("@body@", body))
    return "\n\n".join(parts), arrays


def _loop(groups: int, call: str) -> str:
    """The four channels of each group, and their indices."""
    values = "\n".join(
        f"        const __m512i v{i} = {call.format(c=f'(4 * group + {i})')};" for i in range(4)
    )
    return f"""\
    for (group = 0; group < {groups}; group++) {{
{values}
        write_index(v0, v1, v2, v3, index + 128 * group);
    }}"""


def _order() -> Array:
    """Pattern that brings bytes of four channels, packed in pairs, into the words of the cells."""
    channel = np.arange(4)
    place = cells()[..., None]
    # A pair in a quarter of a register: eight cells of the one channel, then eight of the other.
    data = 16 * (place // 8) + place % 8 + 8 * (channel % 2) + 64 * (channel // 2)
    return Array("order", data.reshape(2, 64).astype(np.uint8))


def _widen() -> Array:
    """Pattern that puts byte i into the upper half of word i."""
    return Array("widen", (np.arange(64) // 2).astype(np.uint8))


def _deeper(text: str) -> str:
    return "\n".join("    " + line for line in text.split("\n"))


_WRITE = """\
/* Indices of four channels: rows -8 to 7 become 0 to 15 of each channel's table. */
static inline void write_index(__m512i v0, __m512i v1, __m512i v2, __m512i v3, uint8_t *to)
{
    const __m512i low = _mm512_set1_epi8(-8), high = _mm512_set1_epi8(7);
    const __m512i order0 = load_all(@order@), order1 = load_all(@order@ + 64);
    __m512i p = _mm512_packs_epi16(v0, v1), q = _mm512_packs_epi16(v2, v3);
    p = _mm512_min_epi8(_mm512_max_epi8(p, low), high);
    q = _mm512_min_epi8(_mm512_max_epi8(q, low), high);
    p = _mm512_add_epi8(p, _mm512_set4_epi32(0x18181818, 0x18181818, 0x08080808, 0x08080808));
    q = _mm512_add_epi8(q, _mm512_set4_epi32(0x38383838, 0x38383838, 0x28282828, 0x28282828));
    _mm512_storeu_si512(to, _mm512_permutex2var_epi8(p, order0, q));
    _mm512_storeu_si512(to + 64, _mm512_permutex2var_epi8(p, order1, q));
}"""

_SINGLE = """\
/* A channel of single taps, one word a cell. */
static inline __m512i single(const int8_t *const *rows, ptrdiff_t offset, const int32_t *tap)
{
    const __m512i bytes = _mm512_castsi256_si512(load_half(rows[tap[0]] + offset + tap[1]));
    const __m512i words = _mm512_maskz_permutexvar_epi8(
        UINT64_C(0xAAAAAAAAAAAAAAAA), load_all(@widen@), bytes);
    return _mm512_mulhrs_epi16(words, _mm512_set1_epi32(tap[2]));
}"""

_SEVERAL = """\
/* A channel of several taps, one word a cell. */
static inline __m512i several(const int8_t *const *rows, ptrdiff_t offset, const int32_t *tap,
                              int shift)
{
    const __m512i quads0 = load_all(@quads@), quads1 = load_all(@quads@ + 64);
    __m512i sum0, sum1;
    int row;
    sum0 = _mm512_set1_epi32(tap[0]);
    sum1 = sum0;
    for (row = 0; row < 3; row++) {
        const __m512i bytes = _mm512_xor_si512(
            load_all(rows[row] + offset - 1), _mm512_set1_epi8(-128));
        const __m512i taps = _mm512_set1_epi32(tap[row + 1]);
        sum0 = _mm512_dpbusd_epi32(sum0, _mm512_permutexvar_epi8(quads0, bytes), taps);
        sum1 = _mm512_dpbusd_epi32(sum1, _mm512_permutexvar_epi8(quads1, bytes), taps);
    }
    sum0 = _mm512_packs_epi32(sum0, sum1);
    /* half_up; there is no such factor for a shift of 0. */
    return shift == 0 ? sum0
                      : _mm512_mulhrs_epi16(sum0, _mm512_set1_epi16((int16_t)(1 << (15 - shift))));
}"""

_BLOCK = """\
static inline void window_block(int layer, const int8_t *above, const int8_t *here,
                                const int8_t *below, ptrdiff_t stride, uint8_t *index)
{
    const struct layer *const l = layers + layer;
    const int8_t *const rows[3] = {above, here, below};
    int group;
@body@
}"""
