"""Bounds of a tensor, for each channel where they differ, and whether it holds integers only."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Bounds = NDArray[np.float64]

#: Integers up to here, and their sums, are exact in float32.
EXACT = float(1 << 24)


@dataclasses.dataclass(frozen=True, eq=False)
class IntegerRange:
    """What a tensor can hold.

    Attributes:
        low: smallest value, [1] or one for each channel (axis 1); may be -inf.
        high: largest value, as low.
        integer: whether it holds integers only.
    """

    low: Bounds
    high: Bounds
    integer: bool

    @property
    def lowest(self) -> float:
        """Smallest value of all channels."""
        return float(self.low.min(initial=np.inf))

    @property
    def highest(self) -> float:
        """Largest value of all channels."""
        return float(self.high.max(initial=-np.inf))

    @property
    def finite(self) -> bool:
        """Whether both bounds are known."""
        return bool(np.isfinite(self.lowest) and np.isfinite(self.highest))

    @property
    def rows(self) -> float:
        """Number of integers from the lowest to the highest value; inf where unbounded."""
        return self.highest - self.lowest + 1 if self.finite else float("inf")

    def grid(self) -> Bounds:
        """All integers of the range, [rows, channels], clamped to the bounds of each channel."""
        levels = np.arange(self.lowest, self.highest + 1)[:, None]
        return np.asarray(np.clip(levels, self.low[None], self.high[None]), np.float64)

    def levels(self) -> NDArray[np.int64]:
        """Number of integers of each channel."""
        return (self.high - self.low + 1).astype(np.int64)

    def collapsed(self) -> IntegerRange:
        """The same for all channels."""
        return IntegerRange(np.array([self.lowest]), np.array([self.highest]), self.integer)

    def union(self, other: IntegerRange) -> IntegerRange:
        """What holds the values of both."""
        first, second = aligned(self, other)
        return IntegerRange(
            np.minimum(first.low, second.low),
            np.maximum(first.high, second.high),
            self.integer and other.integer,
        )

    def narrowed(self, other: IntegerRange) -> IntegerRange:
        """What both say of one tensor."""
        first, second = aligned(self, other)
        return IntegerRange(
            np.maximum(first.low, second.low),
            np.minimum(first.high, second.high),
            self.integer or other.integer,
        )


def aligned(first: IntegerRange, second: IntegerRange) -> tuple[IntegerRange, IntegerRange]:
    """Both for each channel, or both for all."""
    sizes = {first.low.size, second.low.size} - {1}
    if len(sizes) > 1:
        return first.collapsed(), second.collapsed()
    return first, second


def bounded(low: float, high: float, integer: bool) -> IntegerRange:
    """One range for all channels."""
    return IntegerRange(np.array([float(low)]), np.array([float(high)]), integer)


#: Nothing is known.
UNKNOWN = bounded(-np.inf, np.inf, False)


def of_dtype(dtype: ir.DataType | None) -> IntegerRange:
    """What a tensor of that type can hold."""
    if dtype is None or not dtype.is_integer():
        return UNKNOWN
    if dtype.itemsize > 2:
        return bounded(-np.inf, np.inf, True)
    limits = np.iinfo(dtype.numpy())
    return bounded(limits.min, limits.max, True)


def of_array(array: NDArray[Any], rank: int) -> IntegerRange:
    """What a constant holds, broadcast to a tensor of ``rank`` axes."""
    if array.size == 0 or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        return UNKNOWN
    real = array.astype(np.float64)
    integer = bool((real == np.round(real)).all())
    shape = (1,) * (rank - real.ndim) + real.shape
    if len(shape) == rank and rank >= 2 and real.size == shape[1]:
        return IntegerRange(real.reshape(-1), real.reshape(-1), integer)
    return bounded(float(real.min()), float(real.max()), integer)
