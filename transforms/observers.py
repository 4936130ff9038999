"""Observers: the range of a tensor from batches, in a state of fixed size.

An observer sees the values once and answers with a real range ``(low, high)`` to quantize.

=============  ================================================================================
minmax         the extremes
percentile     all but a small fraction beyond each end
entropy        the range that loses least information (Kullback-Leibler divergence)
mse            the range with the least expected squared error
=============  ================================================================================

The last three read a :class:`~intaglio.transforms.histogram.Histogram`. Exact zeros have no part
in them: a quantizer represents zero exactly whatever its range, and after a ReLU zeros would
outvote all other values. Since a quantizer's range holds zero anyway, an end is only moved on its
own side of zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from intaglio.transforms.histogram import Histogram, finite_extremes, to_real

# Ends are shrunk by factors of a geometric grid, from 1 to 1/256 in steps of 45 %; then the
# neighbors of the best point are tried, halving the step each time until it is 1 %. Both criteria
# are flat at the optimum.
_SMALLEST_SHRINK = 1.0 / 256.0
_COARSE_STEPS = 16
_REFINEMENTS = 5


class Observer(Protocol):
    """What calibration asks of an observer."""

    def update(self, x: ArrayLike) -> None:
        """Take a batch of real values of any shape; ValueError if one is NaN or infinite."""
        ...

    def range(self) -> tuple[float, float]:
        """The real range to quantize; ValueError before the first value."""
        ...


class MinMaxObserver:
    """The extremes of all values."""

    def __init__(self) -> None:
        self._low = math.inf
        self._high = -math.inf

    def update(self, x: ArrayLike) -> None:
        """Take a batch.

        Args:
            x: real values, any shape; may be empty.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        values = to_real(x)
        if values.size == 0:
            return
        low, high = finite_extremes(values)
        self._low, self._high = min(self._low, low), max(self._high, high)

    def range(self) -> tuple[float, float]:
        """The extremes.

        Returns:
            Smallest and largest value.

        Raises:
            ValueError: no value was seen.
        """
        if self._low > self._high:
            raise ValueError("no values were observed")
        return self._low, self._high


