"""The geometry of a window as a C struct, and which of its taps lie inside the image."""

from __future__ import annotations

import dataclasses

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.network import Window

WINDOW = Function(
    "window",
    """\
/* A window that moves over an image of channels-last rows. */
struct window {
    int32_t rows, columns, channels;                /* of the input */
    int32_t result_rows, result_columns, filters;   /* of the output */
    int32_t kernel_rows, kernel_columns;            /* taps of the window */
    int32_t row_stride, column_stride;              /* from one window to the next */
    int32_t row_dilation, column_dilation;          /* from one tap to the next */
    int32_t top, left;                              /* padding */
};""",
)

TAPS = Function(
    "taps",
    """\
/* Taps from first on, before end, lie inside the image along one axis. */
struct taps {
    int32_t first, end;
};

/* The taps at start, start + dilation, ... that are in 0 .. size - 1; count is their number. */
static inline struct taps taps_inside(int32_t start, int32_t dilation, int32_t count, int32_t size)
{
    struct taps inside;
    inside.first = 0;
    inside.end = count;
    if (start < 0) {
        inside.first = (dilation - 1 - start) / dilation;
    }
    if (start + (count - 1) * dilation >= size) {
        inside.end = start < size ? (size - start + dilation - 1) / dilation : 0;
    }
    if (inside.first >= inside.end) {
        inside.first = inside.end = 0;
    }
    return inside;
}""",
)


def declare_window(window: Window) -> str:
    """Statement that makes the constant ``shape`` of a window."""

    def line(values: tuple[int, ...], comma: str, comment: str) -> str:
        return f"    {', '.join(map(str, values))}{comma}".ljust(24) + f" /* {comment} */"

    lines = [
        line(window.image, ",", "input: rows, columns, channels"),
        line(window.result, ",", "output: rows, columns, channels"),
        line(window.kernel, ",", "kernel"),
        line(window.strides, ",", "strides"),
        line(window.dilations, ",", "dilations"),
        line(window.pads, "", "padding: top, left"),
    ]
    return "\n".join(["static const struct window shape = {", *lines, "};"])


def is_padded(window: Window) -> bool:
    """Whether some tap of some window lies outside the image."""
    for axis in range(2):
        last = (window.result[axis] - 1) * window.strides[axis] - window.pads[axis]
        reach = last + (window.kernel[axis] - 1) * window.dilations[axis]
        if window.pads[axis] > 0 or reach >= window.image[axis]:
            return True
    return False


def one_row(window: Window) -> Window:
    """The same window with its rows as columns, where the image is one column wide.

    Elements that lie one behind the other are then taps of one row of the kernel.
    """
    if window.image[1] != 1 or window.kernel[1] != 1 or window.result[1] != 1 or window.pads[1]:
        return window

    def swapped(pair: tuple[int, int]) -> tuple[int, int]:
        return pair[1], pair[0]

    return dataclasses.replace(
        window,
        image=(1, window.image[0], window.image[2]),
        result=(1, window.result[0], window.result[2]),
        kernel=swapped(window.kernel),
        strides=swapped(window.strides),
        dilations=swapped(window.dilations),
        pads=swapped(window.pads),
    )
