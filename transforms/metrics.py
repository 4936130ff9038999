"""Measures of how far a converted model is from its source.

Signal-to-noise ratios are in decibels, errors of integer tensors in LSB (steps of the output).
The accumulators take batches and keep a state that does not grow with the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def mean_squared_error(reference: ArrayLike, test: ArrayLike) -> float:
    """Mean of the squared differences, in float64.

    Args:
        reference: real values, any shape, not empty.
        test: the same shape; shapes are not broadcast.

    Returns:
        The mean; NaN where a value is NaN.

    Raises:
        ValueError: the shapes differ or there are no values.
    """
    a, b = _pair(reference, test)
    with np.errstate(invalid="ignore"):
        return float(np.mean(np.square(a - b)))


def sqnr_db(reference: ArrayLike, test: ArrayLike) -> float:
    """Signal to quantization noise ratio, ``10 log10(sum(r^2) / sum((r - t)^2))``.

    Args:
        reference: real values, any shape, not empty.
        test: the same shape.

    Returns:
        Decibels; ``inf`` where both are equal, ``-inf`` where the reference is all zero and the
        other is not, NaN where a value is NaN.

    Raises:
        ValueError: the shapes differ or there are no values.
    """
    accumulator = SqnrAccumulator()
    accumulator.update(reference, test)
    return accumulator.sqnr_db


def psnr_db(reference: ArrayLike, test: ArrayLike, peak: float) -> float:
    """Peak signal to noise ratio, ``10 log10(peak^2 / mse)``.

    Args:
        reference: real values, any shape, not empty.
        test: the same shape.
        peak: largest possible value, such as 255 or 1.0; positive.

    Returns:
        Decibels; ``inf`` where both are equal.

    Raises:
        ValueError: the peak is not positive, the shapes differ, or there are no values.
    """
    if not peak > 0:
        raise ValueError(f"peak must be positive, not {peak}")
    return _ratio_db(peak * peak, mean_squared_error(reference, test))


def top1_accuracy(scores: ArrayLike, labels: ArrayLike) -> float:
    """Fraction of samples whose largest score is at the label.

    Args:
        scores: [samples, classes]; the first of equal scores counts.
        labels: integers, [samples].

    Returns:
        The fraction, 0 to 1.

    Raises:
        ValueError: the shapes do not fit or there are no samples.
    """
    predicted = _decisions(scores)
    expected = np.asarray(labels)
    if expected.shape != predicted.shape:
        raise ValueError(f"{predicted.shape[0]} samples and labels of shape {expected.shape}")
    return float(np.mean(predicted == expected))


def agreement(reference: ArrayLike, test: ArrayLike) -> float:
    """Fraction of samples for which two models decide alike.

    Args:
        reference: scores, [samples, classes].
        test: scores, the same shape.

    Returns:
        The fraction of equal arg-max, 0 to 1.

    Raises:
        ValueError: the shapes differ or there are no samples.
    """
    if np.shape(reference) != np.shape(test):
        raise ValueError(f"shapes {np.shape(reference)} and {np.shape(test)} differ")
    return float(np.mean(_decisions(reference) == _decisions(test)))


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Confidence interval of a fraction that was observed in ``n`` independent samples.

    Wilson's score interval: unlike the normal approximation it stays within [0, 1] and is right
    at the ends. (E. B. Wilson, Journal of the American Statistical Association 22, 1927.)

    Args:
        successes: number of successes, 0..n.
        n: number of samples.
        z: quantile of the normal distribution; 1.96 gives 95 %.

    Returns:
        Lower and upper bound; (0, 1) where there are no samples.

    Raises:
        ValueError: the numbers contradict each other.
    """
    if not 0 <= successes <= n or not z >= 0:
        raise ValueError(f"{successes} successes in {n} samples with z = {z}")
    if n == 0:
        return 0.0, 1.0
    fraction = successes / n
    square = z * z / n
    center = (fraction + square / 2) / (1 + square)
    half = math.sqrt(square * (fraction * (1 - fraction) + square / 4)) / (1 + square)
    # At the ends the exact bounds are 0 and 1; the square root leaves them a rounding away.
    low = 0.0 if successes == 0 else max(center - half, 0.0)
    high = 1.0 if successes == n else min(center + half, 1.0)
    return low, high


