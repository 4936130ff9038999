"""Depthwise convolutions with one filter a channel."""

from __future__ import annotations

import numpy as np

from intaglio.targets.c.kernels.base import Array, Implementation
from intaglio.targets.c.kernels.neon.columns import Columns
from intaglio.targets.c.kernels.neon.layers import declare_product, pixel_loop, tail_of
from intaglio.targets.c.kernels.neon.rows import Rows
from intaglio.targets.c.kernels.neon.taps import Taps
from intaglio.targets.c.network import Convolution, Window


def depthwise(layer: Convolution, variant: str) -> Implementation | None:
    """A depthwise convolution; None where this is not one, or sums do not fit 32 bits.

    Args:
        layer: The layer.
        variant: ``dotprod`` or ``neon``.
    """
    x, y, window = layer.inputs[0], layer.output, layer.window
    if not layer.is_depthwise or layer.groups != len(layer.weights) or not y.size:
        return None
    if layer.weight_zero_point:
        return None
    if (x.dtype, y.dtype) not in (("int8", "int8"), ("int16", "int16")):
        return None
    tail = tail_of(layer)
    if tail is None:
        return None
    weights = layer.weights[..., 0]
    form = "tapwords" if x.dtype == "int16" else "taps_full" if weights.min() == -128 else "taps"
    tile = _choose(form, window, dots=variant == "dotprod" and x.dtype == "int8")
    rows = Rows(window, x.itemsize, x.zero_point, window.image[2] % tile.channels == 0)
    function = tile.function(tail)
    step = window.strides[1] * window.image[2]
    product = declare_product(tail, y.dtype, len(weights), tile.runs(window), 1, step)
    pointers, runs = tile.pointers(window)
    calls = pixel_loop(function.name, tail, runs, window, tile.pixels, step)
    bias = layer.bias - x.zero_point * weights.astype(np.int64).sum(axis=(1, 2))
    arrays = (
        Array("weights", tile.pack(weights)),
        *(() if tail.stage is None else tail.stage.arrays),
        Array("tail", tail.blocks(bias, tile.channels)),
    )
    lines = [*product, *rows.loop([*pointers, *calls])]
    return Implementation("\n".join(lines), (*rows.functions, function), arrays, rows.bytes)


def _choose(form: str, window: Window, *, dots: bool) -> Taps | Columns:
    """The tile with the fewest instructions."""
    pixels, channels = window.result[1:]
    tiles: list[Taps | Columns] = []
    for vectors in (2, 4):
        most = min(pixels, 20 // vectors)
        tiles += [Taps(form, count, vectors) for count in range(1, most + 1)]
        if dots:
            tiles += Columns.fitting(window, min(pixels, 8), vectors)

    def work(tile: Taps | Columns) -> float:
        return tile.work(window) * -(-pixels // tile.pixels) * -(-channels // tile.channels)

    return min(tiles, key=work)
