"""Sums and means over the rows and columns of an image, 16 channels at a time."""

from __future__ import annotations

import numpy as np

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.neon.ends import limits
from intaglio.targets.c.kernels.neon.memory import SOME, STORE
from intaglio.targets.c.kernels.neon.tails import NARROW8_TWICE, make_tail
from intaglio.targets.c.network import Reduction

_SUM = Function(
    "neon_sum_of_pixels",
    """\
/* Sums of count bytes at x, x + step, ... for 16 channels, added to four accumulators. Up to 255
   bytes at a time fit 16 bits. */
static void neon_sum_of_pixels(
    const int8_t *x, size_t step, size_t pixels, size_t channels, int32x4_t *sums)
{
    while (pixels > 0) {
        const size_t part = pixels < 255 ? pixels : 255;
        int16x8_t low = vdupq_n_s16(0), high = low;
        for (size_t i = 0; i < part; i++) {
            const int8x16_t v = channels < 16 ? neon_some(x, channels) : vld1q_s8(x);
            low = vaddw_s8(low, vget_low_s8(v));
            high = vaddw_high_s8(high, v);
            x += step;
        }
        sums[0] = vaddw_s16(sums[0], vget_low_s16(low));
        sums[1] = vaddw_high_s16(sums[1], low);
        sums[2] = vaddw_s16(sums[2], vget_low_s16(high));
        sums[3] = vaddw_high_s16(sums[3], high);
        pixels -= part;
    }
}""",
    (SOME,),
)


def reduction(layer: Reduction, variant: str, budget: int) -> Implementation | None:
    """A sum over leading axes of bytes; None for others."""
    del variant, budget
    source, output = layer.inputs[0], layer.output
    if layer.kind != "sum" or layer.rescale is None or not output.size or not source.size:
        return None
    if {source.dtype, output.dtype} != {"int8"}:
        return None
    sizes = [(axis in layer.axes, size) for axis, size in enumerate(source.shape) if size > 1]
    reduced = [is_reduced for is_reduced, _ in sizes]
    if reduced != sorted(reduced, reverse=True):
        return None
    channels, pixels = output.size, source.size // output.size
    tail = make_tail(layer.rescale, np.array([128 * pixels + abs(layer.offset)]))
    if tail is None:
        return None
    clamp = max(tail.minimum, -128), min(tail.maximum, 127)
    call = "\n".join(
        [
            *limits(False, (tail.zero_point, *clamp)),
            f"const size_t count = {min(channels, 16)};",
            f"for (size_t next = 0; next < {channels}; next += 16) {{",
            "    /* The last 16 may take in some that are done. */",
            f"    const size_t first = {channels} - next < count ? {channels} - count : next;",
            "    int32x4_t sums[4];",
            "    int8x16_t result;",
            f"    sums[0] = sums[1] = sums[2] = sums[3] = vdupq_n_s32({layer.offset});",
            f"    neon_sum_of_pixels(x0 + first, {channels}, {pixels}, count, sums);",
            "    result = neon_narrow8_twice(",
            *(f"        {tail.call(f'sums[{part}]')}," for part in range(4)),
            "        zero_point, low, high);",
            "    if (count < 16) {",
            "        neon_store(y, result, count);",
            "    } else {",
            "        vst1q_s8(y + first, result);",
            "    }",
            "}",
        ]
    )
    return Implementation(call, (_SUM, STORE, NARROW8_TWICE, tail.function))