class HistogramObserver:
    """A histogram of all values; its range is that of the extremes. Base of the other three.

    Values may be weighted, where an error counts more in some than in others.
    """

    def __init__(self, bins: int = 2048) -> None:
        self._histogram = Histogram(bins)

    @property
    def histogram(self) -> Histogram:
        """The histogram so far."""
        return self._histogram

    def update(self, x: ArrayLike, weights: ArrayLike | None = None) -> None:
        """Take a batch.

        Args:
            x: real values, any shape; may be empty.
            weights: how much each value counts; see
                :meth:`intaglio.transforms.histogram.Histogram.update`.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        self._histogram.update(x, weights)

    def range(self) -> tuple[float, float]:
        """The range to quantize.

        Returns:
            Low and high, within the extremes (and zero).

        Raises:
            ValueError: no value was seen.
        """
        if self._histogram.total == 0:
            raise ValueError("no values were observed")
        low, high = self._histogram.minimum, self._histogram.maximum
        if self._histogram.zeros == self._histogram.total or low == high:
            return low, high
        return self._choose(low, high)

    def _choose(self, low: float, high: float) -> tuple[float, float]:
        return low, high


class PercentileObserver(HistogramObserver):
    """The range that leaves ``100 - percentile`` percent of the non-zero values beyond each end.

    Quantiles are interpolated within a bin, so they are exact to a bin's width.
    """

    def __init__(self, percentile: float = 99.99, bins: int = 2048) -> None:
        if not 50.0 < percentile <= 100.0:
            raise ValueError(f"percentile must be in (50, 100], not {percentile}")
        super().__init__(bins)
        self._fraction = percentile / 100.0

    def _choose(self, low: float, high: float) -> tuple[float, float]:
        lower, upper, counts = self._histogram.occupied()
        # Piecewise linear distribution function; its knots are the ends of the occupied bins.
        mass = np.concatenate([[0.0], np.repeat(np.cumsum(counts), 2)[:-1]])
        knots = np.stack([lower, upper], axis=1).reshape(-1)
        tail = (1.0 - self._fraction) * float(mass[-1])
        if low < 0.0:
            low = min(float(np.interp(tail, mass, knots)), 0.0)
        if high > 0.0:
            high = max(float(np.interp(mass[-1] - tail, mass, knots)), 0.0)
        return low, high


class EntropyObserver(HistogramObserver):
    """The range whose quantized distribution is closest to the real one.

    For a candidate range, P is the histogram with everything outside moved into the outermost
    bins inside, and Q what is left of the inside after quantization: the values of each level
    spread evenly over its occupied bins. Chosen is the range with the least Kullback-Leibler
    divergence ``sum(P log(P / Q))``. (S. Migacz, "8-bit Inference with TensorRT", GTC 2017.)

    Differences to that talk: bins are assigned to the levels that the quantizer really has,
    asymmetric and with zero on the grid; both ends are searched; exact zeros are left out; Q is a
    share of all values, not rescaled to sum to one, since otherwise clipping everything into one
    bin would be perfect; and the divergence that mere sampling noise causes, ``(bins - levels) /
    2n`` in expectation, is subtracted, since otherwise few samples make every clipping look good.

    Where the extremes are no more bins apart than there are levels, the histogram says nothing
    about quantization, and the extremes are returned.
    """

    def __init__(self, bins: int = 2048, levels: int = 256, symmetric: bool = False) -> None:
        super().__init__(bins)
        self._levels = _checked_levels(levels)
        self._symmetric = symmetric

    def _choose(self, low: float, high: float) -> tuple[float, float]:
        lower, upper, counts = self._histogram.occupied()
        centers = (lower + upper) / 2
        if high - low <= self._levels * self._histogram.width:
            return low, high

        def divergence(candidate_low: float, candidate_high: float) -> float:
            return _divergence(centers, counts, candidate_low, candidate_high, self._levels)

        return _search(divergence, low, high, self._symmetric)


class MseObserver(HistogramObserver):
    """The range with the least expected squared error of rounding and clipping together.

    The error is integrated exactly over each bin, values taken to be uniform within one, for the
    quantizer that the range gives: ``levels`` levels, zero on the grid.
    """

    def __init__(self, bins: int = 2048, levels: int = 256, symmetric: bool = False) -> None:
        super().__init__(bins)
        self._levels = _checked_levels(levels)
        self._symmetric = symmetric

    def _choose(self, low: float, high: float) -> tuple[float, float]:
        lower, upper, counts = self._histogram.occupied()

        def error(candidate_low: float, candidate_high: float) -> float:
            return squared_error(lower, upper, counts, candidate_low, candidate_high, self._levels)

        return _search(error, low, high, self._symmetric)


#: Observer name to class, as recipes and the command line write it.
OBSERVERS: Mapping[str, Callable[..., Observer]] = MappingProxyType(
    {
        "minmax": MinMaxObserver,
        "percentile": PercentileObserver,
        "entropy": EntropyObserver,
        "mse": MseObserver,
    }
)


def make_observer(name: str, **options: float) -> Observer:
    """A new observer by name.

    Args:
        name: a key of :data:`OBSERVERS`.
        **options: arguments of that class.

    Returns:
        The observer, empty.

    Raises:
        ValueError: no such observer or option, or an option has a bad value.
    """
    if name not in OBSERVERS:
        raise ValueError(f"unknown observer {name!r}; known: {', '.join(OBSERVERS)}")
    try:
        return OBSERVERS[name](**options)
    except TypeError as error:
        raise ValueError(f"observer {name!r}: {error}") from error


def squared_error(
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    counts: NDArray[np.float64],
    low: float,
    high: float,
    levels: int,
) -> float:
    """Expected total squared error of quantizing a histogram.

    The antiderivative of the squared error is ``s^3 (n/12 + r^3/3)`` at ``x = s (n + r)`` with
    ``n`` the nearest level, continued beyond the ends by ``(x - end)^3 / 3``.

    Args:
        lower: lower ends of the bins, float64[k].
        upper: upper ends, float64[k]; a bin may be a point.
        counts: values in each bin, float64[k].
        low: low end of the range to quantize.
        high: high end.
        levels: number of levels, asymmetric with zero on the grid.

    Returns:
        Sum over all values of the squared error.
    """
    step, first = _grid(low, high, levels)
    # In units of the step, with the levels at whole numbers.
    a, b = lower / step, upper / step
    last = first + levels - 1

    def antiderivative(x: NDArray[np.float64]) -> NDArray[np.float64]:
        nearest = np.minimum(np.maximum(np.rint(x), first), last)
        offset = x - nearest
        return np.asarray(nearest / 12 + offset * offset * offset / 3)

    width = b - a
    # Too narrow to divide a difference by: as good as a point.
    narrow = width < 1e-6 * np.maximum(1.0, np.abs(a))
    middle = (a + b) / 2
    at_point = np.square(middle - np.clip(np.rint(middle), first, last))
    integral = antiderivative(b) - antiderivative(a)
    mean = np.where(narrow, at_point, integral / np.where(narrow, 1.0, width))
    return float(np.dot(counts, mean)) * step * step


def _divergence(
    centers: NDArray[np.float64],
    counts: NDArray[np.float64],
    low: float,
    high: float,
    levels: int,
) -> float:
    inside = (centers >= low) & (centers <= high)
    kept = counts[inside]
    if kept.size == 0:
        return math.inf
    step, first = _grid(low, high, levels)
    level = np.clip(np.rint(centers[inside] / step) - first, 0, levels - 1).astype(np.intp)
    mass = np.bincount(level, weights=kept, minlength=levels)
    width = np.bincount(level, minlength=levels)
    q = mass[level] / width[level]
    p = kept.copy()
    p[0] += counts[centers < low].sum()
    p[-1] += counts[centers > high].sum()
    total = float(counts.sum())
    divergence = float(np.dot(p, np.log(p / q))) / total
    noise = (kept.size - int(np.count_nonzero(width))) / (2 * total)
    return divergence - noise


def _grid(low: float, high: float, levels: int) -> tuple[float, int]:
    """Step of the quantizer of a range, and the number of its first level counted from zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = high / (levels - 1) - low / (levels - 1)
    return step, round(low / step)


