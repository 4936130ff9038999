"""Statistics of codes for the entropy coder: contexts, frequencies, and the bits they promise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.split.specification import TOTAL, Feature


def quantize_frequencies(counts: NDArray[np.float64], total: int = TOTAL) -> NDArray[np.uint16]:
    """Whole frequencies that sum to ``total``, at least 1 each, for the fewest bits.

    Starts from rounded shares and then moves one at a time to where it saves most bits, or away
    from where it costs least: a count ``n`` at frequency ``f`` costs ``-n log2(f)`` bits.

    Args:
        counts: How often each code occurs: [levels], not negative.
        total: What they are to sum to; at least as many as there are codes.
    """
    levels = len(counts)
    weights = np.asarray(counts, np.float64)
    whole = float(weights.sum())
    if levels > total or levels == 0:
        raise ValueError(f"{levels} codes and a total of {total}")
    if whole <= 0:
        weights, whole = np.ones(levels), float(levels)
    found = np.maximum(np.floor(weights / whole * total + 0.5).astype(np.int64), 1)
    while (left := total - int(found.sum())) != 0:
        if left > 0:
            found[int(np.argmax(weights * np.log2((found + 1) / found)))] += 1
        else:
            smaller = np.maximum(found - 1, 1)
            cost = np.where(found > 1, weights * np.log2(found / smaller), np.inf)
            found[int(np.argmin(cost))] -= 1
    return found.astype(np.uint16)


def context_of(codes: NDArray[np.uint8], feature: Feature) -> NDArray[np.int32]:
    """The context of each code.

    ``(min(left, a) (b+1) + min(upper, b)) (r+1) + min(reference, r)`` for caps ``(a, b, r)``;
    neighbors beyond the border count as 0, and so does a reference that there is none of.

    Args:
        codes: [N, code channels, rows, columns], channels in wire order.
        feature: Caps and references.

    Returns:
        Integers below ``feature.contexts``, of the same shape.
    """
    a, b, r = feature.caps
    left, upper, reference = (np.zeros(codes.shape, np.int32) for _ in range(3))
    if a:
        left[..., 1:] = np.minimum(codes[..., :-1], a)
    if b:
        upper[..., 1:, :] = np.minimum(codes[..., :-1, :], b)
    if r:
        for channel, other in enumerate(feature.references):
            if other >= 0:
                reference[:, channel] = np.minimum(codes[:, other], r)
    found: NDArray[np.int32] = (left * (b + 1) + upper) * (r + 1) + reference
    return found


def count_contexts(codes: NDArray[np.uint8], feature: Feature) -> list[NDArray[np.float64]]:
    """How often each code occurs in each context, stripe by stripe.

    Args:
        codes: [N, code channels, rows, columns], channels in wire order.
        feature: Stripes, caps and references.

    Returns:
        For each stripe [contexts, levels].
    """
    contexts = context_of(codes, feature)
    made, first = [], 0
    for stripe in feature.stripes:
        part = slice(first, first + stripe.channels)
        index = contexts[:, part].astype(np.int64) * stripe.levels + codes[:, part]
        counts = np.bincount(index.reshape(-1), minlength=feature.contexts * stripe.levels)
        made.append(counts.reshape(feature.contexts, stripe.levels).astype(np.float64))
        first += stripe.channels
    return made


def ideal_bits(codes: NDArray[np.uint8], feature: Feature) -> float:
    """Bits that codes take with the feature's frequencies: the sum of ``-log2(f / 4096)``.

    Args:
        codes: [N, code channels, rows, columns], channels in wire order.
        feature: Stripes with their frequencies.
    """
    bits = 0.0
    for count, stripe in zip(count_contexts(codes, feature), feature.stripes, strict=True):
        rates = -np.log2(np.asarray(stripe.frequencies, np.float64) / TOTAL)
        bits += float((count * rates).sum())
    return bits
