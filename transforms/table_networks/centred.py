"""A table network without rotations: an integer stem, table layers with residuals, a table head.

Of one plane of an image it makes another, ``upscale / stride`` times as large: super-resolution has
stride 1, denoising works on cells of 2 x 2 pixels (stride 2, upscale 2). In front of every table
layer a 3 x 3 window of each channel says which row is read; the tables mix the channels. Features
are int8, of which a layer reads 16 levels.

Against TinyLUT's structure: no rotations and no second branch, since the low bits of the pixels
reach the output through the linear ``skip``; depthwise tables are linear, so one weight does what
a table would.

    stem    acc = bias + sum of weights * (x - 128) in a k x k window
            f = clamp(half_up(acc[:C], stem_shift)),  skip = acc[C:]
    mixing  i = clamp(half_up(sum of taps * f in a 3 x 3 window, tap_shift), -8, 7)
            f = clamp(f + half_up(sum_c T[c, i_c + 8], shift))
    head    the same window, U = sum_c T[c, i_c + 8]
            y = clamp(x + half_up((U << head_shift) + skip, out_shift), 0, 255)

The image is continued by its edge pixels, features by zeros. ``half_up(v, k)`` is
``(v + 2^(k-1)) >> k``; ``clamp`` is to int8 where nothing is said.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.table_networks.arithmetic import (
    Integers,
    half_up,
    interleave,
    look_up,
)

#: Levels of a feature that a table layer tells apart, and the smallest.
ROWS = 16
LOWEST = -8
#: Largest sum of the absolute taps of a channel: 128 times it fits int16.
TAP_LIMIT = 255
#: Subtracted from pixels in front of the stem.
MIDDLE = 128


@dataclasses.dataclass(frozen=True, eq=False)
class Window:
    """Which row of its tables each channel reads.

    Attributes:
        taps: int8 (channels, 3, 3); no channel's absolute values sum to more than TAP_LIMIT.
        shift: Right shift of the sum, 0 to 14.
    """

    taps: NDArray[np.int8]
    shift: int

    def __post_init__(self) -> None:
        """Checks shapes, types and the bound that makes int16 sums exact."""
        _require(self.taps.dtype == np.int8 and self.taps.shape[1:] == (3, 3), "taps")
        _require(0 <= self.shift <= 14, "tap shift")
        total = np.abs(self.taps.astype(np.int64)).sum(axis=(1, 2))
        _require(bool((total <= TAP_LIMIT).all()), f"sum of absolute taps above {TAP_LIMIT}")

    def rows(self, features: Integers) -> Integers:
        """Rows 0 to 15 that are read, (height, width, channels)."""
        height, width, channels = features.shape
        padded = np.pad(features, ((1, 1), (1, 1), (0, 0)))
        total = np.zeros((height, width, channels), np.int64)
        taps = self.taps.astype(np.int64)
        for row in range(3):
            for column in range(3):
                view = padded[row : row + height, column : column + width]
                total += view * taps[:, row, column]
        return np.clip(half_up(total, self.shift), LOWEST, LOWEST + ROWS - 1) - LOWEST


@dataclasses.dataclass(frozen=True, eq=False)
class Mixing:
    """One table layer with residual.

    Attributes:
        window: Rows to read.
        tables: int8 (channels, 16, channels). Mixings may share one array.
        shift: Right shift of the sum of entries, 0 to 14.
    """

    window: Window
    tables: NDArray[np.int8]
    shift: int

    def apply(self, features: Integers) -> Integers:
        """The features behind it, (height, width, channels)."""
        total = look_up(self.window.rows(features), self.tables)
        return np.asarray(np.clip(features + half_up(total, self.shift), -128, 127))


@dataclasses.dataclass(frozen=True, eq=False)
class CentredNetwork:
    """The whole network.

    Attributes:
        stem_weights: int8 (channels + upscale^2, k, k).
        stem_bias: int32 (channels + upscale^2).
        stem_shift: Right shift that makes features of the first ``channels`` sums.
        mixings: In order; may be empty.
        head_window: Rows that the head reads.
        head_tables: int8 (channels, 16, upscale^2), sub-pixels row by row.
        head_shift: Left shift of the head's sum, 0 to 14.
        out_shift: Right shift of the sum of head and skip, 0 to 24.
        stride: Pixels a cell has on each side, 1 or 2.
        upscale: Pixels of the result a cell has on each side, 1 to 4.
    """

    stem_weights: NDArray[np.int8]
    stem_bias: NDArray[np.int32]
    stem_shift: int
    mixings: tuple[Mixing, ...]
    head_window: Window
    head_tables: NDArray[np.int8]
    head_shift: int
    out_shift: int
    stride: int
    upscale: int

    def __post_init__(self) -> None:
        """Checks that the parts fit together."""
        outputs, kernel, width = self.stem_weights.shape
        cells = self.upscale**2
        _require(self.stride in (1, 2) and 1 <= self.upscale <= 4, "stride or upscale")
        _require(kernel == width and kernel % 2 == self.stride % 2, "size of the stem's kernel")
        _require(kernel >= self.stride, "size of the stem's kernel")
        _require(self.stem_weights.dtype == np.int8, "type of the stem's weights")
        _require(self.stem_bias.dtype == np.int32, "type of the stem's bias")
        _require(self.stem_bias.shape == (outputs,), "shape of the stem's bias")
        _require(bool((np.abs(self.stem_bias.astype(np.int64)) < 1 << 24).all()), "stem's bias")
        channels = outputs - cells
        _require(channels > 0 and channels % 8 == 0 and channels <= 64, "number of channels")
        for mixing in self.mixings:
            _require(mixing.tables.shape == (channels, ROWS, channels), "shape of tables")
            _require(mixing.tables.dtype == np.int8, "type of tables")
            _require(mixing.window.taps.shape[0] == channels, "number of taps")
            _require(0 <= mixing.shift <= 14, "shift of a mixing")
        _require(self.head_tables.shape == (channels, ROWS, cells), "shape of the head's tables")
        _require(self.head_tables.dtype == np.int8, "type of the head's tables")
        _require(self.head_window.taps.shape[0] == channels, "number of taps of the head")
        _require(0 <= self.stem_shift <= 24 and 0 <= self.head_shift <= 14, "shift")
        _require(0 <= self.out_shift <= 24, "shift of the output")

    @property
    def channels(self) -> int:
        """Features a cell has."""
        return int(self.head_tables.shape[0])

    @property
    def kernel(self) -> int:
        """Rows and columns of the stem's window."""
        return int(self.stem_weights.shape[1])

    @property
    def storage_bytes(self) -> int:
        """Bytes of all tables (shared ones once), weights, taps and biases."""
        shared = {id(mixing.tables): mixing.tables.nbytes for mixing in self.mixings}
        taps = sum(mixing.window.taps.nbytes for mixing in self.mixings)
        stem = self.stem_weights.nbytes + self.stem_bias.nbytes
        head = self.head_tables.nbytes + self.head_window.taps.nbytes
        return sum(shared.values()) + taps + stem + head

    @property
    def lookups(self) -> int:
        """Table entries read for a cell."""
        channels = self.channels
        return channels * (channels * len(self.mixings) + self.upscale**2)

    @property
    def multiplications(self) -> int:
        """Products of the stem and the windows for a cell."""
        return self.stem_weights.size + 9 * self.channels * (len(self.mixings) + 1)

    @property
    def reach(self) -> int:
        """Cells above and below a cell that its result depends on, the stem's included."""
        stem_cells = -(-(self.kernel - self.stride) // (2 * self.stride))
        return len(self.mixings) + 1 + stem_cells

    def apply(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Runs the network in int64.

        Args:
            plane: uint8 (height, width), not empty.

        Returns:
            uint8 (height * upscale / stride, width * upscale / stride).

        Raises:
            ValueError: It is not a plane of bytes.
        """
        _require(plane.ndim == 2 and plane.dtype == np.uint8 and plane.size > 0, "plane")
        height, width = plane.shape
        acc = self._stem(plane)
        features = np.clip(half_up(acc[..., : self.channels], self.stem_shift), -128, 127)
        for mixing in self.mixings:
            features = mixing.apply(features)
        total = look_up(self.head_window.rows(features), self.head_tables)
        skip = acc[..., self.channels :]
        change = interleave(
            half_up((total << self.head_shift) + skip, self.out_shift), self.upscale
        )
        change = change[
            : height * self.upscale // self.stride, : width * self.upscale // self.stride
        ]
        rows = np.arange(change.shape[0]) * self.stride // self.upscale
        columns = np.arange(change.shape[1]) * self.stride // self.upscale
        under = plane[np.ix_(rows, columns)].astype(np.int64)
        return np.asarray(np.clip(under + change, 0, 255).astype(np.uint8))

    def _stem(self, plane: NDArray[np.uint8]) -> Integers:
        """Sums of the stem, (cell rows, cell columns, channels + upscale^2)."""
        stride, kernel = self.stride, self.kernel
        cell_rows, cell_columns = (-(-size // stride) for size in plane.shape)
        before = (kernel - stride) // 2
        after = [
            stride * (cells - 1) + kernel - before - size
            for cells, size in zip((cell_rows, cell_columns), plane.shape, strict=True)
        ]
        wide = np.pad(plane, [(before, behind) for behind in after], mode="edge")
        padded = wide.astype(np.int64) - MIDDLE
        acc = np.zeros((cell_rows, cell_columns, len(self.stem_bias)), np.int64)
        acc += self.stem_bias
        for row in range(kernel):
            for column in range(kernel):
                view = padded[
                    row : row + stride * cell_rows : stride,
                    column : column + stride * cell_columns : stride,
                ][:cell_rows, :cell_columns]
                acc += view[..., None] * self.stem_weights[:, row, column].astype(np.int64)
        return acc


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"not a centred table network: {what}")
