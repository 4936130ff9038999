"""Depthwise 3x3 convolution of int8: channel by channel, with the rows of a band as int16.

Four channels come in one word. A band of rows of them is fetched into scratch memory, a plane of
int16 for each channel, padding as the zero point; then :mod:`depthwise_rows` computes each channel.
Rows that the next band needs, too, are moved up there. So every input element is fetched once, and
at stride 1 the output may take the place of the input: what is overwritten is in the planes.
"""

from __future__ import annotations

import numpy as np

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.dsp.depthwise_rows import depthwise_rows
from intaglio.targets.c.kernels.dsp.finish import HALF
from intaglio.targets.c.kernels.dsp.folding import fold
from intaglio.targets.c.kernels.dsp.intrinsics import EVEN_ODD, LOAD
from intaglio.targets.c.network import Convolution

PAIRS = Function(
    "dsp_pairs",
    """\
/* The lower halves of two words as one, and the upper halves. */
DSP_INLINE uint32_t dsp_lower(uint32_t first, uint32_t second)
{
#if DSP_ASSEMBLER
    uint32_t pair;
    __asm("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(first), "r"(second));
    return pair;
#else
    return (first & 0xFFFFu) | second << 16;
#endif
}

DSP_INLINE uint32_t dsp_upper(uint32_t first, uint32_t second)
{
#if DSP_ASSEMBLER
    uint32_t pair;
    __asm("pkhtb %0, %2, %1, asr #16" : "=r"(pair) : "r"(first), "r"(second));
    return pair;
#else
    return first >> 16 | (second & 0xFFFF0000u);
#endif
}""",
    (EVEN_ODD, LOAD),
)

DEPTHWISE = Function(
    "dsp_depthwise",
    """\
typedef void dsp_rows(const uint32_t *x, int32_t pitch, const int32_t *constants, int8_t *y,
                      int32_t rows, int32_t pairs, int32_t correction, int32_t low, int32_t high);

typedef struct {
    int32_t rows, columns, channels, result_rows, result_columns, stride, top, left;
    int32_t fill;        /* the zero point of the input */
    int32_t band, pitch; /* result rows of a band, words of a row in a plane */
    /* Of these words: with two columns, with one column and padding, with padding. */
    int32_t pairs, single, padding;
    int32_t zero_point, low, high;
    const int8_t *weights; /* nine of each channel */
    const int32_t *bias, *multiplier;
    const int8_t *shift;
} dsp_depthwise_layer;

/* Two neighbouring columns of four channels, one word in each of four planes. */
DSP_INLINE void dsp_put_columns(uint32_t *to, int32_t plane, uint32_t a, uint32_t b)
{
    const uint32_t even_a = dsp_even(a), odd_a = dsp_odd(a);
    const uint32_t even_b = dsp_even(b), odd_b = dsp_odd(b);
    to[0] = dsp_lower(even_a, even_b);
    to[plane] = dsp_lower(odd_a, odd_b);
    to[2 * plane] = dsp_upper(even_a, even_b);
    to[3 * plane] = dsp_upper(odd_a, odd_b);
}

/* A row of four channels. */
static void dsp_put_row(uint32_t *to, int32_t plane, const int8_t *from,
                        const dsp_depthwise_layer *l)
{
    const uint32_t fill = ((uint32_t)l->fill & 0xFFu) * 0x1010101u;
    const int32_t step = l->channels;
    int32_t count;
    if (l->left != 0) {
        dsp_put_columns(to++, plane, fill, dsp_load(from));
        from += step;
    }
    for (count = l->pairs; count > 0; count--, from += 2 * step) {
        dsp_put_columns(to++, plane, dsp_load(from), dsp_load(from + step));
    }
    if (l->single != 0) {
        dsp_put_columns(to++, plane, dsp_load(from), fill);
    }
    for (count = l->padding; count > 0; count--) {
        dsp_put_columns(to++, plane, fill, fill);
    }
}

/* A row of padding. */
static void dsp_put_padding(uint32_t *to, int32_t plane, const dsp_depthwise_layer *l)
{
    const uint32_t fill = ((uint32_t)l->fill & 0xFFFFu) * 0x10001u;
    int32_t i, channel;
    for (channel = 0; channel < 4; channel++) {
        for (i = 0; i < l->pitch; i++) {
            to[i] = fill;
        }
        to += plane;
    }
}

/* The constants of a channel as dsp_rows reads them. */
static void dsp_depthwise_constants(int32_t *to, const dsp_depthwise_layer *l, int32_t channel)
{
    const int8_t *weights = l->weights + 9 * channel;
    int32_t i;
    for (i = 0; i < 3; i++, weights += 3) {
        to[2 * i] = (int32_t)dsp_lower((uint32_t)weights[0], (uint32_t)weights[1]);
        to[2 * i + 1] = (int32_t)dsp_lower((uint32_t)weights[1], (uint32_t)weights[2]);
    }
    to[6] = l->bias[channel];
    to[7] = l->bias[channel];
    to[8] = l->multiplier[channel];
    to[9] = dsp_half(l->zero_point, l->shift[channel]);
    to[10] = l->shift[channel];
    to[11] = l->channels;
}

/* One channel of a band; nothing is written behind the last output. */
static void dsp_depthwise_band(const uint32_t *x, int8_t *y, const dsp_depthwise_layer *l,
                               int32_t *constants, int32_t rows, int is_last, dsp_rows *multiply)
{
    const int32_t columns = l->result_columns, step = l->channels;
    const int32_t pairs = (columns + 1) / 2;
    if ((columns & 1) == 0) {
        multiply(x, l->pitch, constants, y, rows, pairs, 0, l->low, l->high);
        return;
    }
    /* The second output of a row's last pair is where the next row begins: it is written again. */
    if (is_last) {
        rows--;
    }
    if (rows > 0) {
        multiply(x, l->pitch, constants, y, rows, pairs, -step, l->low, l->high);
    }
    if (is_last) {
        x += rows * l->stride * l->pitch;
        y += rows * columns * step;
        if (pairs > 1) {
            multiply(x, l->pitch, constants, y, 1, pairs - 1, 0, l->low, l->high);
        }
        constants[11] = 0;
        multiply(x + (pairs - 1) * l->stride, l->pitch, constants, y + (columns - 1) * step, 1, 1,
                 0, l->low, l->high);
    }
}

/* Scratch holds four planes of band rows. */
static void dsp_depthwise(const int8_t *x, int8_t *y, uint8_t *scratch,
                          const dsp_depthwise_layer *l, dsp_rows *multiply)
{
    uint32_t *const planes = (uint32_t *)(void *)scratch;
    const int32_t height = (l->band - 1) * l->stride + 3, plane = height * l->pitch;
    const int32_t shared = 3 - l->stride, moved = l->band * l->stride * l->pitch;
    int32_t channel, first, i, row;
    for (channel = 0; channel < l->channels; channel += 4) {
        for (first = 0; first < l->result_rows; first += l->band) {
            const int32_t left = l->result_rows - first;
            const int32_t rows = left < l->band ? left : l->band;
            const int32_t needed = (rows - 1) * l->stride + 3;
            row = 0;
            if (first > 0) {
                /* The last rows of the band before are the first ones of this. */
                for (row = 0; row < shared; row++) {
                    for (i = 0; i < 4; i++) {
                        uint32_t *const to = planes + i * plane + row * l->pitch;
                        memcpy(to, to + moved, 4u * (uint32_t)l->pitch);
                    }
                }
            }
            for (; row < needed; row++) {
                const int32_t from = first * l->stride + row - l->top;
                uint32_t *const to = planes + row * l->pitch;
                if (from >= 0 && from < l->rows) {
                    dsp_put_row(to, plane, x + from * l->columns * l->channels + channel, l);
                } else if (channel == 0 || l->band < l->result_rows) {
                    /* Where one band is all, padding is there from the first channels. */
                    dsp_put_padding(to, plane, l);
                }
            }
            for (i = 0; i < 4; i++) {
                int32_t constants[12];
                dsp_depthwise_constants(constants, l, channel + i);
                dsp_depthwise_band(planes + i * plane,
                                   y + first * l->result_columns * l->channels + channel + i, l,
                                   constants, rows, rows == left, multiply);
            }
        }
    }
}""",
    (HALF, PAIRS),
)