def _search(
    cost: Callable[[float, float], float], low: float, high: float, symmetric: bool
) -> tuple[float, float]:
    """The cheapest range among those with the ends shrunk toward zero, each on its own.

    Of equally cheap ranges the widest is taken. An end on the wrong side of zero (all values have
    one sign) is not moved: the quantizer's range begins at zero there.
    """
    ratio = _SMALLEST_SHRINK ** (1.0 / (_COARSE_STEPS - 1))
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    moves_low, moves_high = low < 0.0, high > 0.0
    if not moves_low and not moves_high:
        return low, high
    best, best_cost = (0.0, 0.0), math.inf
    # Powers of the ratio for either end: 0 leaves it where it is.
    low_powers = high_powers = np.arange(_COARSE_STEPS, dtype=np.float64)
    spacing = 1.0
    for _ in range(_REFINEMENTS + 1):
        for i in low_powers if moves_low else (0.0,):
            for j in (i,) if symmetric else high_powers if moves_high else (0.0,):
                candidate = cost(low * ratio**i, high * ratio**j)
                if candidate < best_cost:
                    best, best_cost = (float(i), float(j)), candidate
        spacing /= 2
        offsets = np.array([-spacing, 0.0, spacing])
        low_powers, high_powers = (np.maximum(end + offsets, 0.0) for end in best)
    return low * ratio ** best[0], high * ratio ** best[1]


def _checked_levels(levels: int) -> int:
    if levels < 2:
        raise ValueError(f"a quantizer has at least 2 levels, not {levels}")
    return levels
