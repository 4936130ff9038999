"""Parametric ReLU of int8 tensors with known slopes, eight elements at a time.

Both sides are ``(v*p + r) >> s`` with integers that give the exact result for every value
(:mod:`intaglio.targets.c.kernels.portable.prelu` finds them), one pair for the positive side and
one for each slope; a comparison chooses between the results.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.portable.prelu import AffineSlopes, affine_sides, affine_slopes
from intaglio.targets.c.literals import number
from intaglio.targets.c.network import PRelu

KERNEL = Function(
    "mve_prelu",
    """\
/* y = v >= 0 ? (v * factor + offset) >> places : (v * factors[c] + offsets[c]) >> below, clamped to
   low .. high, with v = x - zero_point. Of each 8 factors and offsets the even ones come first. */
struct mve_prelu {
    int32_t pixels, channels;
    int32_t zero_point;
    int32_t factor, offset, places;
    int32_t below;
    int32_t low, high;
};

static void mve_apply_prelu(const struct mve_prelu *shape, const int32_t *factors,
                            const int32_t *offsets, const int8_t *x, int8_t *y)
{
    const int32x4_t start = vdupq_n_s32(shape->offset);
    const int16x8_t low = vdupq_n_s16((int16_t)shape->low);
    const int16x8_t high = vdupq_n_s16((int16_t)shape->high);
    int32_t pixel, c;
    for (pixel = 0; pixel < shape->pixels; pixel++) {
        for (c = 0; c < shape->channels; c += 8) {
            const mve_pred16_t some = vctp16q((uint32_t)(shape->channels - c));
            const int16x8_t v = vsubq_n_s16(vldrbq_z_s16(x + c, some), (int16_t)shape->zero_point);
            const int32x4_t even = vmovlbq_s16(v);
            const int32x4_t odd = vmovltq_s16(v);
            int32x4_t a = vmlaq_n_s32(start, even, shape->factor);
            int32x4_t b = vmlaq_n_s32(start, odd, shape->factor);
            int16x8_t positive, negative;
            positive = vqmovnbq_s32(v, vshlq_r_s32(a, -shape->places));
            positive = vqmovntq_s32(positive, vshlq_r_s32(b, -shape->places));
            a = vaddq_s32(vmulq_s32(even, vldrwq_s32(factors + c)), vldrwq_s32(offsets + c));
            b = vaddq_s32(vmulq_s32(odd, vldrwq_s32(factors + c + 4)),
                          vldrwq_s32(offsets + c + 4));
            negative = vqmovnbq_s32(v, vshlq_r_s32(a, -shape->below));
            negative = vqmovntq_s32(negative, vshlq_r_s32(b, -shape->below));
            positive = vpselq_s16(positive, negative, vcmpgeq_n_s16(v, 0));
            vstrbq_p_s16(y + c, vminq_s16(vmaxq_s16(positive, low), high), some);
        }
        x += shape->channels;
        y += shape->channels;
    }
}""",
)


def implement(layer: PRelu, variant: str, budget: int) -> Implementation | None:
    """Code of a PRelu; None where slopes are not known, or not one a channel or one for all."""
    del variant, budget
    data, slopes = layer.inputs
    size, channels = data.size, data.shape[-1] if data.shape else 1
    if slopes.data is None or data.shape != layer.output.shape or not size:
        return None
    if slopes.size not in (1, channels) or slopes.size != (slopes.shape or (1,))[-1]:
        return None
    limits = (layer.positive.minimum, layer.positive.maximum)
    if limits != (layer.negative.minimum, layer.negative.maximum):
        return None
    if limits[0] < -128 or limits[1] > 127:
        return None
    above, below = affine_sides(layer)[0], affine_slopes(layer)
    if data.zero_point == -128:
        # No value is negative.
        none = np.zeros(slopes.size, np.int32)
        below = AffineSlopes(none, none, 1)
    if above is None or below is None:
        return None
    shape = [
        *(size // channels, channels, data.zero_point),
        *(above.factors[0], above.offset, above.places, below.places, *limits),
    ]
    call = (
        f"static const struct mve_prelu shape = {{{', '.join(number(int(v)) for v in shape)}}};\n"
        "mve_apply_prelu(&shape, @factors@, @offsets@, x0, y);"
    )
    arrays = (
        Array("factors", _in_lanes(below.factors, channels)),
        Array("offsets", _in_lanes(below.offsets, channels)),
    )
    return Implementation(call, (KERNEL,), arrays, in_place=(0,))


def _in_lanes(values: NDArray[np.int32], channels: int) -> NDArray[np.int32]:
    """Eights, the last filled up, each with its even entries before its odd ones."""
    filled = np.zeros(-(-channels // 8) * 8, np.int32)
    filled[:channels] = values
    return np.ascontiguousarray(filled.reshape(-1, 4, 2).transpose(0, 2, 1)).reshape(-1)
