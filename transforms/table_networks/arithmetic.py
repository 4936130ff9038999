"""Rounding and windows that both structures of table networks share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def half_up(value: Integers, shift: int) -> Integers:
    """``value / 2^shift``, rounded to nearest, ties up: ``(value + 2^(shift-1)) >> shift``."""
    return value if shift == 0 else (value + (1 << (shift - 1))) >> shift


def mean_half_even(total: Integers, count: int) -> Integers:
    """``total / count``, rounded to nearest, ties to even.

    Args:
        total: Sums of ``count`` table entries.
        count: Positive.
    """
    floor, rest = np.divmod(total, count)
    above = (2 * rest > count) | ((2 * rest == count) & (floor % 2 != 0))
    result: Integers = floor + above
    return result


def look_up(indices: Integers, tables: NDArray[Any]) -> Integers:
    """Sum over channels of one table row each.

    Args:
        indices: Row numbers, (height, width, channels).
        tables: (channels, rows, outputs).

    Returns:
        ``sum_c tables[c, indices[..., c]]``, (height, width, outputs).
    """
    result = np.zeros((*indices.shape[:2], tables.shape[2]), np.int64)
    for channel, table in enumerate(tables.astype(np.int64)):
        result += table[indices[..., channel]]
    return result


def interleave(cells: Integers, side: int) -> Integers:
    """Puts the ``side * side`` values of each cell into a plane, row by row.

    Args:
        cells: (height, width, side * side).
        side: Rows and columns of a cell.

    Returns:
        (height * side, width * side).
    """
    height, width, _ = cells.shape
    blocks = cells.reshape(height, width, side, side)
    return np.asarray(blocks.transpose(0, 2, 1, 3).reshape(height * side, width * side))
