"""Convolution of int8, groups of one: windows and weights as int16, two channels by two pixels.

A block of pixels is fetched into scratch memory (im2col), then for every two output channels the
weights are widened to int16 beside it and multiplied with all pixels of the block: widening costs
0.7 instructions a weight, shared by the pixels. The zero point of the input is part of the bias:
``sum w (x - z) = sum w x - z sum w``; padding holds z.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.dsp import convolution16, dense, depthwise, winograd
from intaglio.targets.c.kernels.dsp.block import block
from intaglio.targets.c.kernels.dsp.finish import HALF
from intaglio.targets.c.kernels.dsp.folding import fold
from intaglio.targets.c.kernels.dsp.gather import SPREAD_PAIRS, WINDOW, gather_words
from intaglio.targets.c.kernels.dsp.gather_bytes import byte_order, gather_bytes
from intaglio.targets.c.kernels.dsp.intrinsics import EVEN_ODD, LOAD
from intaglio.targets.c.kernels.dsp.naked import NAKED
from intaglio.targets.c.kernels.dsp.packing import pack
from intaglio.targets.c.network import Convolution

#: More pixels than this gain next to nothing.
_MOST_PIXELS = 64

_WIDEN = Function(
    "dsp_widen",
    """\
/* Steps of the weights of two channels, four bytes of each, to int16. */
#if DSP_ASSEMBLER
static DSP_NAKED void dsp_widen(
    uint32_t *to DSP_UNUSED, const int8_t *from DSP_UNUSED, int32_t steps DSP_UNUSED)
{
    __asm volatile(
        ".syntax unified\\n"
        "push {r4-r11, lr}\\n"
        "tst r2, #1\\n"
        "beq 1f\\n"
        "ldm r1!, {r4, r6}\\n"
        "sxtb16 r5, r4, ror #8\\n"
        "sxtb16 r4, r4\\n"
        "sxtb16 r7, r6, ror #8\\n"
        "sxtb16 r6, r6\\n"
        "stm r0!, {r4-r7}\\n"
        "1:\\n"
        "lsrs r2, r2, #1\\n"
        "beq 3f\\n"
        "2:\\n"
        "ldm r1!, {r4, r6, r8, r10}\\n"
        "sxtb16 r5, r4, ror #8\\n"
        "sxtb16 r4, r4\\n"
        "sxtb16 r7, r6, ror #8\\n"
        "sxtb16 r6, r6\\n"
        "sxtb16 r9, r8, ror #8\\n"
        "sxtb16 r8, r8\\n"
        "sxtb16 r11, r10, ror #8\\n"
        "sxtb16 r10, r10\\n"
        "stm r0!, {r4-r11}\\n"
        "subs r2, r2, #1\\n"
        "bne 2b\\n"
        "3:\\n"
        "pop {r4-r11, pc}\\n");
}
#else
static void dsp_widen(uint32_t *to, const int8_t *from, int32_t steps)
{
    for (steps *= 2; steps > 0; steps--, from += 4, to += 2) {
        to[0] = dsp_even(dsp_load(from));
        to[1] = dsp_odd(dsp_load(from));
    }
}
#endif""",
    (NAKED, EVEN_ODD, LOAD),
)

