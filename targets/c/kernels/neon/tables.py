"""Tables of int8 tensors in registers: ``vqtbl4q`` looks 16 bytes up in 64 entries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.neon.memory import SOME, STORE
from intaglio.targets.c.kernels.portable.broadcasting import overwritable
from intaglio.targets.c.network import Layer, Table

#: Elements from which on loading the table into registers is worth it.
_ELEMENTS = 64

_TABLE = Function(
    "neon_table",
    """\
/* table[x + 128] of bytes; indices beyond the 64 entries of a look-up leave what is there. */
static void neon_table(const int8_t *x, const int8_t *table, size_t count, int8_t *y)
{
    const int8x16x4_t t0 = vld1q_s8_x4(table), t1 = vld1q_s8_x4(table + 64);
    const int8x16x4_t t2 = vld1q_s8_x4(table + 128), t3 = vld1q_s8_x4(table + 192);
    const uint8x16_t flip = vdupq_n_u8(128), step = vdupq_n_u8(64);
    for (size_t i = 0; i < count; i += 16) {
        const size_t left = count - i;
        const int8x16_t value = left < 16 ? neon_some(x + i, left) : vld1q_s8(x + i);
        uint8x16_t index = veorq_u8(vreinterpretq_u8_s8(value), flip);
        int8x16_t found = vqtbl4q_s8(t0, index);
        index = vsubq_u8(index, step);
        found = vqtbx4q_s8(found, t1, index);
        index = vsubq_u8(index, step);
        found = vqtbx4q_s8(found, t2, index);
        index = vsubq_u8(index, step);
        found = vqtbx4q_s8(found, t3, index);
        if (left < 16) {
            neon_store(y + i, found, left);
        } else {
            vst1q_s8(y + i, found);
        }
    }
}""",
    (SOME, STORE),
)


def table(layer: Table, variant: str, budget: int) -> Implementation | None:
    """One table of bytes for a whole tensor; None for other tables."""
    del variant, budget
    entries = np.asarray(layer.table)
    if entries.ndim != 1 or entries.dtype != np.int8:
        return None
    return looked_up(layer, entries)


def looked_up(layer: Layer, entries: NDArray[np.int8]) -> Implementation | None:
    """A layer from int8 to int8 as a look-up of ``x + 128``; None for few elements."""
    if layer.output.size < _ELEMENTS:
        return None
    call = f"neon_table(x0, @table@, {layer.output.size}, y);"
    arrays = (Array("table", entries),)
    return Implementation(call, (_TABLE,), arrays, in_place=overwritable(layer))
