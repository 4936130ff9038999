"""Convolutions with trained weights for NEON: the portable kernels with an inner loop in vectors.

Eight values become int16 less the zero point in one instruction, and are multiplied with four
filters; weights lie one behind the other, so nothing is packed.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.portable.dots import NOINLINE
from intaglio.targets.c.kernels.portable.trained import convolve_with, is_wide
from intaglio.targets.c.kernels.portable.trained_dots import trained_dot_rows
from intaglio.targets.c.network import TrainedConvolution

_DOT = Function(
    "neon_trained_dot",
    """\
/* The sum of count products of x - x_zero_point and a row of weights. */
static NOINLINE int32_t neon_trained_dot(const int8_t *x, int32_t x_zero_point,
    const int16_t *weights, int32_t count)
{
    const int8x8_t zero = vdup_n_s8((int8_t)x_zero_point);
    int32x4_t lanes = vdupq_n_s32(0);
    int32_t sum, i = 0;
    for (; i + 8 <= count; i += 8) {
        const int16x8_t values = vsubl_s8(vld1_s8(x + i), zero), w = vld1q_s16(weights + i);
        lanes = vmlal_s16(lanes, vget_low_s16(values), vget_low_s16(w));
        lanes = vmlal_high_s16(lanes, values, w);
    }
    sum = vaddvq_s32(lanes);
    for (; i < count; i++) {
        sum += (x[i] - x_zero_point) * weights[i];
    }
    return sum;
}""",
    (NOINLINE,),
)

_DOT4 = Function(
    "neon_trained_dot4",
    """\
/* Four such sums, of rows of weights that lie distance apart. */
static NOINLINE void neon_trained_dot4(const int8_t *x, int32_t x_zero_point,
    const int16_t *weights, int32_t distance, int32_t count, int32_t *sums)
{
    const int16_t *w0 = weights, *w1 = w0 + distance, *w2 = w1 + distance, *w3 = w2 + distance;
    const int8x8_t zero = vdup_n_s8((int8_t)x_zero_point);
    int32x4_t lanes0 = vdupq_n_s32(0), lanes1 = lanes0, lanes2 = lanes0, lanes3 = lanes0;
    int32_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const int16x8_t values = vsubl_s8(vld1_s8(x + i), zero);
        const int16x4_t low = vget_low_s16(values);
        const int16x8_t first = vld1q_s16(w0 + i), second = vld1q_s16(w1 + i);
        const int16x8_t third = vld1q_s16(w2 + i), fourth = vld1q_s16(w3 + i);
        lanes0 = vmlal_s16(lanes0, low, vget_low_s16(first));
        lanes1 = vmlal_s16(lanes1, low, vget_low_s16(second));
        lanes2 = vmlal_s16(lanes2, low, vget_low_s16(third));
        lanes3 = vmlal_s16(lanes3, low, vget_low_s16(fourth));
        lanes0 = vmlal_high_s16(lanes0, values, first);
        lanes1 = vmlal_high_s16(lanes1, values, second);
        lanes2 = vmlal_high_s16(lanes2, values, third);
        lanes3 = vmlal_high_s16(lanes3, values, fourth);
    }
    lanes0 = vpaddq_s32(vpaddq_s32(lanes0, lanes1), vpaddq_s32(lanes2, lanes3));
    for (; i < count; i++) {
        const int32_t value = x[i] - x_zero_point;
        const int32_t some[4] = {value * w0[i], value * w1[i], value * w2[i], value * w3[i]};
        lanes0 = vaddq_s32(lanes0, vld1q_s32(some));
    }
    vst1q_s32(sums, lanes0);
}""",
    (NOINLINE,),
)


def trained(layer: TrainedConvolution, variant: str) -> Implementation | None:
    """Code of a layer; None where a filter reads fewer than eight values in a row."""
    solid = layer.groups == 1 and layer.window.dilations[1] == 1
    run = layer.weights_shape[3] * (layer.weights_shape[2] if solid else 1)
    if layer.is_depthwise or run < 8:
        return None
    dot = trained_dot_rows(wide=is_wide(layer), inner=(_DOT, _DOT4), prefix="neon_")
    return convolve_with(layer, dot, "neon_")
