"""Linear resizing: four neighbors of each place, weighted in int32."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.targets.tosa.emitters.arithmetic import multiply
from intaglio.targets.tosa.emitters.common import widened
from intaglio.targets.tosa.emitters.moves import gather
from intaglio.targets.tosa.scope import Emitter, Scope

#: A weight of one; sums are of weights along two axes.
_UNIT = 1024

# s / 2^20 with halves away from zero: the excess of the multiplier takes
# ties below zero further down, by |s| / 2^50 < 2^-22, less than the 2^-20 between two quotients.
_MULTIPLIER, _SHIFT = (1 << 30) + 1, 50


def _linear(scope: Scope, node: ir.Node) -> None:
    source, value = scope.outside(node.inputs[0]), scope.behind(node.outputs[0])
    shape, result = scope.shape(source), scope.shape(value)
    y0, y1, wy, x0, x1, wx = (
        scope.numbers(number).astype(np.int64).reshape(-1) for number in node.inputs[1:7]
    )
    name = str(value.name)
    total = ""
    for columns, across in ((x0, _UNIT - wx), (x1, wx)):
        size = [*shape[:2], len(columns), shape[3]]
        picked = scope.intermediate(f"{name}_columns", size, "int8")
        gather(scope, scope.name(source), shape, columns, 2, picked)
        for rows, down in ((y0, _UNIT - wy), (y1, wy)):
            near = scope.intermediate(f"{name}_near", result, "int8")
            gather(scope, picked, size, rows, 1, near)
            weight = np.outer(down, across).reshape(1, *result[1:3], 1)
            part = multiply(
                scope,
                widened(scope, near, result, 0),
                scope.constant("weight", weight, "int32"),
                scope.intermediate(f"{name}_part", result, "int32"),
            )
            if total:
                sums = scope.intermediate(f"{name}_sum", result, "int32")
                part = scope.operator("ADD", [total, part], sums)
            total = part
    scope.rescale(
        total, scope.result(value), dtypes=("int32", "int8"), multiplier=_MULTIPLIER, shift=_SHIFT
    )


EMITTERS: dict[str, Emitter] = {"ResizeLinearInteger": _linear}
