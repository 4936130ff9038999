"""Products with 16-bit weights, which TOSA has for no 8-bit data: one for each byte of the weights.

``w = 256*high + low`` with ``high = w >> 8`` (downward) in int8 and ``low = w & 255``, which is
int8 with the zero point -128: the sums are ``256 * sum(x*high) + sum(x*low)``, as
:mod:`intaglio.passes.dialect.sixteen_bit_weights` has them, here in 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.tosa.emitters.arithmetic import multiply
from intaglio.targets.tosa.emitters.parameters import require_narrow_sums
from intaglio.targets.tosa.scope import Scope

#: Appends one product. Takes int8 weights, the bias of each channel, the zero points of data and
#: weights and a name; gives the tensor of its sums.
Slide = Callable[[NDArray[Any], NDArray[np.int32], tuple[int, int], str], str]

_BYTE = 256
_LOW_ZERO_POINT = -128


def sums_of(
    scope: Scope,
    slide: Slide,
    weight: NDArray[Any],
    rows: NDArray[np.int64],
    bias: NDArray[np.int32],
    points: tuple[int, int],
    shape: Sequence[int],
    name: str,
) -> str:
    """Appends what sums the products with weights of one byte or two.

    Args:
        scope: The file.
        slide: Appends one product.
        weight: int8, or int16 with zero point 0, in the layout that ``slide`` takes.
        rows: The same less its zero point: [channels, inputs].
        bias: [channels].
        points: Zero points of data and weight.
        shape: Of the sums.
        name: For the tensor of the sums.

    Returns:
        The sums, int32.

    Raises:
        RefusedError: The sums of a byte, times its place, may pass 32 bits.
    """
    if weight.dtype != np.int16:
        return slide(weight, bias, points, name)
    high, low = weight >> 8, (weight & 255) + _LOW_ZERO_POINT
    require_narrow_sums(255 * np.abs(rows >> 8 << 8).sum(1))
    upper = slide(high.astype(np.int8), np.zeros_like(bias), points, f"{name}_high")
    lower = slide(low.astype(np.int8), bias, (points[0], _LOW_ZERO_POINT), f"{name}_low")
    byte = scope.constant("byte", np.full((1,) * len(shape), _BYTE), "int32")
    raised = scope.intermediate(f"{name}_raised", shape, "int32")
    multiply(scope, upper, byte, raised)
    return scope.operator("ADD", [raised, lower], scope.intermediate(name, shape, "int32"))