def implement(layer: Convolution, budget: int) -> Implementation | None:
    """Code of a depthwise 3x3 convolution of int8, stride 1 or 2."""
    window = layer.window
    channels = window.image[2]
    if (
        not layer.is_depthwise
        or layer.groups != channels
        or layer.weights.shape[0] != channels
        or channels % 4
        or window.kernel != (3, 3)
        or window.strides not in ((1, 1), (2, 2))
        or window.dilations != (1, 1)
        or window.pads[1] > 1
    ):
        return None
    folded = fold(layer)
    if folded is None:
        return None
    end = folded.end
    stride = window.strides[0]
    rows, columns, _ = window.result
    pitch = -(-columns // 2) * stride + 1
    band = band_rows(rows, stride, 16 * pitch, budget)
    left = window.pads[1]
    pairs = min((window.image[1] - left) // 2, pitch - left)
    single = int(pitch > left + pairs and (window.image[1] - left) % 2)
    multiply = depthwise_rows(end, stride)
    numbers = (
        *window.image, rows, columns, stride, *window.pads,
        layer.inputs[0].zero_point, band, pitch,
        pairs, single, pitch - left - pairs - single,
        end.zero_point, end.low, end.high,
    )  # fmt: skip
    call = f"""\
static const dsp_depthwise_layer layer = {{
    {", ".join(map(str, numbers))},
    @weights@, @bias@, @multiplier@, @shift@
}};
dsp_depthwise(x0, y, scratch, &layer, {multiply.name});"""
    in_place = stride == 1 and window.pads == (1, 1) and window.image == window.result
    return Implementation(
        call=call,
        functions=(multiply, DEPTHWISE),
        arrays=(
            Array("weights", folded.weights.astype(np.int8)),
            Array("bias", folded.bias),
            Array("multiplier", end.multiplier),
            Array("shift", end.shift),
        ),
        scratch=((band - 1) * stride + 3) * 16 * pitch,
        in_place=(0,) if in_place else (),
    )


def band_rows(rows: int, stride: int, row_bytes: int, budget: int) -> int:
    """Result rows at once: as many as fit, at least one; bands of nearly equal height."""
    most = max((budget // row_bytes - 3) // stride + 1, 1)
    bands = -(-rows // most)
    return -(-rows // bands)
