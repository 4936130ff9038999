"""Weights, bias and rescale of a convolution as the kernels of this folder read them.

The zero point of the input goes into the bias: ``sum w (x - z) + b = sum w x + (b - z sum w)``.

Trained models have dead channels: weights near zero, so small a scale that the bias had to be
clipped, and a shift that :mod:`finish` leaves out. All that such a channel can become is one number
for every input, or two neighbours. Other constants give the same numbers there. With multiplier
``2^30`` and last shift ``e``, an accumulator of ``(v - zero point) 2^(e+1)`` (``e + 2`` where it is
rounded once) becomes v, and with half a step less it is where v begins. So a channel of one number
has weights of 0, and one of two has its threshold moved there by the bias.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.dsp.finish import Finish, finish, is_finished
from intaglio.targets.c.network import Convolution, Rescale
from intaglio.transforms.fixed_point import Rounding, rescale_double, rescale_single

_MULTIPLIER = 1 << 30
#: Last shift of a channel of two numbers, and what its sums must be smaller than.
_LAST_SHIFT = 20
_SUM_LIMIT = 1 << 19


@dataclasses.dataclass(frozen=True, eq=False)
class Folded:
    """What a kernel computes with.

    Attributes:
        weights: int64 ``[O, K]``.
        bias: int32, zero point of the input included.
        end: How it ends.
    """

    weights: NDArray[np.int64]
    bias: NDArray[np.int32]
    end: Finish


def fold(layer: Convolution) -> Folded | None:
    """Constants for a convolution of int8, or None where the conditions of ``finish`` fail."""
    if layer.rescale.rounding not in (Rounding.DOUBLE, Rounding.SINGLE):
        return None
    outputs = layer.weights.shape[0]
    weights = layer.weights.reshape(outputs, -1).astype(np.int64)
    bias = layer.bias.astype(np.int64)
    multiplier = np.array(np.broadcast_to(layer.rescale.multiplier.reshape(-1), outputs))
    shift = np.array(np.broadcast_to(layer.rescale.shift.reshape(-1), outputs))
    zero_point = layer.inputs[0].zero_point
    rescale = dataclasses.replace(layer.rescale, multiplier=multiplier, shift=shift)
    spread = np.abs(weights).sum(1) * 255
    for channel in range(outputs):
        if is_finished(rescale, channel, int(spread[channel] + abs(bias[channel]))):
            continue
        found = _dead(rescale, channel, weights[channel], int(bias[channel]), zero_point)
        if found is None:
            return None
        weights[channel], bias[channel], multiplier[channel], shift[channel] = found
        spread[channel] = np.abs(weights[channel]).sum() * 255
    end = finish(rescale, outputs, int((spread + np.abs(bias)).max()))
    folded = bias - zero_point * weights.sum(1)
    if end is None or np.abs(folded).max() >= 1 << 31:
        return None
    return Folded(weights, folded.astype(np.int32), end)


def _dead(
    rescale: Rescale, channel: int, weights: NDArray[np.int64], bias: int, zero_point: int
) -> tuple[NDArray[np.int64], int, int, int] | None:
    """Weights, bias, multiplier and shift of a channel of one or two numbers."""
    extremes = np.array([-128 - zero_point, 127 - zero_point])
    products = np.multiply.outer(weights, extremes)
    low, high = bias + int(products.min(1).sum()), bias + int(products.max(1).sum())
    multiplier, shift = rescale.multiplier[channel], rescale.shift[channel]
    if low < -(1 << 31) or high >= 1 << 31:
        return None

    def value(acc: int, multiplier: int = int(multiplier), shift: int = int(shift)) -> int:
        scaled = _ROUNDINGS[rescale.rounding](acc, multiplier, shift)
        return min(max(int(scaled) + rescale.zero_point, -128), 127)

    is_double = rescale.rounding is Rounding.DOUBLE
    fitting = (31 if is_double else 32) + _LAST_SHIFT
    step = 1 << (fitting - 30)
    first, last = value(low), value(high)
    if first == last:
        return np.zeros_like(weights), (first - rescale.zero_point) * step, _MULTIPLIER, fitting
    if last != first + 1 or max(abs(low - bias), abs(high - bias)) >= _SUM_LIMIT:
        return None
    threshold = _threshold(value, low, high, last)
    for nudge in (-2, -1, 0, 1, 2):
        moved = (last - rescale.zero_point) * step - step // 2 + nudge - threshold

        def other(acc: int, moved: int = moved) -> int:
            return value(acc + moved, _MULTIPLIER, fitting)

        if all(value(acc) == other(acc) for acc in (low, threshold - 1, threshold, high)):
            return weights, bias + moved, _MULTIPLIER, fitting
    return None


_ROUNDINGS = {Rounding.DOUBLE: rescale_double, Rounding.SINGLE: rescale_single}


def _threshold(value: Callable[[int], int], low: int, high: int, last: int) -> int:
    """The smallest accumulator that becomes ``last``."""
    while high - low > 1:
        middle = (low + high) // 2
        if value(middle) >= last:
            high = middle
        else:
            low = middle
    return high
