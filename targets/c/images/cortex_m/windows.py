"""Windows on Cortex-M: which row of its tables each channel reads.

Of a channel with one tap the row depends on one feature: a table of 256 bytes, one for each weight
and shift of the network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.images.windows import single_taps
from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.arithmetic import half_up
from intaglio.transforms.table_networks.centred import LOWEST, ROWS, Window

#: Tables of 256 bytes that a layer may have; layers with more weights multiply.
MOST_TABLES = 4


def window_arrays(windows_: list[Window]) -> tuple[list[tuple[str, str]], list[Array]]:
    """Of each layer the names of its taps and of its tables (``NULL`` for none); all arrays.

    Taps of layers with tables: row, column - 1 and number of the table, of each channel. Others:
    ten numbers of each channel, as :func:`_paired` puts them.
    """
    placed, arrays = [], []
    for number, window in enumerate(windows_):
        single = single_taps(window)
        weights = np.empty(0) if single is None else np.unique(single.weight)
        if single is None or len(weights) > MOST_TABLES:
            arrays.append(Array(f"taps{number}", _paired(window)))
            placed.append((f"taps{number}", "NULL"))
            continue
        table = np.searchsorted(weights, single.weight)
        data = np.stack([single.row, single.column - 1, table], axis=1)
        arrays.append(Array(f"taps{number}", data.astype(np.int16)))
        levels = np.stack([levels_of(int(weight), window.shift) for weight in weights])
        arrays.append(Array(f"levels{number}", levels))
        placed.append((f"taps{number}", f"@levels{number}@"))
    return placed, arrays


def _paired(window: Window) -> NDArray[np.int16]:
    """Of each channel the outer taps of the three rows, then the middle ones, and a zero."""
    taps = window.taps.astype(np.int16)
    channels = len(taps)
    outer = taps[:, :, ::2].reshape(channels, 6)
    return np.concatenate([outer, taps[:, :, 1], np.zeros((channels, 1), np.int16)], axis=1)


def levels_of(weight: int, shift: int) -> NDArray[np.uint8]:
    """The row that is read for each feature, -128 to 127."""
    product = np.arange(-128, 128) * weight
    rows = np.clip(half_up(product, shift), LOWEST, LOWEST + ROWS - 1) - LOWEST
    return rows.astype(np.uint8)


def windows(channels: int, placed: list[tuple[str, str]]) -> str:
    """Text of ``window_block``.

    Args:
        channels: Features of a cell.
        placed: As :func:`window_arrays` gives it.
    """
    with_tables = any(levels != "NULL" for _, levels in placed)
    with_taps = any(levels == "NULL" for _, levels in placed)
    single = _SINGLE if with_tables else ""
    general = _GENERAL if with_taps else ""
    body = single + general
    if with_tables and with_taps:
        body = (
            f"        if (l->levels != NULL) {{\n{single}\n        }} else {{\n"
            f"{general}\n        }}"
        )
    else:
        body = f"        {{\n{body}\n        }}"
    block = _BLOCK.replace("@body@", body)
    text = (_SEVERAL if with_taps else "") + block
    return text.replace("@channels@", str(channels))


_SINGLE = """\
            const int16_t *const tap = l->taps + 3 * c;
            int j;
            const int8_t *from = rows[tap[0]] + c * stride + tap[1];
            const uint8_t *const levels = l->levels + 256 * tap[2] + 128;
            for (j = 0; j < BLOCK; j++) {
                *to = levels[*from++];
                to += @channels@;
            }"""

_GENERAL = """\
            several(above + c * stride - 1, here + c * stride - 1, below + c * stride - 1,
                    l->taps + 10 * c, l->tap_shift, to);"""

_SEVERAL = """\
static inline uint8_t row_of(int32_t sum, int shift)
{
    int32_t row = sum >> shift;
#if DSP_ASSEMBLER
    __asm("ssat %0, #4, %1" : "=r"(row) : "r"(row) : "cc");
#else
    row = row < -8 ? -8 : row > 7 ? 7 : row;
#endif
    return (uint8_t)(row + 8);
}

/* Four neighbours in a row serve two cells: the outer taps are one SMLAD, the middle one a SMLA. */
static inline void several(const int8_t *a, const int8_t *h, const int8_t *b, const int16_t *taps,
                           int shift, uint8_t *to)
{
    const uint32_t outer_a = dsp_pair(taps), outer_h = dsp_pair(taps + 2);
    const uint32_t outer_b = dsp_pair(taps + 4);
    const int32_t inner_a = taps[6], inner_h = taps[7], inner_b = taps[8];
    const int32_t half = (1 << shift) >> 1;
    int j;
    for (j = 0; j < BLOCK; j += 2) {
        int32_t left = half, right = half;
        uint32_t bytes = dsp_load(a + j), even = dsp_even(bytes), odd = dsp_odd(bytes);
        left = dsp_multiply(even, outer_a, left) + dsp_lower(odd) * inner_a;
        right = dsp_multiply(odd, outer_a, right) + dsp_upper(even) * inner_a;
        bytes = dsp_load(h + j);
        even = dsp_even(bytes);
        odd = dsp_odd(bytes);
        left = dsp_multiply(even, outer_h, left) + dsp_lower(odd) * inner_h;
        right = dsp_multiply(odd, outer_h, right) + dsp_upper(even) * inner_h;
        bytes = dsp_load(b + j);
        even = dsp_even(bytes);
        odd = dsp_odd(bytes);
        left = dsp_multiply(even, outer_b, left) + dsp_lower(odd) * inner_b;
        right = dsp_multiply(odd, outer_b, right) + dsp_upper(even) * inner_b;
        to[0] = row_of(left, shift);
        to[@channels@] = row_of(right, shift);
        to += 2 * @channels@;
    }
}

"""

_BLOCK = """\
static inline void window_block(int layer, const int8_t *above, const int8_t *here,
                                const int8_t *below, ptrdiff_t stride, uint8_t *index)
{
    const struct layer *const l = layers + layer;
    const int8_t *const rows[3] = {above, here, below};
    int c;
    (void)rows;
    for (c = 0; c < @channels@; c++) {
        uint8_t *to = index + c;
@body@
    }
}"""
