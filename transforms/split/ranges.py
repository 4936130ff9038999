"""Dynamic ranges: each group of a sample has its own, and uniform codes within it.

A group is one stripe, or one tile of it. With ``lo`` and ``hi`` its lowest and highest value,
``r = hi - lo`` and ``n = levels - 1``::

    code  = (d M[r] + 2^17) >> 18     d = max(min(q, hi) - lo, 0), M[r] = ceil(n 2^18 / r), M[0] = 0
    value = lo + floor((2 code r + n) / (2 n))     lo where n = 0

which is ``d n / r`` rounded to nearest, halves up, without a division on the device.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.split.quantizers import multiplier
from intaglio.transforms.split.specification import Feature, Stripe

_PLACES = 18

#: Channels, rows and columns of a group.
_Part = tuple[slice, slice, slice]


def groups(feature: Feature) -> Iterator[tuple[int, Stripe, _Part]]:
    """The groups of a feature in the order of their ranges: stripe, tile row, tile column."""
    rows, columns = feature.code_plane
    tile_rows, tile_columns = feature.tiles
    side = feature.tile or max(rows, columns)
    first = index = 0
    for stripe in feature.stripes:
        channels = slice(first, first + stripe.channels)
        first += stripe.channels
        for y in range(tile_rows):
            for x in range(tile_columns):
                part = (
                    channels,
                    slice(y * side, min((y + 1) * side, rows)),
                    slice(x * side, min((x + 1) * side, columns)),
                )
                yield index, stripe, part
                index += 1


def find_ranges(planes: NDArray[np.int8], feature: Feature) -> NDArray[np.int8]:
    """Lowest and highest value of each group.

    Args:
        planes: Values to be coded, [N, code channels, rows, columns] in wire order.
        feature: Stripes and tiles.

    Returns:
        [N, side_bytes]: lowest, highest, group by group.
    """
    found = np.empty((len(planes), feature.side_bytes), np.int8)
    for index, _, (channels, rows, columns) in groups(feature):
        part = planes[:, channels, rows, columns]
        found[:, 2 * index] = part.min(axis=(1, 2, 3))
        found[:, 2 * index + 1] = part.max(axis=(1, 2, 3))
    return found


def encode_dynamic(
    planes: NDArray[np.int8], ranges: NDArray[np.int8], feature: Feature
) -> NDArray[np.uint8]:
    """Codes of values within the ranges of their groups.

    Args:
        planes: Values [N, code channels, rows, columns] in wire order.
        ranges: [N, side_bytes].
        feature: Stripes and tiles.

    Returns:
        Codes of the same shape as ``planes``.
    """
    found = np.empty(planes.shape, np.uint8)
    for index, stripe, (channels, rows, columns) in groups(feature):
        low, high = _ends(ranges, index)
        factors = np.array([multiplier(stripe.levels, span) for span in range(256)], np.int64)
        distance = planes[:, channels, rows, columns].astype(np.int64)
        distance = np.maximum(np.minimum(distance, high) - low, 0)
        code = (distance * factors[high - low] + (1 << (_PLACES - 1))) >> _PLACES
        found[:, channels, rows, columns] = code
    return found


def decode_dynamic(
    codes: NDArray[np.uint8], ranges: NDArray[np.int8], feature: Feature
) -> NDArray[np.int8]:
    """The values that codes stand for.

    Args:
        codes: [N, code channels, rows, columns].
        ranges: [N, side_bytes].
        feature: Stripes and tiles.

    Returns:
        Values of the same shape.
    """
    found = np.empty(codes.shape, np.int8)
    for index, stripe, (channels, rows, columns) in groups(feature):
        low, high = _ends(ranges, index)
        code = codes[:, channels, rows, columns].astype(np.int64)
        last = stripe.levels - 1
        step = (2 * code * (high - low) + last) // (2 * last) if last else 0 * code
        found[:, channels, rows, columns] = low + step
    return found


def _ends(ranges: NDArray[np.int8], index: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ends = ranges[:, 2 * index : 2 * index + 2].astype(np.int64)[:, :, None, None, None]
    return ends[:, 0], ends[:, 1]
