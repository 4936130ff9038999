"""The window of a pixel as int16 less the zero point, in the order of trained weights."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.dsp.depthwise import PAIRS
from intaglio.targets.c.kernels.dsp.gather import INSIDE, WINDOW
from intaglio.targets.c.kernels.dsp.intrinsics import LOAD

WIDEN = Function(
    "dsp_widen_less",
    """\
/* count numbers of x less the zero point, of which less holds the negative in both halves. */
static int16_t *dsp_widen_less(int16_t *to, const int8_t *x, int32_t count, uint32_t less)
{
    const int32_t each = (int16_t)(less & 0xFFFFu);
    for (; count >= 4; count -= 4, x += 4, to += 4) {
        const uint32_t bytes = dsp_load(x);
        const uint32_t even = (uint32_t)__sxtab16((int16x2_t)less, (int8x4_t)bytes);
        const uint32_t odd =
            (uint32_t)__sxtab16((int16x2_t)less, (int8x4_t)(bytes >> 8 | bytes << 24));
        const uint32_t first = dsp_lower(even, odd), second = dsp_upper(even, odd);
        memcpy(to, &first, 4);
        memcpy(to + 2, &second, 4);
    }
    for (; count > 0; count--) {
        *to++ = (int16_t)(*x++ + each);
    }
    return to;
}""",
    (LOAD, PAIRS),
)

_WINDOW = """\
/* The window of one pixel as int16 less the zero point, padding and what follows as 0. */
static void @name@(const dsp_window *g, const int8_t *x, int32_t row, int32_t column,
                               int16_t *to)
{
    const uint32_t less = ((uint32_t)-g->fill & 0xFFFFu) * 0x10001u;
    const int32_t channels = g->channels, start = column * g->stride_columns - g->pad_left;
    const int32_t length = g->kernel_columns * channels;
    int32_t from = row * g->stride_rows - g->pad_top, i, j;
    for (i = 0; i < g->kernel_rows; i++, from += g->dilation_rows, to += length) {
        const int8_t *const line = x + (from * g->columns + start) * channels;
        if (from < 0 || from >= g->rows) {
            memset(to, 0, 2u * (uint32_t)length);
        } else if (g->dilation_columns == 1) {
            const int32_t before = dsp_before(start, g->kernel_columns);
            const int32_t within = dsp_within(start, before, g->kernel_columns, g->columns);
            if (within < g->kernel_columns) {
                memset(to, 0, 2u * (uint32_t)length);
            }
            if (within > 0) {
                @widen@(to + before * channels, line + before * channels, within * channels,
                          less);
            }
        } else {
            for (j = 0; j < g->kernel_columns; j++) {
                const int32_t here = j * g->dilation_columns;
                if (start + here < 0 || start + here >= g->columns) {
                    memset(to + j * channels, 0, 2u * (uint32_t)channels);
                } else {
                    @widen@(to + j * channels, line + here * channels, channels, less);
                }
            }
        }
    }
}"""


def window_function(name: str, widen: Function) -> Function:
    """``f(window, x, row, column, to)``: fetches the window of a pixel.

    Args:
        name: Its name.
        widen: What fetches some numbers that lie one behind the other.
    """
    text = _WINDOW.replace("@name@", name).replace("@widen@", widen.name)
    return Function(name, text, (WINDOW, INSIDE, widen))
