"""Cross-layer equalization: moving scale from one layer to the next, channel by channel.

For ``y = W2 f(W1 x + b1)`` with ``f`` positively homogeneous in each channel (ReLU, PReLU, max and
average pooling), dividing row ``i`` of ``W1`` and ``b1[i]`` by ``s_i > 0`` and multiplying column
``i`` of ``W2`` by it changes nothing. Choosing ``s_i = sqrt(r1_i / r2_i)``, where ``r`` is the
largest magnitude of the row or column, makes both ranges equal (Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", 2019).

Weights with a scale for each output channel gain little from that. The activation in between does:
it has one scale for all channels, so its small channels keep few levels. ``s_i = a_i^strength``
with ``a_i`` the magnitude of channel ``i`` brings the channels together; full strength would leave
the second layer's weights as uneven as the activation was.

All factors are rounded to powers of two, so that nothing changes in floating point either.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: A channel smaller than this share of the layer's largest is dead (training drove its weights to
#: zero): scaling it up would blow up its bias, and the range of the whole tensor.
DEAD_SHARE = 2.0**-12

#: Farthest that a channel may be scaled in one go, as a power of two.
LARGEST_EXPONENT = 8


def balancing_factors(first: Array, second: Array) -> Array:
    """Factors that bring the ranges of both sides of each channel together.

    Args:
        first: largest magnitude of each channel's weights in the first layer, at least 0.
        second: the same in the second layer.

    Returns:
        Powers of two, one a channel: divide the first layer by it and multiply the second. A
        channel that is dead on either side gets 1.
    """
    usable = _alive(first) & _alive(second)
    exponents = np.zeros(len(first))
    exponents[usable] = (np.log2(first[usable]) - np.log2(second[usable])) / 2
    return _powers_of_two(exponents)


def evening_factors(magnitudes: Array, strength: float = 0.5) -> Array:
    """Factors that bring the channels of an activation together.

    Args:
        magnitudes: magnitude of each channel, at least 0; a common factor does not matter.
        strength: 1 makes all channels alike to a power of two, 0 changes nothing.

    Returns:
        Powers of two, one a channel: divide the channel by it. A dead channel gets 1.
    """
    usable = _alive(magnitudes)
    exponents = np.zeros(len(magnitudes))
    if usable.any():
        exponents[usable] = strength * np.log2(magnitudes[usable])
        # Centered: a factor common to all channels would change nothing but the numbers.
        exponents[usable] -= np.median(exponents[usable])
    return _powers_of_two(exponents)


def _powers_of_two(exponents: Array) -> Array:
    rounded = np.clip(np.rint(exponents), -LARGEST_EXPONENT, LARGEST_EXPONENT)
    return np.asarray(np.exp2(rounded))


def _alive(ranges: Array) -> NDArray[np.bool_]:
    finite = np.isfinite(ranges)
    largest = float(ranges[finite].max(initial=0.0))
    return np.asarray(finite & (ranges > DEAD_SHARE * largest))


def predicted_noise(
    factors: Array, magnitudes: Array, powers: Array, weight: Array, weight_share: float
) -> float:
    """Error power that 8 bits give the second layer's output, up to a common factor.

    Rounding the activation to 255 levels of its largest channel, seen through the weights, plus
    rounding the weights to 127 levels of each output's largest, seen through the activation.

    Args:
        factors: what each channel of the activation is divided by, and its weights multiplied by.
        magnitudes: largest magnitude of each channel.
        powers: mean square of each channel.
        weight: weights of the second layer, (groups, outputs, inputs of a group, kernel elements).
        weight_share: what rounding weights costs beside rounding to nearest: less than 1 if they
            are rounded with the layer's output in view.

    Returns:
        The sum of both powers.
    """
    groups, _, inputs, elements = weight.shape
    gains = np.square(weight).sum(axis=(1, 3)).reshape(-1)
    step = np.max(magnitudes / factors) / 255
    activation = np.sum(gains * np.square(factors * step))
    grouped = factors.reshape(groups, 1, inputs, 1)
    steps = np.max(np.abs(weight) * grouped, axis=(2, 3)) / 127
    per_channel = np.square(steps).sum(axis=1)[:, None] * (powers / np.square(factors)).reshape(
        groups, inputs
    )
    return float(activation + weight_share * elements * per_channel.sum()) / 12
