"""Sums of a cell with NEON: sixteen words in two registers."""

from __future__ import annotations

from intaglio.targets.c.images.rotations.rounding import high_factor, mean_function
from intaglio.targets.c.images.rotations.rows import RowKernels, plain_ends, row_kernels
from intaglio.transforms.table_networks.reference import TAPS, ReferenceNetwork

#: The channels that two registers hold.
CHANNELS = 16


def kernels(network: ReferenceNetwork) -> RowKernels | None:
    """The functions of NEON; None for a network that has not just 16 channels."""
    if network.branches[0].channels != CHANNELS:
        return None
    words = _WORDS.replace("@ninth@", str(high_factor(TAPS)))
    if any(stage.depthwise is not None for b in network.branches for stage in b.stages):
        words = mean_function("mean_of_taps", TAPS) + "\n\n" + words
    ends = _ends(network) if network.upscale == 4 else plain_ends(network)
    return row_kernels(network, words, CHANNELS, ends, multiplies=True)


_WORDS = """\
typedef int16x8x2_t words;
typedef int16x8x2_t cell_words;

static inline void clear(words *sum)
{
    sum->val[0] = vdupq_n_s16(0);
    sum->val[1] = sum->val[0];
}

static inline void add_row(words *sum, const int8_t *row)
{
    const int8x16_t entries = vld1q_s8(row);
    sum->val[0] = vaddw_s8(sum->val[0], vget_low_s8(entries));
    sum->val[1] = vaddw_high_s8(sum->val[1], entries);
}

/* Sixteenths, half to even. */
static inline int16x8_t sixteenth(int16x8_t sum)
{
    const int16x8_t odd = vandq_s16(vshrq_n_s16(sum, 4), vdupq_n_s16(1));
    return vshrq_n_s16(vaddq_s16(vaddq_s16(sum, vdupq_n_s16(7)), odd), 4);
}

/* Levels from 0 to the highest, scaled. */
static inline int16x8_t scaled(int16x8_t levels, const struct layer *l, int half)
{
    const int16x8_t zero = vdupq_n_s16((int16_t)l->zero);
    levels = vminq_s16(vmaxq_s16(levels, vdupq_n_s16(0)), vdupq_n_s16((int16_t)l->high));
    if (l->factors != NULL) {
        levels = vshlq_s16(vsubq_s16(levels, zero), vdupq_n_s16((int16_t)l->shift));
        levels = vaddq_s16(vqrdmulhq_s16(levels, vld1q_s16(l->factors + half)), zero);
    }
    return levels;
}

static inline void write_levels(int16x8_t low, int16x8_t high, const struct layer *l, uint8_t *to)
{
    const uint8x16_t bytes = vcombine_u8(
        vqmovun_s16(scaled(low, l, 0)), vqmovun_s16(scaled(high, l, 8)));
    vst1q_u8(to, vminq_u8(bytes, vdupq_n_u8((uint8_t)l->high)));
}

/* The levels of a cell behind the stem. */
static inline void settle_level(const words *sum, int own, const struct layer *l, uint8_t *to)
{
    const int16x8_t level = vdupq_n_s16((int16_t)own);
    write_levels(vaddq_s16(vqrdmulhq_n_s16(sum->val[0], @ninth@), level),
                 vaddq_s16(vqrdmulhq_n_s16(sum->val[1], @ninth@), level), l, to);
}

static inline int16x8_t words_of(uint8x8_t bytes)
{
    return vreinterpretq_s16_u16(vmovl_u8(bytes));
}

/* The levels of a cell behind a pointwise layer, in their place. */
static inline void settle(const words *sum, uint8_t *cell, const struct layer *l)
{
    const uint8x16_t own = vld1q_u8(cell);
    write_levels(vaddq_s16(sixteenth(sum->val[0]), words_of(vget_low_u8(own))),
                 vaddq_s16(sixteenth(sum->val[1]), words_of(vget_high_u8(own))), l, cell);
}

static inline void clear_cell(cell_words *sum)
{
    clear(sum);
}

static inline void add_cell(cell_words *sum, const int8_t *row)
{
    add_row(sum, row);
}

static inline void finish(const cell_words *sum, const uint8_t *cell, const struct layer *l,
                          int8_t *to)
{
    const uint8x16_t own = vld1q_u8(cell);
    const int16x8_t zero = vdupq_n_s16((int16_t)l->zero);
    const int16x8_t low = vsubq_s16(words_of(vget_low_u8(own)), zero);
    const int16x8_t high = vsubq_s16(words_of(vget_high_u8(own)), zero);
    vst1q_s8(to, vcombine_s8(vqmovn_s16(vaddq_s16(sixteenth(sum->val[0]), low)),
                             vqmovn_s16(vaddq_s16(sixteenth(sum->val[1]), high))));
}"""


def _ends(network: ReferenceNetwork) -> str:
    both = "bytes = vqaddq_s8(bytes, vld1q_s8(other + 16 * j));"
    if len(network.branches) == 1:
        both = "(void)other;"
    return f"""\
/* Adds the branches, turns the sub-pixels back and adds the rotation; from 128 on. */
static inline void merge_row(int rotation, const int8_t *made, const int8_t *other, int16_t *sums,
                             int cells)
{{
    const uint8x16_t turned = vld1q_u8(@turned@ + 16 * rotation);
    int j;
    for (j = 0; j < cells; j++) {{
        int16_t *const sum = sums + 16 * j;
        int16x8_t low = vdupq_n_s16(128), high = low;
        int8x16_t bytes = vld1q_s8(made + 16 * j);
        {both}
        bytes = vqtbl1q_s8(bytes, turned);
        if (rotation != 0) {{
            low = vld1q_s16(sum);
            high = vld1q_s16(sum + 8);
        }}
        vst1q_s16(sum, vaddw_s8(low, vget_low_s8(bytes)));
        vst1q_s16(sum + 8, vaddw_high_s8(high, bytes));
    }}
}}

static inline void store_row(const int16_t *sums, int from, int to, uint8_t *out,
                             ptrdiff_t out_stride)
{{
    int j, line;
    for (j = from; j < to; j++) {{
        uint8_t cell[16];
        vst1_u8(cell, vqmovun_s16(vld1q_s16(sums + 16 * j)));
        vst1_u8(cell + 8, vqmovun_s16(vld1q_s16(sums + 16 * j + 8)));
        for (line = 0; line < 4; line++) {{
            memcpy(out + line * out_stride + (ptrdiff_t)(j - from) * 4, cell + 4 * line, 4);
        }}
    }}
}}"""