_CONVOLUTION = Function(
    "dsp_convolution",
    """\
/* What a convolution is made of: the window of a pixel, and two channels of several pixels. */
typedef void dsp_gather(const dsp_window *g, const int8_t *x, int32_t row, int32_t column,
                        int8_t *bytes, uint32_t *to);
typedef void dsp_block(const uint32_t *x, const uint32_t *w, int8_t *y, const int32_t *constants,
                       int32_t steps, int32_t pairs, int32_t stride, int32_t low, int32_t high);

/* The channel's constants as a dsp_block reads them. */
DSP_INLINE void dsp_constants(int32_t *to, int32_t place, int32_t bias, int32_t multiplier,
                              int32_t shift, int32_t zero_point)
{
    to[place] = bias;
    to[place + 2] = bias;
    to[4 + 3 * place] = multiplier;
    to[5 + 3 * place] = dsp_half(zero_point, shift);
    to[6 + 3 * place] = shift;
}

typedef struct {
    const int8_t *weights; /* of two channels four and four values in turn; channels in pairs */
    const int32_t *bias, *multiplier;
    const int8_t *shift;
    int32_t channels, pixels; /* of the result */
    int32_t block;            /* pixels at once, even */
    int32_t is_contiguous;    /* a window is a pixel of the image, and the next one the next */
    int32_t zero_point, low, high;
} dsp_filter;

/* Scratch holds the windows of a block of pixels, the weights of two channels, and bytes. */
static void dsp_convolution(const int8_t *x, int8_t *y, uint8_t *scratch, const dsp_window *g,
                            const dsp_filter *f, dsp_gather *gather, dsp_block *multiply)
{
    const int32_t depth = g->depth, steps = depth / 4;
    uint32_t *const windows = (uint32_t *)(void *)scratch;
    uint32_t *const weights = windows + f->block * depth / 2;
    int8_t *const bytes = (int8_t *)(void *)(weights + depth);
    int32_t first, row = 0, column = 0;
    for (first = 0; first < f->pixels; first += f->block) {
        const int32_t left = f->pixels - first;
        const int32_t count = left < f->block ? left : f->block;
        const int32_t pairs = count / 2;
        const int8_t *packed = f->weights;
        int32_t i, channel;
        if (f->is_contiguous && pairs > 0) {
            dsp_spread_pairs(windows, x + first * depth, steps, pairs);
        }
        for (i = f->is_contiguous ? 2 * pairs : 0; i < count; i++) {
            uint32_t *const to = windows + (i >> 1) * depth;
            if (f->is_contiguous) {
                column = first + i;
            }
            gather(g, x, row, column, bytes, to + 2 * (i & 1));
            if (i == count - 1 && (count & 1) != 0) {
                gather(g, x, row, column, bytes, to + 2);
            }
            if (!f->is_contiguous && ++column == g->result_columns) {
                column = 0;
                row++;
            }
        }
        for (channel = 0; channel < f->channels; channel += 2, packed += 2 * depth) {
            /* An odd last channel is computed together with the one before it, once more. */
            const int32_t c = channel < f->channels - 1 ? channel : channel - 1;
            int8_t *const to = y + first * f->channels + c;
            int32_t constants[10];
            dsp_constants(constants, 0, f->bias[c], f->multiplier[c], f->shift[c], f->zero_point);
            dsp_constants(constants, 1, f->bias[c + 1], f->multiplier[c + 1], f->shift[c + 1],
                          f->zero_point);
            dsp_widen(weights, packed, steps);
            if (pairs > 0) {
                multiply(windows, weights, to, constants, steps, pairs, f->channels, f->low,
                         f->high);
            }
            if ((count & 1) != 0) {
                /* The last pixel twice, to the same place. */
                multiply(windows + pairs * depth, weights, to + (count - 1) * f->channels,
                         constants, steps, 1, 0, f->low, f->high);
            }
        }
    }
}""",
    (WINDOW, HALF, SPREAD_PAIRS, _WIDEN),
)


def implement(layer: Convolution, variant: str, budget: int) -> Implementation | None:
    """Code of a convolution of int8, dense or depthwise 3x3, or of int16."""
    if layer.inputs[0].dtype == "int16":
        return convolution16.implement(layer, variant, budget)
    if (layer.inputs[0].dtype, layer.output.dtype) != ("int8", "int8"):
        return None
    if layer.wide or layer.weight_zero_point:
        return None
    if layer.groups != 1:
        return depthwise.implement(layer, budget)
    window = layer.window
    channels = window.image[2]
    outputs = layer.weights.shape[0]
    folded = fold(layer)
    if folded is None:
        return None
    fast = dense.implement(layer, folded) or winograd.implement(layer, folded, budget)
    if fast is not None or outputs < 2:
        return fast
    end = folded.end
    rows, row = window.kernel[0], window.kernel[1] * channels
    order = byte_order(rows, row) if channels % 4 else list(range(rows * row))
    depth = len(order)
    pixels = window.result[0] * window.result[1]
    whole = window.kernel == (1, 1) and window.pads == (0, 0)
    fetch = gather_bytes(rows, row) if channels % 4 else gather_words(whole=whole)
    extra = -(-rows * row // 16) * 16 if channels % 4 else 0
    block_ = _pixels_at_once(pixels, (budget - 4 * depth - extra) // (2 * depth))
    multiply = block(end)
    in_place = whole and window.strides == (1, 1) and outputs <= channels
    geometry = (
        *window.image, window.result[1], *window.kernel, *window.strides, *window.dilations,
        *window.pads, layer.inputs[0].zero_point, depth,
    )  # fmt: skip
    is_contiguous = whole and window.strides == (1, 1) and channels % 4 == 0
    numbers = (outputs, pixels, block_, int(is_contiguous), end.zero_point, end.low, end.high)
    call = f"""\
static const dsp_window window = {{
    {", ".join(map(str, geometry))}
}};
static const dsp_filter filter = {{
    @weights@, @bias@, @multiplier@, @shift@,
    {", ".join(map(str, numbers))}
}};
dsp_convolution(x0, y, scratch, &window, &filter, {fetch.name}, {multiply.name});"""
    return Implementation(
        call=call,
        functions=(fetch, multiply, _CONVOLUTION),
        arrays=(
            Array("weights", pack(folded.weights, order)),
            Array("bias", folded.bias),
            Array("multiplier", end.multiplier),
            Array("shift", end.shift),
        ),
        scratch=(block_ * 2 + 4) * depth + extra,
        in_place=(0,) if in_place else (),
    )


def _pixels_at_once(pixels: int, fitting: int) -> int:
    """Even, at least two, blocks of nearly equal size."""
    most = max(2, min(fitting, _MOST_PIXELS) // 2 * 2)
    blocks = -(-pixels // most)
    return -(-pixels // (2 * blocks)) * 2
