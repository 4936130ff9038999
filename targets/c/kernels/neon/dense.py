"""Dense convolutions and fully connected layers: register tiles over rows or all pixels."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.neon.layers import declare_product, pixel_loop, tail_of
from intaglio.targets.c.kernels.neon.rows import Rows
from intaglio.targets.c.kernels.neon.tails import Tail
from intaglio.targets.c.kernels.neon.tiles import Tile
from intaglio.targets.c.kernels.portable.window import is_padded, one_row
from intaglio.targets.c.network import Convolution, Window

#: Vector registers of the processor.
_REGISTERS = 32


def dense(layer: Convolution, variant: str) -> Implementation | None:
    """A convolution of all input channels; None where this is not one, or has no vector tail.

    Args:
        layer: The layer.
        variant: ``dotprod`` or ``neon``.
    """
    x, y = layer.inputs[0], layer.output
    if layer.groups != 1 or layer.weight_zero_point or not y.size:
        return None
    if (x.dtype, y.dtype) not in (("int8", "int8"), ("int16", "int16")):
        return None
    tail = tail_of(layer)
    if tail is None:
        return None
    flat = layer.weights.reshape(len(layer.weights), -1).astype(np.int64)
    form = "words" if x.dtype == "int16" else "dot" if variant == "dotprod" else "pairs"
    if form == "pairs" and flat.min() == -128:
        form = "pairs_full"
    window = one_row(layer.window)
    weights = layer.weights
    if window is not layer.window:
        weights = weights.transpose(0, 2, 1, 3)
    shape = _Shape.of(window, Tile(form, 1, 1).step)
    if shape.is_flat:
        rows, columns, channels = window.result
        window = dataclasses.replace(
            window,
            image=(1, rows * columns, window.image[2]),
            result=(1, rows * columns, channels),
        )
    tile = _choose(form, window, shape)
    lines = declare_product(tail, y.dtype, len(flat), shape.runs, shape.length, shape.step)
    rows_of = Rows(window, x.itemsize, x.zero_point, shape.exact)
    function = tile.function(tail)
    lines += rows_of.loop(_body(tile, function, tail, window, shape, x.itemsize))
    arrays = (
        Array("weights", _pack(weights, tile, shape)),
        *(() if tail.stage is None else tail.stage.arrays),
        Array("tail", tail.blocks(layer.bias - x.zero_point * flat.sum(axis=1), tile.channels)),
    )
    functions = (*rows_of.functions, function)
    return Implementation("\n".join(lines), functions, arrays, rows_of.bytes)


@dataclasses.dataclass(frozen=True)
class _Shape:
    """What a tile walks through.

    Attributes:
        runs: Runs of a window.
        run: Inputs of a run.
        length: The same, filled up to whole steps.
        step: Inputs from the window of one pixel to that of the next.
        is_flat: Each window is one pixel, and the next window the next pixel.
    """

    runs: int
    run: int
    length: int
    step: int
    is_flat: bool

    @staticmethod
    def of(window: Window, unit: int) -> _Shape:
        """The runs of a window."""
        channels = window.image[2]
        solid = window.dilations[1] == 1 or window.kernel[1] == 1
        run = channels * (window.kernel[1] if solid else 1)
        length = -(-run // unit) * unit
        plain = window.kernel == (1, 1) and window.strides == (1, 1) and not is_padded(window)
        same = window.image[:2] == window.result[:2]
        return _Shape(
            runs=window.kernel[0] * (1 if solid else window.kernel[1]),
            run=run,
            length=length,
            step=window.strides[1] * channels,
            is_flat=plain and same and run == length,
        )

    @property
    def exact(self) -> bool:
        """Whether nothing but the window is read."""
        return self.run == self.length


def _choose(form: str, window: Window, shape: _Shape) -> Tile:
    """The tile with the fewest instructions, by a count of loads, products and tails."""
    pixels, channels = window.result[1:]
    best, least = Tile(form, 1, 1), float("inf")
    for count in range(1, min(pixels, 8) + 1):
        for vectors in (2, 4) if form == "words" else (1, 2, 3, 4):
            tile = Tile(form, count, vectors)
            if _registers(tile) <= _REGISTERS:
                tiles = -(-pixels // count) * -(-channels // tile.channels)
                work = tiles * _instructions(tile, shape)
                if work < least:
                    best, least = tile, work
    return best


def _registers(tile: Tile) -> int:
    if tile.form.startswith("pairs"):
        return tile.pixels * tile.channels + tile.pixels + 3
    if tile.form == "words":
        return tile.pixels * tile.vectors + tile.pixels + 2
    return tile.pixels * tile.vectors + tile.pixels + 2


def _instructions(tile: Tile, shape: _Shape) -> float:
    """About how many instructions a tile takes."""
    p, v = tile.pixels, tile.vectors
    tail = 8 + 2 * v + p * (4 * v + 6)
    if tile.form == "dot":
        wholes, rest = divmod(shape.length, 16)
        run = wholes * (p + 4 * v + 4 * p * v + 3)
        run += bool(rest & 8) * (p + 2 * v + 2 * p * v + 2)
        run += bool(rest & 4) * (p + v + p * v + 2)
    elif tile.form == "words":
        run = shape.length // 4 * (p + 4 * v + 4 * p * v + 3)
    else:
        whole = 3 if tile.form == "pairs" else 4
        wholes, rest = divmod(shape.length, 16)
        run = wholes * (p + 4 * v + 4 * whole * p * v + 3)
        run += bool(rest) * (p + 4 * v + 8 * p * v + 2)
        tail += 4 * p * v
    return shape.runs * (run + p + 6) + tail


def _pack(weights: NDArray[np.int8], tile: Tile, shape: _Shape) -> NDArray[np.int8]:
    """Weights in the order in which tiles read them."""
    count = len(weights)
    padding = ((0, -count % tile.channels), (0, 0), (0, shape.length - shape.run))
    padded = np.pad(weights.reshape(count, shape.runs, shape.run), padding)
    # [blocks, channels, runs, inputs]
    blocks = padded.reshape(-1, tile.channels, shape.runs, shape.length)
    if tile.form.startswith("pairs"):
        parts = []
        for at in range(0, shape.length, 16):
            part = blocks[..., at : at + 16].transpose(0, 2, 1, 3)
            parts.append(part.reshape(len(blocks), shape.runs, -1))
        return np.concatenate(parts, axis=2)
    steps = blocks.reshape(len(blocks), tile.channels, shape.runs, -1, 4)
    order = (0, 2, 3, 4, 1) if tile.form == "words" else (0, 2, 3, 1, 4)
    return np.asarray(steps.transpose(order), np.int8)


def _body(
    tile: Tile, function: Function, tail: Tail, window: Window, shape: _Shape, itemsize: int
) -> list[str]:
    """Statements for the pixels of a row."""
    lines = []
    runs = "rows"
    if shape.runs != window.kernel[0]:
        kind = "int8_t" if itemsize == 1 else "int16_t"
        runs = "runs"
        width = window.kernel[1]
        lines += [
            f"const {kind} *runs[{shape.runs}];",
            f"for (size_t r = 0; r < {shape.runs}; r++) {{",
            f"    runs[r] = rows[r / {width}] + r % {width} * "
            f"{window.dilations[1] * window.image[2]};",
            "}",
        ]
    return [*lines, *pixel_loop(function.name, tail, runs, window, tile.pixels, shape.step)]
