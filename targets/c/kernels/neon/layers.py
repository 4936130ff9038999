"""What dense and depthwise convolutions have in common: constants, and the loop over pixels."""

from __future__ import annotations

import numpy as np

from intaglio.targets.c.kernels.neon.ends import block
from intaglio.targets.c.kernels.neon.tails import Tail, convolution_tail
from intaglio.targets.c.kernels.portable.constants import largest_magnitude
from intaglio.targets.c.network import Convolution, Window


def tail_of(layer: Convolution) -> Tail | None:
    """The vector tail of a convolution, or None; each channel has its bound of accumulators."""
    flat = layer.weights.reshape(len(layer.weights), -1).astype(np.int64)
    bound = np.abs(flat).sum(axis=1) * largest_magnitude(layer.inputs[0]) + np.abs(layer.bias)
    return convolution_tail(layer.rescale, bound)


def declare_product(
    tail: Tail, dtype: str, channels: int, runs: int, length: int, step: int
) -> list[str]:
    """Statement that makes the constant ``product``; see the struct ``neon_product``."""
    limits = np.iinfo(dtype)
    low, high = max(tail.minimum, int(limits.min)), min(tail.maximum, int(limits.max))
    stage = [] if tail.stage is None else list(tail.stage.declaration)
    return [
        *stage,
        "static const struct neon_product product = {",
        "    @weights@, @tail@,",
        f"    {channels}, {runs}, {length}, {step}, /* channels, runs, length, step */",
        f"    {tail.zero_point}, {low}, {high} /* zero point, smallest and largest result */",
        "};",
    ]


def pixel_loop(
    name: str, tail: Tail, runs: str, window: Window, pixels: int, step: int
) -> list[str]:
    """Statements that call a tile for all pixels of a row; the last may repeat some of them.

    Args:
        name: The tile's function.
        tail: Its tail.
        runs: Its first argument.
        window: Geometry.
        pixels: Pixels of a tile, no more than a row has.
        step: Inputs from one pixel's window to the next one's.
    """
    columns, channels = window.result[1:]
    stage = "" if tail.stage is None else "&stage, "
    target = "y" if window.result[0] == 1 else f"y + row * {columns * channels}"
    if columns == pixels:
        return [f"{name}({runs}, 0, &product, {stage}{target});"]
    at, inner = "p", []
    if columns % pixels:
        last = columns - pixels
        at, inner = "at", [f"const size_t at = p < {last} ? p : {last};"]
    inner.append(f"{name}({runs}, {at} * {step}, &product, {stage}{target} + {at} * {channels});")
    return block(f"for (size_t p = 0; p < {columns}; p += {pixels})", inner)
