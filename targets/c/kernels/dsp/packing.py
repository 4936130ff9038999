"""The order of weights in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pack(flat: NDArray[np.int64], order: list[int]) -> NDArray[np.int8]:
    """Weights ``[O, K]`` in pairs of channels, four values of one and of the other in turn.

    Args:
        flat: The weights.
        order: Which of them comes when; -1 for a zero.
    """
    outputs = flat.shape[0]
    padded = np.concatenate([flat, np.zeros((outputs, 1), np.int64)], 1)[:, order].astype(np.int8)
    pairs = []
    for first in range(0, outputs, 2):
        start = min(first, outputs - 2)
        both = padded[start : start + 2].reshape(2, len(order) // 4, 4)
        pairs.append(both.transpose(1, 0, 2).reshape(-1))
    return np.concatenate(pairs)
