"""Parameters of products: the bias, zero points, and biases that a RESCALE can take."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.convolutions import Accumulator
from intaglio.targets.tosa.emitters.common import Stage
from intaglio.targets.tosa.scope import Scope

#: What saturates by so much saturates whatever the zero point.
_BEYOND = 512


def bias_of(sums: Accumulator, channels: int) -> NDArray[np.int64]:
    """The bias of each channel; zeros where there is none."""
    codes = np.zeros(1, np.int64) if sums.bias is None else sums.bias.reshape(-1)
    return np.broadcast_to(codes, (channels,)).astype(np.int64)


def kept_in_range(bias: NDArray[np.int64], weight: NDArray[Any], stage: Stage) -> NDArray[np.int32]:
    """The bias of each channel, nearer to 0 where the result is the same: saturated, or always 0.

    A RESCALE takes numbers below ``2^(shift - 1)``. Channels that are off have biases of 2^30.

    Args:
        bias: [channels].
        weight: The weight less its zero point: [channels, inputs].
        stage: The rescale behind it.

    Raises:
        RefusedError: The sums may pass 32 bits.
    """
    multiplier, shift = (
        np.broadcast_to(each, bias.shape).astype(np.int64)
        for each in (stage.multiplier, stage.shift)
    )
    reach = 255 * np.abs(weight.astype(np.int64)).sum(1)
    # Numbers of int64: a sum has at most 32 bits, a multiplier 31.
    most = np.minimum((1 << (shift - 1)) - 1, 2**31 - 1) - reach
    kept = bias
    for sign in (1, -1):
        saturated = (most - reach) * multiplier >> shift >= _BEYOND
        nearer = (sign * kept > most) & (saturated | (multiplier == 0))
        kept = np.where(nearer, sign * most, kept)
    require_narrow_sums(reach + np.abs(kept))
    return kept.astype(np.int32)


def require_narrow_sums(reach: NDArray[np.int64]) -> None:
    """Refuses sums of products that may pass 32 bits.

    Args:
        reach: The largest magnitude of each.

    Raises:
        RefusedError: One may.
    """
    if reach.max(initial=0) >= 1 << 31:
        raise RefusedError(
            "its sums may pass 32 bits, which is what TOSA sums products of int8 in",
            "convert to onnx-integer or c, which sum in 64 bits",
        )


def zero_point_of(scope: Scope, product: ir.Node, place: int) -> int:
    """Zero point of a product's data (``place`` 2) or weights (3)."""
    inputs = [*product.inputs, None, None]
    return 0 if inputs[place] is None else scope.number(inputs[place])


def reach_of(bias: NDArray[np.int32], weight: NDArray[np.int64]) -> NDArray[np.int64]:
    """The largest magnitude of the sums of each channel: int8 less a zero point is at most 255.

    Args:
        bias: [channels].
        weight: The weight less its zero point: [channels, inputs].
    """
    found = 255 * np.abs(weight).sum(1) + np.abs(bias.astype(np.int64))
    return np.asarray(found, np.int64)
