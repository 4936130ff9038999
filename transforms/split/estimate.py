"""About how many bits a feature takes on the wire, for ranking cuts before a codec is fitted.

A coarse quantizer stands for those to come: ``LEVELS`` uniform levels over the range of each
channel, drawn in to ``CLIP`` of it towards the channel's median, then as many bits an element as
the entropy of the channel's levels::

    bits = sum over channels of  -elements * sum over levels of  p * log2 p

No codec gives exactly this: a fitted one knows neighbours and spends levels where they count, a
frame has headers. But features that take much more than others here do so there, too.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Levels of the quantizer: 3 bits.
LEVELS = 8
#: Fraction of a channel's range that they cover.
CLIP = 0.7

_BYTES = 256


def estimate_bits(features: ArrayLike) -> float:
    """Bits a sample that a 3-bit entropy-coded quantizer would need: for ranking only.

    Args:
        features: ``[N, C, ...]`` of samples and channels; int8, or real numbers, which are taken
            at 256 levels from the least to the largest.

    Returns:
        The estimate (see the module).

    Raises:
        ValueError: There are no channels, no samples, or numbers that are not finite.
    """
    array = np.asarray(features)
    if array.dtype != np.int8:
        if not np.isfinite(array).all():
            raise ValueError("features are not all finite")
        if array.size:
            array = to_bytes(array, float(array.min()), float(array.max()))
    counts = count_bytes(array)
    return estimate_from_counts(counts, len(array))


def to_bytes(features: NDArray[np.generic], low: float, high: float) -> NDArray[np.int8]:
    """Real numbers as int8 at 256 levels from ``low`` to ``high``, clipped to them."""
    span = high - low
    if span <= 0:
        return np.full(features.shape, -128, np.int8)
    levels = np.rint((features.astype(np.float64) - low) * ((_BYTES - 1) / span))
    return np.asarray(np.clip(levels, 0, _BYTES - 1) - 128).astype(np.int8)


def count_bytes(features: NDArray[np.int8]) -> NDArray[np.int64]:
    """How often each channel has each value.

    Args:
        features: int8 ``[N, C, ...]``.

    Returns:
        int64 ``[C, 256]``, for -128 to 127; to be summed over batches.
    """
    if features.ndim < 2 or not features.size:
        raise ValueError(f"features of shape {features.shape} have no samples and channels")
    channels = features.shape[1]
    rows = np.moveaxis(features, 1, 0).reshape(channels, -1).astype(np.int64) + 128
    rows += np.arange(channels)[:, None] * _BYTES
    counts = np.bincount(rows.reshape(-1), minlength=channels * _BYTES)
    return counts.reshape(channels, _BYTES).astype(np.int64)


def estimate_from_counts(counts: NDArray[np.int64], samples: int) -> float:
    """What :func:`estimate_bits` says, of features counted by :func:`count_bytes`.

    Args:
        counts: ``[C, 256]``.
        samples: How many samples they are of.

    Raises:
        ValueError: There are no samples.
    """
    if samples < 1:
        raise ValueError("there are no samples")
    return math.fsum(_channel_bits(row) for row in counts) / samples


def _channel_bits(counts: NDArray[np.int64]) -> float:
    """Bits of all elements of a channel."""
    values = np.flatnonzero(counts)
    if len(values) < 2:
        return 0.0
    present = counts[values]
    total = int(present.sum())
    median = values[np.searchsorted(np.cumsum(present), total / 2)]
    low = median - CLIP * (median - values[0])
    high = median + CLIP * (values[-1] - median)
    codes = np.rint((np.clip(values, low, high) - low) * ((LEVELS - 1) / (high - low)))
    share = np.bincount(codes.astype(np.int64), weights=present) / total
    share = share[share > 0]
    return float(-total * np.sum(share * np.log2(share)))
