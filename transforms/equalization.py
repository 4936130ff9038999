"""Cross-layer equalization: moving scale from one layer to the next, channel by channel.

For ``y = W2 f(W1 x + b1)`` with ``f`` positively homogeneous in each channel (ReLU, PReLU, max and
average pooling), dividing row ``i`` of ``W1`` and ``b1[i]`` by ``s_i > 0`` and multiplying column
``i`` of ``W2`` by it changes nothing. Choosing ``s_i = sqrt(r1_i / r2_i)``, where ``r`` is the
largest magnitude of the row or column, makes both ranges equal (Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", 2019).

Here the factors are rounded to powers of two, so that nothing changes in floating point either.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Farthest that a channel may be scaled in one go, as a power of two.
LARGEST_EXPONENT = 16


def balancing_factors(first: Array, second: Array) -> Array:
    """Factors that bring the ranges of both sides of each channel together.

    Args:
        first: largest magnitude of each channel's weights in the first layer, at least 0.
        second: the same in the second layer.

    Returns:
        Powers of two, one a channel: divide the first layer by it and multiply the second. A
        channel without weights on either side gets 1.
    """
    usable = (first > 0) & (second > 0) & np.isfinite(first) & np.isfinite(second)
    exponents = np.zeros(len(first))
    exponents[usable] = (np.log2(first[usable]) - np.log2(second[usable])) / 2
    # Centered: a factor common to all channels would change nothing but the numbers.
    if usable.any():
        exponents[usable] -= np.median(exponents[usable])
    rounded = np.clip(np.rint(exponents), -LARGEST_EXPONENT, LARGEST_EXPONENT)
    return np.asarray(np.exp2(rounded))
