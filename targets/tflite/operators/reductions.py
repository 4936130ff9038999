"""MEAN, SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD, ARG_MAX and ARG_MIN."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from intaglio.targets.tflite.operators.arguments import cast, integers, one_axis, only_axis, vector
from intaglio.targets.tflite.scope import Operator, Reader, Scope

_REDUCTIONS = {
    "MEAN": "ReduceMean",
    "REDUCE_MAX": "ReduceMax",
    "REDUCE_MIN": "ReduceMin",
    "REDUCE_PROD": "ReduceProd",
    "SUM": "ReduceSum",
}


def read_reduction(scope: Scope, operator: Operator) -> None:
    """A reduction over the axes in the second input; over none it changes nothing."""
    value = scope.value(operator.inputs[0])
    rank = len(scope.shape(value))
    stated = integers(scope, operator, 1, "axes")
    axes = sorted({one_axis(scope, axis, rank) for axis in stated}) if rank else []
    if axes:
        attributes = {"keepdims": int(bool(operator.options.keepDims))}
        value = scope.node(_REDUCTIONS[operator.name], [value, vector(axes)], attributes)
    scope.give(operator.outputs[0], value)


def read_arg(scope: Scope, operator: Operator) -> None:
    """ARG_MAX and ARG_MIN: the first of equal elements, in the type of the output."""
    value = scope.value(operator.inputs[0])
    axis = only_axis(scope, integers(scope, operator, 1, "axis"), len(scope.shape(value)))
    kind = "ArgMax" if operator.name == "ARG_MAX" else "ArgMin"
    found = scope.node(kind, [value], {"axis": axis, "keepdims": 0}, dtype="int64")
    scope.give(operator.outputs[0], cast(scope, found, operator.outputs[0].dtype))


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "ARG_MAX": read_arg,
        "ARG_MIN": read_arg,
        **dict.fromkeys(_REDUCTIONS, read_reduction),
    }
)
