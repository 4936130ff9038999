"""Rows of tables added to sums with NEON: widening adds of 16 entries for each tap.

A row is read whole where a block has fewer outputs, too: what lies behind it is added to lanes that
nobody reads. Entries of 8 bits are added in lanes of 16, up to 255 taps at a time: 255 * 128
< 2^15.
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
static NOINLINE void neon_add_rows_int16(const int8_t *seen,
    const struct table_branch_int16 *branch, int32_t first, int32_t width, int32_t *acc)
{
    const int16_t *tables = branch->tables + first * branch->rows;
    const int32_t *tap = branch->taps;
    const int32_t shift = branch->shift, mask = branch->mask;
    int32x4_t s0 = vdupq_n_s32(0), s1 = s0, s2 = s0, s3 = s0;
    int32_t sums[16], i;
    for (i = 0; i < branch->count; i++, tap += 4) {
        const int16_t *row = tables + table_row(seen[tap[0]], shift, mask, tap) * width;
        const int16x8_t low = vld1q_s16(row), high = vld1q_s16(row + 8);
        s0 = vaddw_s16(s0, vget_low_s16(low));
        s1 = vaddw_high_s16(s1, low);
        s2 = vaddw_s16(s2, vget_low_s16(high));
        s3 = vaddw_high_s16(s3, high);
    }
    vst1q_s32(sums, s0);
    vst1q_s32(sums + 4, s1);
    vst1q_s32(sums + 8, s2);
    vst1q_s32(sums + 12, s3);
    for (i = 0; i < width; i++) {
        acc[i] += sums[i];
    }
}"""

_BYTES = """\
/* Adds a row of each tap to the sums of one block of outputs; width is how many those are. */
static NOINLINE void neon_add_rows_int8(const int8_t *seen,
    const struct table_branch_int8 *branch, int32_t first, int32_t width, int32_t *acc)
{
    const int8_t *tables = branch->tables + first * branch->rows;
    const int32_t *tap = branch->taps;
    const int32_t shift = branch->shift, mask = branch->mask;
    int32x4_t s0 = vdupq_n_s32(0), s1 = s0, s2 = s0, s3 = s0;
    int32_t sums[16], i = 0, end;
    while (i < branch->count) {
        int16x8_t low = vdupq_n_s16(0), high = low;
        for (end = branch->count - i < 255 ? branch->count : i + 255; i < end; i++, tap += 4) {
            const int8_t *row = tables + table_row(seen[tap[0]], shift, mask, tap) * width;
            const int8x16_t bytes = vld1q_s8(row);
            low = vaddw_s8(low, vget_low_s8(bytes));
            high = vaddw_high_s8(high, bytes);
        }
        s0 = vaddw_s16(s0, vget_low_s16(low));
        s1 = vaddw_high_s16(s1, low);
        s2 = vaddw_s16(s2, vget_low_s16(high));
        s3 = vaddw_high_s16(s3, high);
    }
    vst1q_s32(sums, s0);
    vst1q_s32(sums + 4, s1);
    vst1q_s32(sums + 8, s2);
    vst1q_s32(sums + 12, s3);
    for (i = 0; i < width; i++) {
        acc[i] += sums[i];
    }
}"""


def _add(entry: str) -> Function:
    """The function that adds rows, for entries of a C type."""
    name, text = ("int16", _WORDS) if entry == "int16_t" else ("int8", _BYTES)
    return Function(f"neon_add_rows_{name}", text, (NOINLINE, branch_struct(entry), ROW))


def additive_tables(layer: AdditiveTables, variant: str, budget: int) -> Implementation | None:
    """A layer of added tables; None where every output reads one channel only."""
    del variant, budget
    return None if layer.is_depthwise else implementation(layer, _add, spare=BLOCK)
