"""AVERAGE_POOL_2D, MAX_POOL_2D and L2_POOL_2D. Padding takes no part in an average."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import onnx_ir as ir

from intaglio.targets.tflite.operators.arguments import given
from intaglio.targets.tflite.operators.windows import window_attributes
from intaglio.targets.tflite.scope import Operator, Reader, Scope


def read_average_pool(scope: Scope, operator: Operator) -> None:
    """AveragePool over the elements inside of the input."""
    value, attributes = _window(scope, operator)
    _give(scope, operator, scope.node("AveragePool", [value], attributes))


def read_max_pool(scope: Scope, operator: Operator) -> None:
    """MaxPool."""
    value, attributes = _window(scope, operator)
    _give(scope, operator, scope.node("MaxPool", [value], attributes))


def read_l2_pool(scope: Scope, operator: Operator) -> None:
    """The root of the average of the squares; float only, as in TFLite."""
    value, attributes = _window(scope, operator)
    squares = scope.node("Mul", [value, value])
    mean = scope.node("AveragePool", [squares], attributes)
    _give(scope, operator, scope.node("Sqrt", [mean]))


def _window(scope: Scope, operator: Operator) -> tuple[ir.Value, dict[str, Any]]:
    x, options = given(operator, 0), operator.options
    shape = scope.shape(x)
    if len(shape) != 4:
        raise scope.damaged(f"has an input of {len(shape)} dimensions, not 4")
    kernel = (options.filterHeight, options.filterWidth)
    strides = (options.strideH, options.strideW)
    attributes = window_attributes(scope, operator, shape[1:3], kernel, strides)
    return scope.channels_first(scope.value(x)), {**attributes, "kernel_shape": list(kernel)}


def _give(scope: Scope, operator: Operator, value: ir.Value) -> None:
    activation = operator.options.fusedActivationFunction
    scope.give(operator.outputs[0], scope.channels_last(value), activation)


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "AVERAGE_POOL_2D": read_average_pool,
        "L2_POOL_2D": read_l2_pool,
        "MAX_POOL_2D": read_max_pool,
    }
)
