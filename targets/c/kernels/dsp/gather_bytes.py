"""Windows of images whose channels are no multiple of four: first layers, mostly."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.dsp.gather import INSIDE, SPREAD, WINDOW

#: Words of a row that are written one by one.
_UNROLLED_WORDS = 8

_SLOW_BYTES = Function(
    "dsp_copy_window",
    """\
DSP_INLINE int8_t *dsp_copy(int8_t *to, const int8_t *from, int32_t count)
{
    for (; count > 0; count--) {
        *to++ = *from++;
    }
    return to;
}

DSP_INLINE int8_t *dsp_fill_bytes(int8_t *to, int32_t fill, int32_t count)
{
    for (; count > 0; count--) {
        *to++ = (int8_t)fill;
    }
    return to;
}

/* The bytes of any window; from is its first row, start its first column. */
static void dsp_copy_window(const dsp_window *g, const int8_t *x, int32_t from, int32_t start,
                            int8_t *to)
{
    const int32_t channels = g->channels;
    int32_t i, j;
    for (i = 0; i < g->kernel_rows; i++, from += g->dilation_rows) {
        const int32_t at = from * g->columns + start;
        if (from < 0 || from >= g->rows) {
            to = dsp_fill_bytes(to, g->fill, g->kernel_columns * channels);
        } else if (g->dilation_columns == 1) {
            const int32_t before = dsp_before(start, g->kernel_columns);
            const int32_t within = dsp_within(start, before, g->kernel_columns, g->columns);
            to = dsp_fill_bytes(to, g->fill, before * channels);
            to = dsp_copy(to, x + (at + before) * channels, within * channels);
            to = dsp_fill_bytes(to, g->fill, (g->kernel_columns - before - within) * channels);
        } else {
            for (j = 0; j < g->kernel_columns; j++) {
                const int32_t here = j * g->dilation_columns;
                if (start + here < 0 || start + here >= g->columns) {
                    to = dsp_fill_bytes(to, g->fill, channels);
                } else {
                    to = dsp_copy(to, x + (at + here) * channels, channels);
                }
            }
        }
    }
}""",
    (WINDOW, INSIDE),
)


def gather_bytes(rows: int, row: int) -> Function:
    """The function for windows with rows of so many bytes.

    Whole words of each row come first, then what is left of all rows: see :func:`byte_order`.
    """
    name = f"dsp_gather_{rows}x{row}"
    words, rest = divmod(row, 4)
    declaration, keep, finish = "", "", ""
    if words:
        keep = f"        to = dsp_spread(to, at, {words});\n"
    if words and words <= _UNROLLED_WORDS:
        keep = "".join(
            f"        to = dsp_spread_word(to, dsp_load(at + {4 * k}));\n" for k in range(words)
        )
    if rest:
        length = -(-rows * rest // 4) * 4
        zeros = ", ".join("0" for _ in range(length))
        declaration = f"\n    int8_t left[{length}] = {{{zeros}}};"
        keep += f"        memcpy(left + {rest} * i, at + {4 * words}, {rest});\n"
        finish = f"\n    dsp_spread(to, left, {length // 4});"
    return Function(
        name,
        f"""\
/* The window of one pixel, any number of channels, {row} bytes in each of {rows} rows. */
static void {name}(const dsp_window *g, const int8_t *x, int32_t row, int32_t column,
                   int8_t *bytes, uint32_t *to)
{{
    const int32_t from = row * g->stride_rows - g->pad_top;
    const int32_t start = column * g->stride_columns - g->pad_left;
    int32_t line = g->columns * g->channels, i;
    const int8_t *at = x + from * line + start * g->channels;{declaration}
    line *= g->dilation_rows;
    if (from < 0 || from + {rows - 1} * g->dilation_rows >= g->rows || start < 0
        || start + g->kernel_columns > g->columns || g->dilation_columns != 1) {{
        dsp_copy_window(g, x, from, start, bytes);
        at = bytes;
        line = {row};
    }}
    for (i = 0; i < {rows}; i++, at += line) {{
{keep}    }}{finish}
}}""",
        (WINDOW, SPREAD, _SLOW_BYTES),
    )


def byte_order(rows: int, row: int) -> list[int]:
    """The order of the bytes of a window with ``channels % 4 != 0``; -1 stands for a zero."""
    whole = row // 4 * 4
    first = [i * row + k for i in range(rows) for k in range(whole)]
    rest = [i * row + k for i in range(rows) for k in range(whole, row)]
    return first + rest + [-1] * (-len(rest) % 4)
