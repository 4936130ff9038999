"""Which rows of TinyLUT's tables can be read at all: learned scales narrow the ranges (DDM).

Ranges go through the layers as intervals: a sum of entries lies between the sums of each table's
smallest and largest entry among the rows that its input reaches. Rows outside are never read, so
leaving them out loses nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.additive_tables import LayerSize
from intaglio.transforms.table_networks.arithmetic import Integers, mean_half_even
from intaglio.transforms.table_networks.reference import TAPS, Branch

#: Smallest and largest value of each channel.
Ranges = tuple[Integers, Integers]


def reachable_layers(branch: Branch) -> list[LayerSize]:
    """The layers of a branch with the rows of each table that can be read.

    Args:
        branch: The branch; its scales do not fall (they are positive).

    Returns:
        Stem, of each stage the depthwise (where there is one) and the pointwise layer, last layer.
    """
    every = np.full(branch.channels, branch.low), np.full(branch.channels, branch.high)
    stem = np.full(TAPS, branch.low), np.full(TAPS, branch.high)
    layers = [_size(stem, branch.channels)]
    mean = _mean(branch.stem, stem, branch.low)
    ranges = _settle(branch, (mean[0] + every[0], mean[1] + every[1]), branch.stem_scale)
    for stage in branch.stages:
        if stage.depthwise is not None:
            # A window reads its channel at 9 places, and 0 outside the image.
            low, high = np.minimum(ranges[0], 0), np.maximum(ranges[1], 0)
            repeated = np.repeat(low, TAPS), np.repeat(high, TAPS)
            layers.append(_size(repeated, 1))
            means = [
                _mean(tables[:, :, None], (np.full(TAPS, start), np.full(TAPS, end)), branch.low)
                for tables, start, end in zip(stage.depthwise, low, high, strict=True)
            ]
            total = [np.concatenate([mean[i] for mean in means]) for i in (0, 1)]
            ranges = _settle(
                branch, (total[0] + ranges[0], total[1] + ranges[1]), stage.depthwise_scale
            )
        layers.append(_size(ranges, branch.channels))
        mean = _mean(stage.pointwise, ranges, branch.low)
        ranges = _settle(branch, (mean[0] + ranges[0], mean[1] + ranges[1]), stage.pointwise_scale)
    layers.append(_size(ranges, branch.up.shape[2]))
    return layers


def _size(ranges: Ranges, outputs: int) -> LayerSize:
    rows = tuple(int(high - low + 1) for low, high in zip(*ranges, strict=True))
    return LayerSize(len(rows), outputs, rows)


def _mean(tables: NDArray[np.int8], ranges: Ranges, first: int) -> Ranges:
    """Range of the mean of tables [inputs, rows, outputs] for each output."""
    lowest = np.zeros(tables.shape[2], np.int64)
    highest = np.zeros(tables.shape[2], np.int64)
    for table, low, high in zip(tables.astype(np.int64), *ranges, strict=True):
        read = table[low - first : high - first + 1]
        lowest += read.min(axis=0)
        highest += read.max(axis=0)
    return mean_half_even(lowest, len(tables)), mean_half_even(highest, len(tables))


def _settle(branch: Branch, ranges: Ranges, scale: NDArray[np.int8] | None) -> Ranges:
    low, high = (np.clip(end, branch.low, branch.high) for end in ranges)
    if scale is None:
        return low, high
    channels = np.arange(branch.channels)
    table = scale.astype(np.int64)
    return table[channels, low - branch.low], table[channels, high - branch.low]
