"""The functions of NEON, and the tables in the order they are read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.images.interface import Kernels
from intaglio.targets.c.images.layers import even_outputs, layers_of
from intaglio.targets.c.images.neon.pixels import head, stem, stem_arrays
from intaglio.targets.c.images.neon.windows import window_arrays, windows
from intaglio.transforms.table_networks.centred import CentredNetwork

BLOCK = 32


def kernels(network: CentredNetwork, variant: str) -> Kernels:
    """The functions of NEON.

    Args:
        network: The network.
        variant: ``neon``.
    """
    del variant
    channels = network.channels
    layers = layers_of(network, pack_tables, window_arrays)
    arrays = (*stem_arrays(network), *layers.arrays)
    index_bytes = BLOCK * channels
    parts = [
        f"enum {{ BLOCK = {BLOCK}, INDEX_BYTES = {index_bytes} }};",
        _LAYERS.replace("@rows@", layers.rows).replace("@channels@", str(channels)),
        stem(network),
        windows(channels, layers.with_single, layers.with_general),
        _MIX.replace("@channels@", str(channels)) if network.mixings else "",
        head(network),
    ]
    code = "\n\n".join(part for part in parts if part)
    return Kernels(BLOCK, index_bytes, code, arrays)


def pack_tables(tables: NDArray[np.int8]) -> NDArray[np.int8]:
    """(output pairs, channels, 2 outputs, 16 rows) of (channels, 16, outputs)."""
    return np.ascontiguousarray(even_outputs(tables).transpose(2, 0, 3, 1))


_LAYERS = """\
struct layer {
    const int8_t *tables;
    const int8_t *taps;
    int single; /* each channel has one tap at most */
    int tap_shift;
    int shift;
};

static const struct layer layers[] = {
@rows@
};

/* Sums of two outputs for the block's cells, 8 in a register. */
static inline void look_up(const int8_t *tables, const uint8_t *index, int16x8_t sums[8])
{
    int16x8_t s0 = vdupq_n_s16(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
    int c;
    for (c = 0; c < @channels@; c++) {
        const uint8x16_t i = vld1q_u8(index), j = vld1q_u8(index + 16);
        const int8x16_t a = vld1q_s8(tables), b = vld1q_s8(tables + 16);
        const int8x16_t p = vqtbl1q_s8(a, i), q = vqtbl1q_s8(a, j);
        const int8x16_t u = vqtbl1q_s8(b, i), v = vqtbl1q_s8(b, j);
        s0 = vaddw_s8(s0, vget_low_s8(p));
        s1 = vaddw_high_s8(s1, p);
        s2 = vaddw_s8(s2, vget_low_s8(q));
        s3 = vaddw_high_s8(s3, q);
        s4 = vaddw_s8(s4, vget_low_s8(u));
        s5 = vaddw_high_s8(s5, u);
        s6 = vaddw_s8(s6, vget_low_s8(v));
        s7 = vaddw_high_s8(s7, v);
        index += BLOCK;
        tables += 32;
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
    sums[4] = s4;
    sums[5] = s5;
    sums[6] = s6;
    sums[7] = s7;
}"""

_MIX = """\
static inline void mix_block(int layer, const uint8_t *index, const int8_t *here, int8_t *out,
                             ptrdiff_t stride)
{
    const struct layer *const l = layers + layer;
    const int16x8_t shift = vdupq_n_s16((int16_t)-l->shift);
    const int8_t *from = l->tables;
    int o, k;
    for (o = 0; o < @channels@; o += 2) {
        int16x8_t sums[8];
        look_up(from, index, sums);
        for (k = 0; k < 4; k++) {
            const ptrdiff_t at = (o + k / 2) * stride + 16 * (k % 2);
            const int8x16_t f = vld1q_s8(here + at);
            /* A rounding shift to the right: half up. */
            const int16x8_t low = vaddw_s8(vrshlq_s16(sums[2 * k], shift), vget_low_s8(f));
            const int16x8_t high = vaddw_high_s8(vrshlq_s16(sums[2 * k + 1], shift), f);
            vst1q_s8(out + at, vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
        }
        from += 32 * @channels@;
    }
}"""
