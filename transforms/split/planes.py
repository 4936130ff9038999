"""A feature as planes of values that share a code, and back.

Places that share a code are averaged; the average is an int8 value like any other, and what
quantizers are designed for. Without sharing the planes are the feature itself, channels in wire
order.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Byte = TypeVar("_Byte", np.int8, np.uint8)


def as_planes(feature: NDArray[np.int8]) -> NDArray[np.int8]:
    """``[N, C]``, ``[N, C, T]`` or ``[N, C, H, W]`` as ``[N, C, H, W]``."""
    shape = feature.shape
    rows, columns = (1, 1, *shape[2:])[-2:]
    return feature.reshape(shape[0], shape[1], rows, columns)


def average(planes: NDArray[np.int8], share: int, patch: int) -> NDArray[np.int8]:
    """The mean of each group of values that share a code, halves rounded up.

    Args:
        planes: Values [N, C, H, W], channels in wire order.
        share: Channels that share a code.
        patch: Rows and columns that share a code; groups at the border have fewer.

    Returns:
        Means [N, C / share, ceil(H / patch), ceil(W / patch)].
    """
    if share == patch == 1:
        return planes
    samples, channels, rows, columns = planes.shape
    wide = planes.astype(np.int64).reshape(samples, channels // share, share, rows, columns).sum(2)
    starts = (np.arange(0, rows, patch), np.arange(0, columns, patch))
    sums = np.add.reduceat(np.add.reduceat(wide, starts[0], axis=2), starts[1], axis=3)
    heights = np.minimum(patch, rows - starts[0])
    widths = np.minimum(patch, columns - starts[1])
    count = share * np.outer(heights, widths)
    means: NDArray[np.int8] = ((2 * sums + count) // (2 * count)).astype(np.int8)
    return means


def spread(
    values: NDArray[_Byte], share: int, patch: int, shape: tuple[int, ...]
) -> NDArray[_Byte]:
    """Every value at all the places that share it: the opposite of :func:`average`.

    Args:
        values: [N, C / share, ceil(H / patch), ceil(W / patch)].
        share: Channels that share a code.
        patch: Rows and columns that share a code.
        shape: Shape of the planes, ``(N, C, H, W)``.
    """
    if share == patch == 1:
        return values
    wide = np.repeat(np.repeat(np.repeat(values, share, 1), patch, 2), patch, 3)
    return wide[:, :, : shape[2], : shape[3]]
