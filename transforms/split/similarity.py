"""Which channels are alike: their order on the wire, and which earlier channel foretells a code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ORDERS = ("none", "range", "similarity")

#: Codes from here on count as one where channels are compared.
_CLASSES = 4


def channel_order(features: NDArray[np.int8], kind: str) -> list[int]:
    """The order of channels on the wire.

    Args:
        features: Calibration features [N, C, H, W].
        kind: ``none`` (as they are), ``range`` (by largest value) or ``similarity`` (a greedy
            chain: from the channel that varies most always on to the one left that has the highest
            Pearson correlation with the last).

    Returns:
        The channel at each place; a permutation of 0..C-1.

    Raises:
        ValueError: There is no such order.
    """
    channels = features.shape[1]
    if kind == "none":
        return list(range(channels))
    if kind == "range":
        spans = np.ptp(features.astype(np.int16), axis=(0, 2, 3))
        return [int(c) for c in np.argsort(-spans, kind="stable")]
    if kind != "similarity":
        raise ValueError(f"there is no order {kind!r}")
    correlation, power = _correlations(features)
    chain = [int(np.argmax(power))]
    left = [c for c in range(channels) if c != chain[0]]
    while left:
        best = max(left, key=lambda c: (correlation[chain[-1], c], -c))
        chain.append(best)
        left.remove(best)
    return chain


def _correlations(
    features: NDArray[np.int8],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pearson correlations of all pairs of channels, and the power of each."""
    channels = features.shape[1]
    sums = np.zeros(channels)
    products = np.zeros((channels, channels))
    count = 0
    for sample in features:
        rows = sample.reshape(channels, -1).astype(np.float64)
        sums += rows.sum(axis=1)
        products += rows @ rows.T
        count += rows.shape[1]
    mean = sums / count
    covariance = products / count - np.outer(mean, mean)
    power = np.maximum(np.diag(covariance), 0.0)
    scale = np.sqrt(np.maximum(np.outer(power, power), 1e-12))
    return covariance / scale, power


def choose_references(codes: NDArray[np.uint8], lanes: int) -> list[int]:
    """For each channel the earlier one whose code at the same place says most about its own.

    Args:
        codes: Codes of calibration samples [N, C, R, K], channels in wire order.
        lanes: A reference lies in an earlier group of so many channels.

    Returns:
        A channel index each, -1 in the first group or where nothing is learned. What is compared
        is the mutual information of the codes.
    """
    channels = codes.shape[1]
    if channels <= lanes:
        return [-1] * channels
    capped = np.minimum(codes, _CLASSES - 1).transpose(1, 0, 2, 3).reshape(channels, -1)
    ones = np.stack([capped == k for k in range(_CLASSES)], axis=1).astype(np.float32)
    flat = ones.reshape(channels * _CLASSES, -1)
    joint = (flat @ flat.T / flat.shape[1]).reshape(channels, _CLASSES, channels, _CLASSES)
    own = ones.mean(axis=2)
    independent = own[:, :, None, None] * own[None, None]
    ratio = np.divide(joint, independent, out=np.ones_like(joint), where=joint > 0)
    shared = (joint * np.log2(ratio)).sum(axis=(1, 3))
    found = []
    for channel in range(channels):
        earlier = channel // lanes * lanes
        best = int(np.argmax(shared[channel, :earlier])) if earlier else -1
        found.append(best if best >= 0 and shared[channel, best] > 1e-4 else -1)
    return found
