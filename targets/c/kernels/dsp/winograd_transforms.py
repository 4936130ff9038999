"""The transforms of F(2x2, 3x3): of tiles, of kernels, and of sums to outputs."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.dsp.gather import WINDOW
from intaglio.targets.c.kernels.dsp.intrinsics import EVEN_ODD, LOAD

TRANSFORMS = Function(
    "dsp_winograd_transforms",
    """\
DSP_INLINE uint32_t dsp_add(uint32_t a, uint32_t b)
{
    return (uint32_t)__sadd16((int16x2_t)a, (int16x2_t)b);
}

DSP_INLINE uint32_t dsp_subtract(uint32_t a, uint32_t b)
{
    return (uint32_t)__ssub16((int16x2_t)a, (int16x2_t)b);
}

/* B' of four values; the next four are step words behind. */
DSP_INLINE void dsp_winograd_input(uint32_t *to, int32_t step, uint32_t a, uint32_t b, uint32_t c,
                                   uint32_t d)
{
    to[0] = dsp_subtract(a, c);
    to[step] = dsp_add(b, c);
    to[2 * step] = dsp_subtract(c, b);
    to[3 * step] = dsp_subtract(b, d);
}

/* 2G of three values. */
DSP_INLINE void dsp_winograd_kernel(uint32_t *to, int32_t step, uint32_t a, uint32_t b, uint32_t c)
{
    const uint32_t ends = dsp_add(a, c);
    to[0] = dsp_add(a, a);
    to[step] = dsp_add(ends, b);
    to[2 * step] = dsp_subtract(ends, b);
    to[3 * step] = dsp_add(c, c);
}

/* A tile: 4x4 pixels from at, line bytes from row to row; to every other two words. */
static void dsp_winograd_tile(uint32_t *to, const int8_t *at, int32_t line, int32_t channels)
{
    int32_t channel, i;
    for (channel = 0; channel < channels; channel += 4, to += 4, at += 4) {
        uint32_t even[16], odd[16];
        const int8_t *row = at;
        for (i = 0; i < 16; i += 4, row += line) {
            const uint32_t a = dsp_load(row), b = dsp_load(row + channels);
            const uint32_t c = dsp_load(row + 2 * channels), d = dsp_load(row + 3 * channels);
            dsp_winograd_input(even + i, 1, dsp_even(a), dsp_even(b), dsp_even(c), dsp_even(d));
            dsp_winograd_input(odd + i, 1, dsp_odd(a), dsp_odd(b), dsp_odd(c), dsp_odd(d));
        }
        for (i = 0; i < 4; i++) {
            uint32_t *const point = to + i * channels;
            dsp_winograd_input(point, 4 * channels, even[i], even[4 + i], even[8 + i],
                               even[12 + i]);
            dsp_winograd_input(point + 1, 4 * channels, odd[i], odd[4 + i], odd[8 + i],
                               odd[12 + i]);
        }
    }
}

/* The kernels of two output channels: nine taps of packed weights, each of all channels. */
static void dsp_winograd_weights(uint32_t *to, const int8_t *packed, int32_t channels)
{
    const int32_t tap = 2 * channels;
    int32_t word, i;
    for (word = 0; word < channels / 2; word++, to += 2, packed += 4) {
        uint32_t even[12], odd[12];
        const int8_t *row = packed;
        for (i = 0; i < 12; i += 4, row += 3 * tap) {
            const uint32_t a = dsp_load(row), b = dsp_load(row + tap);
            const uint32_t c = dsp_load(row + 2 * tap);
            dsp_winograd_kernel(even + i, 1, dsp_even(a), dsp_even(b), dsp_even(c));
            dsp_winograd_kernel(odd + i, 1, dsp_odd(a), dsp_odd(b), dsp_odd(c));
        }
        for (i = 0; i < 4; i++) {
            uint32_t *const point = to + i * channels;
            dsp_winograd_kernel(point, 4 * channels, even[i], even[4 + i], even[8 + i]);
            dsp_winograd_kernel(point + 1, 4 * channels, odd[i], odd[4 + i], odd[8 + i]);
        }
    }
}

/* A' from both sides: four times the outputs. Sums of one tile and channel lie 4 words apart. */
DSP_INLINE void dsp_winograd_output(const int32_t *sums, int32_t *four)
{
    int32_t upper = sums[0] + sums[16] + sums[32], lower = sums[16] - sums[32] - sums[48];
    four[0] = upper;
    four[2] = lower;
    upper = sums[4] + sums[20] + sums[36];
    lower = sums[20] - sums[36] - sums[52];
    four[0] += upper;
    four[1] = upper;
    four[2] += lower;
    four[3] = lower;
    upper = sums[8] + sums[24] + sums[40];
    lower = sums[24] - sums[40] - sums[56];
    four[0] += upper;
    four[1] -= upper;
    four[2] += lower;
    four[3] -= lower;
    four[1] -= sums[12] + sums[28] + sums[44];
    four[3] -= sums[28] - sums[44] - sums[60];
}""",
    (EVEN_ODD, LOAD),
)

FETCH = Function(
    "dsp_winograd_fetch",
    """\
typedef struct {
    const int8_t *weights; /* of two channels four and four values in turn; channels in pairs */
    const int32_t *bias, *multiplier;
    const int8_t *shift;
    int32_t rows, columns, channels; /* of the result */
    int32_t block;                   /* tiles at once */
    int32_t in_place;                /* y may be x: blocks are whole rows of tiles */
    int32_t zero_point, low, high;
} dsp_winograd;

/* The tile whose first pixel is at this row and column, which may be outside the image. The row
   kept_row of the image is in kept: it may have been written over. */
static void dsp_winograd_fetch(uint32_t *to, const int8_t *x, const dsp_window *g, int32_t row,
                               int32_t column, int8_t *padded, const int8_t *kept,
                               int32_t kept_row)
{
    const int32_t channels = g->channels, line = g->columns * channels;
    if (row >= 0 && row + 4 <= g->rows && row != kept_row && column >= 0
        && column + 4 <= g->columns) {
        dsp_winograd_tile(to, x + row * line + column * channels, line, channels);
    } else {
        int8_t *pixel = padded;
        int32_t i;
        for (i = 0; i < 16; i++, pixel += channels) {
            const int32_t from = row + (i >> 2), at = column + (i & 3);
            if (from >= 0 && from < g->rows && at >= 0 && at < g->columns) {
                const int8_t *const source = from == kept_row ? kept : x + from * line;
                memcpy(pixel, source + at * channels, (uint32_t)channels);
            } else {
                memset(pixel, g->fill, (uint32_t)channels);
            }
        }
        dsp_winograd_tile(to, padded, 4 * channels, channels);
    }
}""",
    (WINDOW, TRANSFORMS),
)