class SqnrAccumulator:
    """Signal-to-noise ratio over batches, from running sums in float64."""

    def __init__(self) -> None:
        self._count = 0
        self._signal = 0.0
        self._noise = 0.0
        self._max_error = 0.0

    def update(self, reference: ArrayLike, test: ArrayLike) -> None:
        """Add a batch.

        Args:
            reference: real values, any shape, not empty.
            test: the same shape.

        Raises:
            ValueError: the shapes differ or there are no values.
        """
        a, b = _pair(reference, test)
        with np.errstate(invalid="ignore", over="ignore"):
            difference = a - b
            self._count += a.size
            self._signal += float(np.sum(np.square(a)))
            self._noise += float(np.sum(np.square(difference)))
            # numpy's maximum keeps a NaN, Python's max would drop it.
            self._max_error = float(np.maximum(self._max_error, np.abs(difference).max()))

    @property
    def count(self) -> int:
        """Number of values seen."""
        return self._count

    @property
    def sqnr_db(self) -> float:
        """Decibels so far, as :func:`sqnr_db` of everything at once.

        Raises:
            ValueError: nothing was added.
        """
        self._require_values()
        return _ratio_db(self._signal, self._noise)

    @property
    def mean_squared_error(self) -> float:
        """Mean squared error so far.

        Raises:
            ValueError: nothing was added.
        """
        self._require_values()
        return self._noise / self._count

    @property
    def max_error(self) -> float:
        """Largest absolute difference so far; 0 where nothing was added."""
        return self._max_error

    def _require_values(self) -> None:
        if self._count == 0:
            raise ValueError("no values were added")


class LsbHistogram:
    """How often integer outputs differ, and by how many steps.

    Errors are ``test - reference``. The histogram keeps each error up to ``limit`` in magnitude
    and counts larger ones at ``+-limit``, so its state is bounded for 32-bit outputs too; the
    largest error is exact all the same.
    """

    def __init__(self, limit: int = 65535) -> None:
        if limit < 1:
            raise ValueError(f"limit must be positive, not {limit}")
        self._limit = limit
        self._counts: dict[int, int] = {}
        self._total = 0
        self._max_error = 0

    def update(self, reference: ArrayLike, test: ArrayLike) -> None:
        """Add a batch.

        Args:
            reference: integers (or booleans) below 2^62 in magnitude, any shape.
            test: the same shape.

        Raises:
            ValueError: the shapes differ or a tensor is not of an integer type.
        """
        a, b = np.asarray(reference), np.asarray(test)
        if a.shape != b.shape:
            raise ValueError(f"shapes {a.shape} and {b.shape} differ")
        if a.dtype.kind not in "iub" or b.dtype.kind not in "iub":
            raise ValueError(f"LSB are counted on integers, not {a.dtype} and {b.dtype}")
        if a.size == 0:
            return
        difference = b.astype(np.int64) - a.astype(np.int64)
        self._total += a.size
        self._max_error = max(self._max_error, int(difference.max()), -int(difference.min()))
        clipped = np.clip(difference, -self._limit, self._limit)
        low = int(clipped.min())
        # Counted, not sorted: activations of a batch are millions of values.
        counts = np.bincount((clipped - low).ravel())
        for index in np.flatnonzero(counts).tolist():
            error = low + index
            self._counts[error] = self._counts.get(error, 0) + int(counts[index])

    @property
    def total(self) -> int:
        """Number of values compared."""
        return self._total

    @property
    def max_error(self) -> int:
        """Largest absolute error, LSB; 0 where nothing was compared."""
        return self._max_error

    @property
    def mismatches(self) -> int:
        """Number of values that differ."""
        return self._total - self._counts.get(0, 0)

    @property
    def mismatch_fraction(self) -> float:
        """Fraction of values that differ, 0 to 1; 0 where nothing was compared."""
        return self.mismatches / self._total if self._total else 0.0

    @property
    def counts(self) -> Mapping[int, int]:
        """Signed error in LSB to number of values, ascending, zero included."""
        return dict(sorted(self._counts.items()))


def _pair(reference: ArrayLike, test: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(test, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"shapes {a.shape} and {b.shape} differ")
    if a.size == 0:
        raise ValueError("there are no values to compare")
    return a, b


def _decisions(scores: ArrayLike) -> NDArray[np.int64]:
    values = np.asarray(scores)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"scores must be [samples, classes], not {values.shape}")
    return np.asarray(values.argmax(axis=1).astype(np.int64))


def _ratio_db(signal: float, noise: float) -> float:
    if math.isnan(signal) or math.isnan(noise):
        return math.nan
    if noise == 0.0:
        return math.inf
    if signal == 0.0:
        return -math.inf
    # Two logarithms: the quotient of a huge and a tiny number would overflow.
    return 10.0 * (math.log10(signal) - math.log10(noise))
