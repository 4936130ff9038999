"""Means of table entries, rounded half to even, without division.

Each formula is tried on every sum that can occur before it is written: sums of ``count`` int8
entries lie between ``-128 * count`` and ``127 * count``.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.transforms.table_networks.arithmetic import mean_half_even

#: Entries of a mean: their sum is an int16.
MOST = 255


def sums(count: int) -> NDArray[np.int64]:
    """Every sum of ``count`` int8 numbers."""
    return np.arange(-128 * count, 127 * count + 1, dtype=np.int64)


@functools.cache
def reciprocal(count: int) -> tuple[int, int]:
    """``(m, s)`` with ``(sum * m + 2^(s-1)) >> s`` the mean of an odd number of entries.

    Nothing is half way between two integers then. The product stays below 2^31.

    Raises:
        InternalError: There is none.
    """
    every = sums(count)
    wanted = mean_half_even(every, count)
    for shift in range(8, 24):
        factor = ((1 << shift) + count // 2) // count
        if 128 * count * factor + (1 << (shift - 1)) >= 1 << 31:
            break
        if np.array_equal((every * factor + (1 << (shift - 1))) >> shift, wanted):
            return factor, shift
    raise InternalError(f"no reciprocal of {count} is exact")


def high_factor(count: int) -> int:
    """``f`` with ``(sum * f + 2^14) >> 15`` the mean: one rounding high multiplication of words.

    Raises:
        InternalError: There is none.
    """
    every = sums(count)
    factor = ((1 << 15) + count // 2) // count
    if not np.array_equal((every * factor + (1 << 14)) >> 15, mean_half_even(every, count)):
        raise InternalError(f"no factor of 16 bits for {count} is exact")
    return factor


def is_power(count: int) -> bool:
    """Whether a mean of ``count`` entries is a shift."""
    return count > 1 and count & (count - 1) == 0


def mean_function(name: str, count: int) -> str:
    """C text of ``static inline int <name>(int sum)``: the mean of ``count`` entries."""
    return f"static inline int {name}(int sum)\n{{\n{_body(count)}\n}}"


def _body(count: int) -> str:
    every = sums(count)
    if count == 1:
        return "    return sum;"
    if is_power(count):
        shift = count.bit_length() - 1
        tried = (every + (count // 2 - 1) + ((every >> shift) & 1)) >> shift
        _prove(tried, count)
        return f"    return (sum + {count // 2 - 1} + ((sum >> {shift}) & 1)) >> {shift};"
    if count % 2:
        factor, shift = reciprocal(count)
        return f"    return (sum * {factor} + {1 << (shift - 1)}) >> {shift};"
    # Half up is the floor of (sum + count / 2) / count, of a number made positive; of ties, the odd
    # ones go down again.
    offset = 128
    up = (every + count // 2 + offset * count) // count - offset
    tried = up - ((up * count - every == count // 2) & (up % 2 != 0))
    _prove(tried, count)
    return (
        f"    const int up = (sum + {count // 2 + offset * count}) / {count} - {offset};\n"
        f"    return up - ((up * {count} - sum == {count // 2}) & up & 1);"
    )


def _prove(tried: NDArray[np.int64], count: int) -> None:
    if not np.array_equal(tried, mean_half_even(sums(count), count)):
        raise InternalError(f"the mean of {count} entries is not exact")
