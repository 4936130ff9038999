"""FULLY_CONNECTED: ``y = x w^T + b`` over the last dimension of the weight."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import onnx_ir as ir

from intaglio.targets.tflite.operators.arguments import BIND, given, vector
from intaglio.targets.tflite.operators.weights import layer_bias, layer_weight
from intaglio.targets.tflite.schema import schema
from intaglio.targets.tflite.scope import Operator, Reader, Scope

_DEFAULT_FORMAT = schema.FullyConnectedOptionsWeightsFormat.DEFAULT


def read_fully_connected(scope: Scope, operator: Operator) -> None:
    """A constant weight gives Gemm, a computed one MatMul.

    The input is flattened to [rows, inputs]; ``keep_num_dims`` gives the result its dimensions
    back.
    """
    x, weight, bias = given(operator, 0), given(operator, 1), given(operator, 2)
    options = operator.options
    if x is None or weight is None:
        raise scope.damaged("lacks an input")
    if options.weightsFormat != _DEFAULT_FORMAT:
        scope.refuse(operator, "its weights are shuffled", "convert the model without shuffling")
    if len(weight.shape) != 2 or weight.shape[1] < 1:
        raise scope.damaged(f"has weights of the shape {weight.shape}")
    units, depth = weight.shape
    value, shape = scope.value(x), scope.shape(x)
    if shape and isinstance(shape[-1], int) and options.keepNumDims and shape[-1] != depth:
        raise scope.damaged(f"has {shape[-1]} inputs and weights for {depth}")
    if len(shape) != 2 or shape[-1] != depth:
        value = scope.node("Reshape", [value, vector([-1, depth])])
    offset = layer_bias(scope, operator, x, weight, bias)
    if scope.constant(weight) is not None:
        inputs = [value, layer_weight(scope, operator, x, weight, (0, 1))]
        result = scope.node("Gemm", [*inputs, *([] if offset is None else [offset])], {"transB": 1})
    else:
        factors = [value, layer_weight(scope, operator, x, weight, (1, 0))]
        result = scope.node("MatMul", factors)
        if offset is not None:
            result = scope.node("Add", [result, offset])
    if options.keepNumDims and len(shape) != 2:
        result = _with_dimensions(scope, operator, result, [*shape[:-1], units])
    scope.give(operator.outputs[0], result, options.fusedActivationFunction)


def _with_dimensions(
    scope: Scope, operator: Operator, value: ir.Value, shape: list[int | str | None]
) -> ir.Value:
    dims = [d if isinstance(d, int) else -1 for d in shape]
    if dims.count(-1) > 1:
        scope.refuse(operator, "more than one of its dimensions is open", BIND)
    result: ir.Value = scope.node("Reshape", [value, vector(dims)])
    return result


READERS: Mapping[str, Reader] = MappingProxyType({"FULLY_CONNECTED": read_fully_connected})
