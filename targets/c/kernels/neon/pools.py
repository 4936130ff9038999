"""Largest values and averages of windows of bytes, 16 channels at a time.

An average is ``(|sum| + count / 2) / count`` with the sum's sign. The division is a multiplication
by ``ceil(2^30 / count)`` and a shift by 30; that it is exact for every sum of that many bytes is
tried when the code is made.
"""

from __future__ import annotations

from string import Template

import numpy as np

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.neon.memory import SOME, STORE
from intaglio.targets.c.kernels.portable.window import TAPS, WINDOW, declare_window
from intaglio.targets.c.network import Pool

_POOL = Template("""\
/* ${what} 16 channels at a time; the last 16 may take in some that are done. */
static void ${name}(const int8_t *x, const struct window *shape, ${argument}int8_t *y)
{
    const size_t channels = (size_t)shape->channels;
    const size_t count = channels < 16 ? channels : 16;
    for (int32_t row = 0; row < shape->result_rows; row++) {
        const int32_t top = row * shape->row_stride - shape->top;
        const struct taps rows =
            taps_inside(top, shape->row_dilation, shape->kernel_rows, shape->rows);
        for (int32_t column = 0; column < shape->result_columns; column++) {
            const int32_t left = column * shape->column_stride - shape->left;
            const struct taps columns =
                taps_inside(left, shape->column_dilation, shape->kernel_columns, shape->columns);
            const size_t step = (size_t)shape->column_dilation * channels;
${prepare}            for (size_t next = 0; next < channels; next += 16) {
                const size_t first = channels - next < count ? channels - count : next;
                ${start}
                for (int32_t i = rows.first; i < rows.end && columns.end > 0; i++) {
                    const int32_t line = (top + i * shape->row_dilation) * shape->columns;
                    const int32_t at = line + left + columns.first * shape->column_dilation;
                    const int8_t *pixel = x + first + (size_t)at * channels;
${line}                    for (int32_t j = columns.first; j < columns.end; j++) {
                        const int8x16_t v = count < 16 ? neon_some(pixel, count) : vld1q_s8(pixel);
                        ${each}
                        pixel += step;
                    }
${close}                }
${finish}                if (count < 16) {
                    neon_store(y, result, count);
                } else {
                    vst1q_s8(y + first, result);
                }
            }
            y += channels;
        }
    }
}""")

_MAX = Function(
    "neon_max_pool",
    _POOL.substitute(
        name="neon_max_pool",
        what="The largest value of each window.",
        argument="",
        prepare="",
        start="int8x16_t result = vdupq_n_s8(-128);",
        line="",
        each="result = vmaxq_s8(result, v);",
        close="",
        finish="",
    ),
    (WINDOW, TAPS, SOME, STORE),
)

_QUOTIENT = Function(
    "neon_quotient",
    """\
/* sum / count with half of count added to its magnitude; reciprocal is ceil(2^30 / count). */
static inline int32x4_t neon_quotient(int32x4_t sum, int32x4_t half, int32x4_t reciprocal)
{
    const int32x4_t sign = vshrq_n_s32(sum, 31);
    const int32x4_t magnitude = vaddq_s32(vabsq_s32(sum), half);
    const int32x4_t quotient = vqdmulhq_s32(vshlq_n_s32(magnitude, 1), reciprocal);
    return vsubq_s32(veorq_s32(quotient, sign), sign);
}""",
)

_AVERAGE = Function(
    "neon_average_pool",
    _POOL.substitute(
        name="neon_average_pool",
        what="Averages over elements inside the image, ties away from zero.",
        argument="const int32_t *reciprocals, ",
        prepare="""\
            const int32_t taps = (rows.end - rows.first) * (columns.end - columns.first);
            const int32x4_t half = vdupq_n_s32(taps / 2);
            const int32x4_t reciprocal = vdupq_n_s32(reciprocals[taps]);
""",
        start="""\
int32x4_t s0 = vdupq_n_s32(0), s1 = s0, s2 = s0, s3 = s0;
                int8x16_t result;""",
        line="                    int16x8_t low = vdupq_n_s16(0), high = low;\n",
        each="""\
low = vaddw_s8(low, vget_low_s8(v));
                        high = vaddw_high_s8(high, v);""",
        close="""\
                    s0 = vaddw_s16(s0, vget_low_s16(low));
                    s1 = vaddw_high_s16(s1, low);
                    s2 = vaddw_s16(s2, vget_low_s16(high));
                    s3 = vaddw_high_s16(s3, high);
""",
        finish="""\
                s0 = neon_quotient(s0, half, reciprocal);
                s1 = neon_quotient(s1, half, reciprocal);
                s2 = neon_quotient(s2, half, reciprocal);
                s3 = neon_quotient(s3, half, reciprocal);
                result = vcombine_s8(
                    vmovn_s16(vcombine_s16(vmovn_s32(s0), vmovn_s32(s1))),
                    vmovn_s16(vcombine_s16(vmovn_s32(s2), vmovn_s32(s3))));
""",
    ),
    (WINDOW, TAPS, SOME, STORE, _QUOTIENT),
)

#: Taps of a row of the kernel whose sum fits 16 bits.
_LARGEST_ROW = 255


def pool(layer: Pool, variant: str, budget: int) -> Implementation | None:
    """A pooling layer of bytes; None for int16 and for huge windows."""
    del variant, budget
    window = layer.window
    if layer.inputs[0].dtype != "int8" or not layer.output.size:
        return None
    if not layer.average:
        call = f"{declare_window(window)}\nneon_max_pool(x0, &shape, y);"
        return Implementation(call, (_MAX,))
    taps = window.kernel[0] * window.kernel[1]
    reciprocals = [_reciprocal(count) for count in range(taps + 1)] if taps <= 1 << 11 else [None]
    if window.kernel[1] > _LARGEST_ROW or None in reciprocals:
        return None
    call = f"{declare_window(window)}\nneon_average_pool(x0, &shape, @reciprocals@, y);"
    return Implementation(
        call, (_AVERAGE,), (Array("reciprocals", np.array(reciprocals, np.int32)),)
    )


def _reciprocal(count: int) -> int | None:
    """``ceil(2^30 / count)``, 0 for no element at all; None where some quotient would be wrong."""
    if not count:
        return 0
    factor = -(-(1 << 30) // count)
    values = np.arange(128 * count + 1, dtype=np.int64) + count // 2
    if not np.array_equal((values * factor) >> 30, values // count):
        return None
    return factor
