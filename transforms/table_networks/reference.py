"""TinyLUT's own structure: two bit branches, three or more table layers, four rotations summed.

With x = pixel - 128 one branch sees the upper six bits, ``h = x >> 2`` in [-32, 31], the other the
lower two, ``l = x & 3``. Both run, with tables of their own:

    stem   f = clamp(mean of 9 tables of a 3 x 3 window + the pixel's own index); f = g_c(f)
    stages each: (depthwise) f = clamp(mean of 9 tables of the channel's window + f); f = g_c(f)
                 (pointwise) f = clamp(mean of the tables of all channels + f); f = g_c(f)
    up     u = clamp(mean of the tables of all channels + f, -128, 127)

Windows reach two pixels up and left (anchored bottom right); the image is reflected there, features
are zero. ``mean`` rounds half to even; ``clamp`` is to the branch's range; ``g_c`` is the learned
scale of channel c (DDM), ``clamp(round(alpha_c * f))``, as a table. Branches are added and clamped
to int8, the sub-pixels interleaved; this is done for the image turned by 0, 90, 180 and 270
degrees, the four results are turned back and *summed*, and 128 is added.

Source: Li et al., "TinyLUT: Tiny Look-Up Table for Efficient Image Restoration at the Edge",
NeurIPS 2024, and the semantics of its released x4 model. S has one pointwise stage; F has six more,
each with a depthwise layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.table_networks.arithmetic import (
    Integers,
    interleave,
    look_up,
    mean_half_even,
)

#: Rows and columns a window reaches up and left.
REACH = 2
TAPS = 9


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """A depthwise layer, where there is one, and a pointwise layer.

    Attributes:
        pointwise: int8 (channels, rows, channels).
        pointwise_scale: int8 (channels, rows): g_c behind it, values in the branch's range; None
            for none.
        depthwise: int8 (channels, 9, rows), taps row by row; None for none.
        depthwise_scale: As pointwise_scale, behind the depthwise layer.
    """

    pointwise: NDArray[np.int8]
    pointwise_scale: NDArray[np.int8] | None = None
    depthwise: NDArray[np.int8] | None = None
    depthwise_scale: NDArray[np.int8] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Branch:
    """One branch.

    Attributes:
        index_shift: Right shift of ``pixel - 128``: 2 for the upper bits, 0 for the lower.
        low: Smallest index: -32, or 0 for the branch of the lower bits (``& (rows - 1)``).
        stem: int8 (9, rows, channels), taps row by row.
        stem_scale: int8 (channels, rows): g_c behind the stem; None for none.
        stages: In order, at least one.
        up: int8 (channels, rows, upscale^2).
    """

    index_shift: int
    low: int
    stem: NDArray[np.int8]
    stages: tuple[Stage, ...]
    up: NDArray[np.int8]
    stem_scale: NDArray[np.int8] | None = None

    def __post_init__(self) -> None:
        """Checks that the tables fit together."""
        taps, rows, channels = self.stem.shape
        _require(taps == TAPS and rows in (4, 16, 64), "shape of the stem's tables")
        _require(self.up.shape[:2] == (channels, rows), "shape of the last tables")
        _require(0 <= self.index_shift <= 4, "index shift")
        for name, array, shape in self._tables():
            _require(array.dtype == np.int8 and array.shape == shape, f"shape of {name}")
        for _, scale, _ in self._scales():
            _require(bool((scale >= self.low).all() and (scale <= self.high).all()), "scales")

    @property
    def rows(self) -> int:
        """Levels of an index."""
        return int(self.stem.shape[1])

    @property
    def high(self) -> int:
        """Largest index."""
        return self.low + self.rows - 1

    @property
    def channels(self) -> int:
        """Features a pixel has."""
        return int(self.stem.shape[2])

    def _scales(self) -> Iterator[tuple[str, NDArray[np.int8], tuple[int, ...]]]:
        shape = (self.channels, self.rows)
        if self.stem_scale is not None:
            yield "stem scale", self.stem_scale, shape
        for stage in self.stages:
            for scale in (stage.depthwise_scale, stage.pointwise_scale):
                if scale is not None:
                    yield "stage scale", scale, shape

    def _tables(self) -> Iterator[tuple[str, NDArray[np.int8], tuple[int, ...]]]:
        channels, rows = self.channels, self.rows
        yield from self._scales()
        yield "stem", self.stem, (TAPS, rows, channels)
        for stage in self.stages:
            if stage.depthwise is not None:
                yield "depthwise", stage.depthwise, (channels, TAPS, rows)
            yield "pointwise", stage.pointwise, (channels, rows, channels)
        yield "up", self.up, (channels, rows, int(self.up.shape[2]))

    @property
    def storage_bytes(self) -> int:
        """Bytes of all tables and scales."""
        return sum(array.nbytes for _, array, _ in self._tables())

    @property
    def lookups(self) -> int:
        """Table entries read for a pixel, in one rotation; scales are not counted."""
        channels = self.channels
        depthwise = sum(TAPS * channels for stage in self.stages if stage.depthwise is not None)
        mixing = channels * (channels * len(self.stages) + int(self.up.shape[2]))
        return TAPS * channels + depthwise + mixing

    def index(self, plane: NDArray[np.uint8]) -> Integers:
        """The branch's bits of each pixel, low to high."""
        bits = (plane.astype(np.int64) - 128) >> self.index_shift
        return ((bits - self.low) & (self.rows - 1)) + self.low

    def apply(self, plane: NDArray[np.uint8]) -> Integers:
        """The branch's sub-pixels, (height, width, upscale^2), for one orientation."""
        height, width = plane.shape
        padded = np.pad(self.index(plane), ((REACH, 0), (REACH, 0)), mode="reflect")
        views = [padded[r : r + height, c : c + width] for r in range(3) for c in range(3)]
        total = look_up(np.stack(views, axis=2) - self.low, self.stem)
        own = views[-1][..., None]
        features = self._settle(mean_half_even(total, TAPS) + own, self.stem_scale)
        for stage in self.stages:
            if stage.depthwise is not None:
                mean = mean_half_even(self._depthwise(features, stage.depthwise), TAPS)
                features = self._settle(mean + features, stage.depthwise_scale)
            mean = mean_half_even(look_up(features - self.low, stage.pointwise), self.channels)
            features = self._settle(mean + features, stage.pointwise_scale)
        mean = mean_half_even(look_up(features - self.low, self.up), self.channels)
        return np.asarray(np.clip(mean + features[..., : self.up.shape[2]], -128, 127))

    def _depthwise(self, features: Integers, tables: NDArray[np.int8]) -> Integers:
        height, width, channels = features.shape
        padded = np.pad(features, ((REACH, 0), (REACH, 0), (0, 0))) - self.low
        total = np.zeros((height, width, channels), np.int64)
        every = np.arange(channels)
        for tap in range(TAPS):
            row, column = divmod(tap, 3)
            view = padded[row : row + height, column : column + width]
            total += tables[every, tap, view].astype(np.int64)
        return total

    def _settle(self, features: Integers, scale: NDArray[np.int8] | None) -> Integers:
        """Clamps to the branch's range and applies the scale of each channel."""
        clamped = np.clip(features, self.low, self.high)
        if scale is None:
            return clamped
        every = np.arange(self.channels)
        return scale[every, clamped - self.low].astype(np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class ReferenceNetwork:
    """The whole network.

    Attributes:
        branches: One or two, of equal channels.
        upscale: Pixels of the result a pixel has on each side, 1 to 4; its square is no larger
            than the channels.
    """

    branches: tuple[Branch, ...]
    upscale: int

    def __post_init__(self) -> None:
        """Checks that the branches fit together."""
        _require(len(self.branches) in (1, 2) and 1 <= self.upscale <= 4, "branches or upscale")
        for branch in self.branches:
            _require(branch.up.shape[2] == self.upscale**2, "outputs of the last tables")
            _require(branch.channels >= self.upscale**2, "channels")
            _require(branch.channels == self.branches[0].channels, "channels")

    @property
    def storage_bytes(self) -> int:
        """Bytes of all tables and scales."""
        return sum(branch.storage_bytes for branch in self.branches)

    @property
    def lookups(self) -> int:
        """Table entries read for a pixel, all four rotations."""
        return 4 * sum(branch.lookups for branch in self.branches)

    def apply(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Runs the network in int64.

        Args:
            plane: uint8 (height, width), not empty.

        Returns:
            uint8 (height * upscale, width * upscale).

        Raises:
            ValueError: It is not a plane of bytes.
        """
        _require(plane.ndim == 2 and plane.dtype == np.uint8 and plane.size > 0, "plane")
        total = np.full([size * self.upscale for size in plane.shape], 128, np.int64)
        for turns in range(4):
            turned = np.rot90(plane, turns)
            cells = sum((branch.apply(turned) for branch in self.branches), np.int64(0))
            result = interleave(np.clip(cells, -128, 127), self.upscale)
            total += np.rot90(result, -turns)
        return np.clip(total, 0, 255).astype(np.uint8)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"not a table network: {what}")
