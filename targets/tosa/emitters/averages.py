"""AVG_POOL2D for averages of the raw integers, halves away from zero.

AVG_POOL2D multiplies a sum by slightly more than ``1 / count`` and rounds halves up. With zero
points of 0 the excess takes ties below zero further down: both kinds of ties leave zero, which is
the rule of the integer graph. Windows cut short by the border are divided by the number of places
that they have, here and there.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tosa.emitters import pooling
from intaglio.targets.tosa.emitters.common import INT32, cut_to_window, window_fields
from intaglio.targets.tosa.scope import Emitter, Scope
from intaglio.targets.tosa.writer import Field


def reciprocal(count: int) -> tuple[int, int]:
    """Multiplier and shift that AVG_POOL2D divides by ``count`` with (TOSA, reciprocal_scale).

    ``k = ceil(log2(count))``; ``((2^30 + 1) 2^k) // count`` and ``30 + k``.
    """
    places = (count - 1).bit_length()
    return ((1 << 30) + 1 << places) // count, 30 + places


def divides_exactly(count: int) -> bool:
    """Whether AVG_POOL2D rounds every sum of so many int8 to the nearest, halves away from zero.

    Args:
        count: Numbers in a window.
    """
    multiplier, shift = reciprocal(count)
    sums = np.arange(-128 * count, 127 * count + 1, dtype=np.int64)
    wanted = np.sign(sums) * ((np.abs(sums) + count // 2) // count)
    return np.array_equal((sums * multiplier + (1 << (shift - 1))) >> shift, wanted)


def _average(scope: Scope, node: ir.Node) -> None:
    source, value, window = pooling.read_pool(scope, node)
    pads, strides, _ = window_fields(window)
    reaches = max(pads[:2]) >= window.kernel[0] or max(pads[2:]) >= window.kernel[1]
    counts = np.unique(pooling.counts_of(window))
    if reaches or window.dilations != (1, 1) or not all(divides_exactly(int(n)) for n in counts):
        raise RefusedError(
            "AVG_POOL2D has no dilations, no windows in the padding alone, and none so large",
            "use a smaller window",
        )
    data, _ = cut_to_window(scope, scope.name(source), scope.shape(source), window)
    fields = [
        Field(0, "ints", list(window.kernel)),
        Field(1, "ints", strides),
        Field(2, "ints", pads),
        Field(3, "enum", INT32),
    ]
    zero = scope.constant("no_zero_point", [0], "int8")
    scope.operator("AVG_POOL2D", [data, zero, zero], scope.result(value), fields)


EMITTERS: dict[str, Emitter] = {"AveragePoolInteger": _average}
