"""Activations as int16 in the order in which :mod:`block` reads them: im2col of a few pixels.

Two pixels lie side by side: of each four values of a pixel the even ones, then the odd ones, then
those of the other pixel. Padding becomes the zero point, whose part of the sums the bias takes
away.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.dsp.intrinsics import ASSEMBLER, EVEN_ODD, LOAD
from intaglio.targets.c.kernels.dsp.naked import NAKED

WINDOW = Function(
    "dsp_window",
    """\
/* Geometry of a convolution. */
typedef struct {
    int32_t rows, columns, channels, result_columns;
    int32_t kernel_rows, kernel_columns, stride_rows, stride_columns;
    int32_t dilation_rows, dilation_columns, pad_top, pad_left;
    int32_t fill;  /* the zero point */
    int32_t depth; /* values of a window, rounded up to a multiple of four */
} dsp_window;""",
)

SPREAD = Function(
    "dsp_spread",
    """\
/* Four values. */
DSP_INLINE uint32_t *dsp_spread_word(uint32_t *to, uint32_t bytes)
{
    to[0] = dsp_even(bytes);
    to[1] = dsp_odd(bytes);
    return to + 4;
}

/* Four times words values, to every other two words. */
static uint32_t *dsp_spread(uint32_t *to, const int8_t *from, int32_t words)
{
    for (; words >= 4; words -= 4, from += 16, to += 16) {
        const uint32_t a = dsp_load(from), b = dsp_load(from + 4);
        const uint32_t c = dsp_load(from + 8), d = dsp_load(from + 12);
        to[0] = dsp_even(a);
        to[1] = dsp_odd(a);
        to[4] = dsp_even(b);
        to[5] = dsp_odd(b);
        to[8] = dsp_even(c);
        to[9] = dsp_odd(c);
        to[12] = dsp_even(d);
        to[13] = dsp_odd(d);
    }
    for (; words > 0; words--, from += 4) {
        to = dsp_spread_word(to, dsp_load(from));
    }
    return to;
}""",
    (EVEN_ODD, LOAD),
)

SPREAD_PAIRS = Function(
    "dsp_spread_pairs",
    """\
/* Pairs of pixels that lie one behind the other, four times steps values each. */
#if DSP_ASSEMBLER
static DSP_NAKED void dsp_spread_pairs(uint32_t *to DSP_UNUSED, const int8_t *from DSP_UNUSED,
                                       int32_t steps DSP_UNUSED, int32_t pairs DSP_UNUSED)
{
    __asm volatile(
        ".syntax unified\\n"
        "push {r4-r11, lr}\\n"
        "1:\\n"
        "add r12, r1, r2, lsl #2\\n"
        "tst r2, #1\\n"
        "beq 2f\\n"
        "ldr r4, [r1], #4\\n"
        "ldr r6, [r12], #4\\n"
        "sxtb16 r5, r4, ror #8\\n"
        "sxtb16 r4, r4\\n"
        "sxtb16 r7, r6, ror #8\\n"
        "sxtb16 r6, r6\\n"
        "stm r0!, {r4-r7}\\n"
        "2:\\n"
        "lsrs lr, r2, #1\\n"
        "beq 4f\\n"
        "3:\\n"
        "ldr r4, [r1], #4\\n"
        "ldr r6, [r12], #4\\n"
        "ldr r8, [r1], #4\\n"
        "ldr r10, [r12], #4\\n"
        "sxtb16 r5, r4, ror #8\\n"
        "sxtb16 r4, r4\\n"
        "sxtb16 r7, r6, ror #8\\n"
        "sxtb16 r6, r6\\n"
        "sxtb16 r9, r8, ror #8\\n"
        "sxtb16 r8, r8\\n"
        "sxtb16 r11, r10, ror #8\\n"
        "sxtb16 r10, r10\\n"
        "stm r0!, {r4-r11}\\n"
        "subs lr, lr, #1\\n"
        "bne 3b\\n"
        "4:\\n"
        "mov r1, r12\\n"
        "subs r3, r3, #1\\n"
        "bne 1b\\n"
        "pop {r4-r11, pc}\\n");
}
#else
static void dsp_spread_pairs(uint32_t *to, const int8_t *from, int32_t steps, int32_t pairs)
{
    for (; pairs > 0; pairs--, to += 4 * steps, from += 8 * steps) {
        dsp_spread(to, from, steps);
        dsp_spread(to + 2, from + 4 * steps, steps);
    }
}
#endif""",
    (NAKED, SPREAD),
)

