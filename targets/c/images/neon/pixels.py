"""Stem and head with NEON: pixels as words, times weights, in sums of 32 bits."""

from __future__ import annotations

import numpy as np

from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.centred import MIDDLE, CentredNetwork


def stem_arrays(network: CentredNetwork) -> list[Array]:
    """Weights of features and skip, (outputs, taps), and the sums' first values."""
    outputs = len(network.stem_bias)
    total = network.stem_weights.astype(np.int64).sum(axis=(1, 2))
    half = np.full(outputs, (1 << network.out_shift) >> 1)
    half[: network.channels] = (1 << network.stem_shift) >> 1
    bias = network.stem_bias - MIDDLE * total + half
    weights = network.stem_weights.reshape(outputs, -1).astype(np.int16)
    return [Array("stem_weights", weights), Array("stem_bias", bias.astype(np.int32))]


def stem(network: CentredNetwork) -> str:
    """Text of ``stem_block``, and of what it shares with the head."""
    stride, kernel = network.stride, network.kernel
    count = kernel**2
    loads = "\n".join(
        f"    widen(pixels + {q * stride + t % stride} * plane + {t // stride}, "
        f"taps + {4 * (q * kernel + t)});"
        for q in range(kernel)
        for t in range(kernel)
    )
    return f"""\
static inline void widen(const uint8_t *from, int16x8_t *to)
{{
    const uint8x16_t p = vld1q_u8(from), q = vld1q_u8(from + 16);
    to[0] = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(p)));
    to[1] = vreinterpretq_s16_u16(vmovl_high_u8(p));
    to[2] = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(q)));
    to[3] = vreinterpretq_s16_u16(vmovl_high_u8(q));
}}

/* The pixels of each tap as words. */
static inline void load_taps(const uint8_t *pixels, ptrdiff_t plane, int16x8_t *taps)
{{
{loads}
}}

/* One output of the stem. */
static inline void sum_taps(const int16x8_t *taps, int o, int32x4_t sums[8])
{{
    const int16_t *const w = @stem_weights@ + o * {count};
    const int32x4_t bias = vdupq_n_s32(@stem_bias@[o]);
    int32x4_t s0 = bias, s1 = bias, s2 = bias, s3 = bias, s4 = bias, s5 = bias, s6 = bias;
    int32x4_t s7 = bias;
    int tap;
    for (tap = 0; tap < {count}; tap++) {{
        const int16x8_t weight = vdupq_n_s16(w[tap]);
        s0 = vmlal_s16(s0, vget_low_s16(taps[4 * tap]), vget_low_s16(weight));
        s1 = vmlal_high_s16(s1, taps[4 * tap], weight);
        s2 = vmlal_s16(s2, vget_low_s16(taps[4 * tap + 1]), vget_low_s16(weight));
        s3 = vmlal_high_s16(s3, taps[4 * tap + 1], weight);
        s4 = vmlal_s16(s4, vget_low_s16(taps[4 * tap + 2]), vget_low_s16(weight));
        s5 = vmlal_high_s16(s5, taps[4 * tap + 2], weight);
        s6 = vmlal_s16(s6, vget_low_s16(taps[4 * tap + 3]), vget_low_s16(weight));
        s7 = vmlal_high_s16(s7, taps[4 * tap + 3], weight);
    }}
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
    sums[4] = s4;
    sums[5] = s5;
    sums[6] = s6;
    sums[7] = s7;
}}

/* Two registers of sums as words. */
static inline int16x8_t narrow(int32x4_t low, int32x4_t high, int32x4_t shift)
{{
    return vqmovn_high_s32(vqmovn_s32(vshlq_s32(low, shift)), vshlq_s32(high, shift));
}}

static inline void stem_block(const uint8_t *pixels, ptrdiff_t plane, int8_t *out,
                              ptrdiff_t stride)
{{
    const int32x4_t shift = vdupq_n_s32(-{network.stem_shift});
    int16x8_t taps[{4 * count}];
    int o, k;
    load_taps(pixels, plane, taps);
    for (o = 0; o < {network.channels}; o++) {{
        int32x4_t sums[8];
        sum_taps(taps, o, sums);
        for (k = 0; k < 2; k++) {{
            const int16x8_t low = narrow(sums[4 * k], sums[4 * k + 1], shift);
            const int16x8_t high = narrow(sums[4 * k + 2], sums[4 * k + 3], shift);
            vst1q_s8(out + o * stride + 16 * k, vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
        }}
    }}
}}"""


def head(network: CentredNetwork) -> str:
    """Text of ``head_block``."""
    upscale, stride = network.upscale, network.stride
    before = (network.kernel - stride) // 2
    cells = upscale**2
    taps = [before + d * stride // upscale for d in range(upscale)]
    under = [f"{stride * q + t % stride} * plane + {t // stride}" for q in taps for t in taps]
    pixels = "\n".join(
        f"    finish(found + {4 * o}, taps, {network.channels + o}, pixels + {place}, made[{o}]);"
        for o, place in enumerate(under)
    )
    wide = cells + cells % 2
    if upscale == 1:
        store = "vst1q_u8(to, made[line][half]);"
    else:
        values = "\n".join(
            f"            pixel.val[{x}] = made[line * {upscale} + {x}][half];"
            for x in range(upscale)
        )
        store = f"uint8x16x{upscale}_t pixel;\n{values}\n            vst{upscale}q_u8(to, pixel);"
    return f"""\
/* The pixels of one output: head, skip, and what lies under them. */
static inline void finish(const int16x8_t *found, const int16x8_t *taps, int o,
                          const uint8_t *under, uint8x16_t made[2])
{{
    const int32x4_t up = vdupq_n_s32({network.head_shift});
    const int32x4_t down = vdupq_n_s32(-{network.out_shift});
    int32x4_t sums[8];
    int16x8_t words[4], x[4];
    int k;
    sum_taps(taps, o, sums);
    widen(under, x);
    for (k = 0; k < 4; k++) {{
        const int32x4_t low = vshlq_s32(vmovl_s16(vget_low_s16(found[k])), up);
        const int32x4_t high = vshlq_s32(vmovl_high_s16(found[k]), up);
        const int16x8_t change = narrow(
            vaddq_s32(sums[2 * k], low), vaddq_s32(sums[2 * k + 1], high), down);
        words[k] = vqaddq_s16(change, x[k]);
    }}
    made[0] = vcombine_u8(vqmovun_s16(words[0]), vqmovun_s16(words[1]));
    made[1] = vcombine_u8(vqmovun_s16(words[2]), vqmovun_s16(words[3]));
}}

static inline void head_block(const uint8_t *index, const uint8_t *pixels, ptrdiff_t plane,
                              uint8_t *out, ptrdiff_t out_stride)
{{
    int16x8_t taps[{4 * network.kernel**2}], found[{4 * wide}];
    uint8x16_t made[{cells}][2];
    int o, line, half;
    for (o = 0; o < {cells}; o += 2) {{
        look_up(@head_tables@ + o * {16 * network.channels}, index, found + 4 * o);
    }}
    load_taps(pixels, plane, taps);
{pixels}
    for (line = 0; line < {upscale}; line++) {{
        for (half = 0; half < 2; half++) {{
            uint8_t *const to = out + line * out_stride + {16 * upscale} * half;
            {store}
        }}
    }}
}}"""
