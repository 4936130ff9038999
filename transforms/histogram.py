"""A streaming histogram of fixed size whose range grows without losing a count.

Bins are ``2^e`` wide and begin at multiples of ``2^e``, with ``e`` the smallest exponent for which
``bins`` of them span all values so far. When the range outgrows them, ``e`` rises and each aligned
pair of bins becomes one, so counts stay exact; scaling by a power of two is exact as well. The
state therefore depends on the set of values alone, not on their order or on how they were batched.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Values are taken in pieces that stay in a processor's cache, which also bounds the memory.
_PIECE = 1 << 18
# Narrower bins have no use, and their reciprocal must be a float32.
_SMALLEST_EXPONENT = -120
# Bin numbers counted from zero stay below this, so that one bin holds values that float32 tells
# apart and the integers are small.
_LARGEST_INDEX = 1 << 31


class Histogram:
    """Counts of real values in equal bins, and their exact extremes.

    Exact zeros are counted apart (:attr:`zeros`) and stand in no bin: after a ReLU they are most
    of the values, they cost a quantizer nothing, and they would drown everything else.
    """

    def __init__(self, bins: int = 2048) -> None:
        if bins < 2:
            raise ValueError(f"a histogram needs at least 2 bins, not {bins}")
        self._counts: NDArray[Any] = np.zeros(bins, dtype=np.int64)
        self._first = 0  # number of the first bin, counted from zero in steps of the width
        self._exponent: int | None = None
        self._minimum = math.inf
        self._maximum = -math.inf
        self._total = 0
        self._zeros = 0

    def update(self, x: ArrayLike, weights: ArrayLike | None = None) -> None:
        """Count values.

        Args:
            x: real values, any shape; float32 and float64 are taken as they are. May be empty.
            weights: how much each value counts, at least 0, of a shape that broadcasts to that of
                ``x``; 1 where not given. Values of weight 0 still widen the range.

        Raises:
            ValueError: a value is NaN or infinite; nothing of ``x`` is counted then.
        """
        array = to_real(x)
        values = array.reshape(-1)
        if values.size == 0:
            return
        each: NDArray[np.float64] | None = None
        if weights is not None:
            each = np.broadcast_to(np.asarray(weights, np.float64), array.shape).reshape(-1)
            self._counts = self._counts.astype(np.float64, copy=False)
        low, high = finite_extremes(values)
        self._minimum = min(self._minimum, low)
        self._maximum = max(self._maximum, high)
        self._grow()
        for start in range(0, values.size, _PIECE):
            piece = slice(start, start + _PIECE)
            self._count(values[piece], None if each is None else each[piece])

    @property
    def minimum(self) -> float:
        """Smallest value seen; ``inf`` before the first."""
        return self._minimum

    @property
    def maximum(self) -> float:
        """Largest value seen; ``-inf`` before the first."""
        return self._maximum

    @property
    def total(self) -> int:
        """Number of values seen, zeros included."""
        return self._total

    @property
    def zeros(self) -> int:
        """Number of exact zeros seen."""
        return self._zeros

    @property
    def counts(self) -> NDArray[Any]:
        """int64[bins]: number of values in each bin, exact zeros left out.

        float64[bins] where weights were given: the sum of the weights.
        """
        return np.array(self._counts)

    @property
    def width(self) -> float:
        """Width of a bin, a power of two; 0 before the first value."""
        return 0.0 if self._exponent is None else math.ldexp(1.0, self._exponent)

    @property
    def edges(self) -> NDArray[np.float64]:
        """float64[bins + 1]: ends of the bins. A bin holds its lower end, not its upper one."""
        numbers = self._first + np.arange(len(self._counts) + 1, dtype=np.float64)
        # The bin of the largest floats ends at infinity.
        with np.errstate(over="ignore"):
            return np.asarray(numbers * self.width)

    def occupied(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The bins that hold values, cut off at the extremes.

        Cutting matters where many values sit exactly at an end, as after a clip: their bin shrinks
        to a point.

        Returns:
            Lower ends, upper ends and counts, each float64[k] with k the number of such bins.
        """
        index = np.flatnonzero(self._counts)
        edges = self.edges
        low = np.clip(edges[index], self._minimum, self._maximum)
        high = np.clip(edges[index + 1], self._minimum, self._maximum)
        return low, high, self._counts[index].astype(np.float64)

    def _grow(self) -> None:
        """Move and widen the bins until they span the extremes."""
        exponent = self._fitting_exponent()
        first = _bin_number(self._minimum, exponent)
        if self._exponent == exponent and self._first == first:
            return
        if self._exponent is not None:
            index = np.flatnonzero(self._counts)
            moved = ((self._first + index) >> min(exponent - self._exponent, 63)) - first
            counts = np.zeros_like(self._counts)
            np.add.at(counts, moved, self._counts[index])
            self._counts = counts
        self._exponent, self._first = exponent, first

    def _fitting_exponent(self) -> int:
        # Bins must be wider than the first and at least the second; start below both. The ends
        # are halved before they are subtracted, since their difference could overflow.
        spread = (self._maximum / 2 - self._minimum / 2) / len(self._counts)
        magnitude = max(abs(self._minimum), abs(self._maximum)) / _LARGEST_INDEX
        widest = max(spread, magnitude)
        exponent = _SMALLEST_EXPONENT
        if widest > 0.0:
            exponent = max(math.frexp(widest)[1] - 2, exponent)
        if self._exponent is not None:
            exponent = max(exponent, self._exponent)
        while not self._fits(exponent):
            exponent += 1
        return exponent

    def _fits(self, exponent: int) -> bool:
        low = _bin_number(self._minimum, exponent)
        high = _bin_number(self._maximum, exponent)
        return high - low < len(self._counts) and max(abs(low), abs(high)) <= _LARGEST_INDEX

    def _count(self, values: NDArray[Any], weights: NDArray[np.float64] | None) -> None:
        assert self._exponent is not None
        # A power of two in the type of the values: the product is exact and stays in that type.
        reciprocal = values.dtype.type(math.ldexp(1.0, -self._exponent))
        scaled = values * reciprocal
        if self._exponent > 0 and self._minimum < 0.0:
            # A tiny negative value may underflow to zero; it belongs into the bin below.
            scaled[(scaled == 0) & (values < 0)] = -1
        numbers = np.floor(scaled).astype(np.intp)
        numbers -= self._first
        zero = values == 0
        if weights is not None:
            # Taken out before they are added: sums of floats could not be taken back exactly.
            weights = np.where(zero, 0.0, weights)
        self._counts += np.bincount(numbers, weights, len(self._counts))
        self._total += values.size
        if self._minimum <= 0.0 <= self._maximum:
            zeros = int(np.count_nonzero(zero))
            self._zeros += zeros
            if weights is None:
                self._counts[-self._first] -= zeros


def to_real(x: ArrayLike) -> NDArray[Any]:
    """An array of float32 or float64 with the values of ``x``.

    Args:
        x: real values; float32 and float64 are not copied, smaller floats become float32, integers
            and booleans float64.

    Returns:
        The values, same shape.

    Raises:
        ValueError: the values are not real numbers.
    """
    array = np.asarray(x)
    if array.dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        return array
    if array.dtype.kind in "iub":
        return array.astype(np.float64)
    if array.dtype.kind in "fV":  # V: the small floats of ml_dtypes
        return array.astype(np.float32)
    raise ValueError(f"cannot observe {array.dtype}")


def finite_extremes(values: NDArray[Any]) -> tuple[float, float]:
    """Smallest and largest value.

    Args:
        values: real, not empty.

    Returns:
        Both as Python floats.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    # Minimum and maximum carry NaN and infinity along, so no other pass over the data is needed.
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("cannot observe NaN or infinity")
    return low, high


def _bin_number(value: float, exponent: int) -> int:
    scaled = math.ldexp(value, -exponent)
    # An underflow to -0.0 belongs into the bin below zero.
    return -1 if value < 0.0 == scaled else math.floor(scaled)