_FILL = Function(
    "dsp_fill",
    """\
/* Zero points in place of four times words values, as dsp_spread writes them. */
static uint32_t *dsp_fill(uint32_t *to, int32_t fill, int32_t words)
{
    const uint32_t pair = ((uint32_t)fill & 0xFFFFu) * 0x10001u;
    for (; words > 0; words--, to += 4) {
        to[0] = pair;
        to[1] = pair;
    }
    return to;
}""",
)

INSIDE = Function(
    "dsp_inside",
    """\
/* Elements of a window's axis before the image, and within it. */
DSP_INLINE int32_t dsp_before(int32_t start, int32_t kernel)
{
    return start >= 0 ? 0 : -start < kernel ? -start : kernel;
}

DSP_INLINE int32_t dsp_within(int32_t start, int32_t before, int32_t kernel, int32_t size)
{
    const int32_t end = size - start < kernel ? size - start : kernel;
    return end > before ? end - before : 0;
}""",
    (ASSEMBLER,),
)

_WORDS = Function(
    "dsp_gather_words",
    """\
/* The window of one pixel; channels is a multiple of four. */
static void dsp_gather_words(const dsp_window *g, const int8_t *x, int32_t row, int32_t column,
                             int8_t *bytes, uint32_t *to)
{
    const int32_t words = g->channels / 4;
    const int32_t y = row * g->stride_rows - g->pad_top;
    const int32_t start = column * g->stride_columns - g->pad_left;
    int32_t i, j;
    (void)bytes;
    for (i = 0; i < g->kernel_rows; i++) {
        const int32_t from = y + i * g->dilation_rows;
        const int32_t at = from * g->columns + start;
        if (from < 0 || from >= g->rows) {
            to = dsp_fill(to, g->fill, g->kernel_columns * words);
        } else if (g->dilation_columns == 1) {
            const int32_t before = dsp_before(start, g->kernel_columns);
            const int32_t within = dsp_within(start, before, g->kernel_columns, g->columns);
            if (before > 0) {
                to = dsp_fill(to, g->fill, before * words);
            }
            if (within > 0) {
                to = dsp_spread(to, x + (at + before) * g->channels, within * words);
            }
            if (before + within < g->kernel_columns) {
                to = dsp_fill(to, g->fill, (g->kernel_columns - before - within) * words);
            }
        } else {
            for (j = 0; j < g->kernel_columns; j++) {
                const int32_t here = j * g->dilation_columns;
                if (start + here < 0 || start + here >= g->columns) {
                    to = dsp_fill(to, g->fill, words);
                } else {
                    to = dsp_spread(to, x + (at + here) * g->channels, words);
                }
            }
        }
    }
}""",
    (WINDOW, SPREAD, _FILL, INSIDE),
)

_PIXEL = Function(
    "dsp_gather_pixel",
    """\
/* The window of one pixel, of one row and column, without padding. */
static void dsp_gather_pixel(const dsp_window *g, const int8_t *x, int32_t row, int32_t column,
                             int8_t *bytes, uint32_t *to)
{
    const int32_t at = row * g->stride_rows * g->columns + column * g->stride_columns;
    (void)bytes;
    dsp_spread(to, x + at * g->channels, g->channels / 4);
}""",
    (WINDOW, SPREAD),
)


def gather_words(*, whole: bool) -> Function:
    """The function that fetches the window of a pixel; its channels are a multiple of four.

    Args:
        whole: The kernel has one row and column, and there is no padding.
    """
    return _PIXEL if whole else _WORDS
