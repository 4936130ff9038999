"""Element-wise operators and activations."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from intaglio.targets.tflite.operators.arguments import given
from intaglio.targets.tflite.scope import NONE, Operator, Reader, Scope

# TFLite's operators of one tensor that are one operator in ONNX.
_UNARY: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ABS": ("Abs", {}),
    "CEIL": ("Ceil", {}),
    "COS": ("Cos", {}),
    "ELU": ("Elu", {"alpha": 1.0}),
    "EXP": ("Exp", {}),
    "FLOOR": ("Floor", {}),
    "HARD_SWISH": ("HardSwish", {}),
    "LOG": ("Log", {}),
    "LOGICAL_NOT": ("Not", {}),
    "LOGISTIC": ("Sigmoid", {}),
    "LOG_SOFTMAX": ("LogSoftmax", {"axis": -1}),
    "NEG": ("Neg", {}),
    "RELU": ("Relu", {}),
    "ROUND": ("Round", {}),
    "SIGN": ("Sign", {}),
    "SIN": ("Sin", {}),
    "SQRT": ("Sqrt", {}),
    "TANH": ("Tanh", {}),
}

# Of two tensors; whether the comparison's result is negated is NOT_EQUAL's business.
_BINARY: Mapping[str, str] = {
    "ADD": "Add",
    "DIV": "Div",
    "EQUAL": "Equal",
    "GREATER": "Greater",
    "GREATER_EQUAL": "GreaterOrEqual",
    "LESS": "Less",
    "LESS_EQUAL": "LessOrEqual",
    "LOGICAL_AND": "And",
    "LOGICAL_OR": "Or",
    "MAXIMUM": "Max",
    "MINIMUM": "Min",
    "MUL": "Mul",
    "POW": "Pow",
    "PRELU": "PRelu",
    "SUB": "Sub",
}

_CLIPS: Mapping[str, tuple[float, float]] = {
    "RELU6": (0.0, 6.0),
    "RELU_0_TO_1": (0.0, 1.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}


def read_unary(scope: Scope, operator: Operator) -> None:
    """One ONNX operator of one tensor."""
    op_type, attributes = _UNARY[operator.name]
    x = scope.value(given(operator, 0))
    scope.give(operator.outputs[0], scope.node(op_type, [x], attributes))


def read_binary(scope: Scope, operator: Operator) -> None:
    """One ONNX operator of two tensors, which broadcast as in ONNX, with a fused activation."""
    inputs = [scope.value(given(operator, 0)), scope.value(given(operator, 1))]
    result = scope.node(_BINARY[operator.name], inputs)
    activation = getattr(operator.options, "fusedActivationFunction", NONE)
    scope.give(operator.outputs[0], result, activation)


def read_clip(scope: Scope, operator: Operator) -> None:
    """RELU6 and its like."""
    low, high = _CLIPS[operator.name]
    bounds = [np.array(low, np.float32), np.array(high, np.float32)]
    x = scope.value(given(operator, 0))
    scope.give(operator.outputs[0], scope.node("Clip", [x, *bounds]))


def read_not_equal(scope: Scope, operator: Operator) -> None:
    """Not of Equal."""
    inputs = [scope.value(given(operator, 0)), scope.value(given(operator, 1))]
    equal = scope.node("Equal", inputs, dtype="bool")
    scope.give(operator.outputs[0], scope.node("Not", [equal], dtype="bool"))


def read_leaky_relu(scope: Scope, operator: Operator) -> None:
    """LeakyRelu with the options' slope."""
    x = scope.value(given(operator, 0))
    attributes = {"alpha": float(operator.options.alpha)}
    scope.give(operator.outputs[0], scope.node("LeakyRelu", [x], attributes))


def read_gelu(scope: Scope, operator: Operator) -> None:
    """Gelu with Erf, or its approximation with Tanh."""
    x = scope.value(given(operator, 0))
    attributes = {"approximate": "tanh" if operator.options.approximate else "none"}
    scope.give(operator.outputs[0], scope.node("Gelu", [x], attributes))


def read_rsqrt(scope: Scope, operator: Operator) -> None:
    """``1 / sqrt(x)``."""
    root = scope.node("Sqrt", [scope.value(given(operator, 0))])
    scope.give(operator.outputs[0], scope.node("Reciprocal", [root]))


def read_square(scope: Scope, operator: Operator) -> None:
    """``x * x``."""
    x = scope.value(given(operator, 0))
    scope.give(operator.outputs[0], scope.node("Mul", [x, x]))


def read_squared_difference(scope: Scope, operator: Operator) -> None:
    """``(x - y)^2``."""
    inputs = [scope.value(given(operator, 0)), scope.value(given(operator, 1))]
    difference = scope.node("Sub", inputs)
    scope.give(operator.outputs[0], scope.node("Mul", [difference, difference]))


def read_floor_div(scope: Scope, operator: Operator) -> None:
    """``floor(x / y)``, of float tensors."""
    x, y = given(operator, 0), given(operator, 1)
    if x is None or y is None or np.dtype(x.dtype).kind != "f":
        scope.refuse(operator, "it divides integers", "compute it in float, or ahead of time")
    quotient = scope.node("Div", [scope.value(x), scope.value(y)])
    scope.give(operator.outputs[0], scope.node("Floor", [quotient]))


def read_softmax(scope: Scope, operator: Operator) -> None:
    """Softmax over the last dimension of ``beta * x``.

    The integers of a quantized input are read with ``beta`` times their scale, as the kernel does.
    """
    x, beta = given(operator, 0), float(operator.options.beta)
    if x is None:
        raise scope.damaged("lacks an input")
    value = scope.value(x)
    if not np.isfinite(beta) or beta <= 0:
        raise scope.damaged(f"has the beta {beta}")
    if beta != 1 and x.is_quantized and x.scale is not None and x.zero_point is not None:
        scale = (x.scale.reshape(-1)[0] * np.float64(beta)).astype(np.float32).reshape(())
        zero_point = x.zero_point.reshape(-1)[0].astype(x.dtype).reshape(())
        value = scope.dequantized(scope.codes(x), scale, zero_point, None, x.name)
    elif beta != 1:
        value = scope.node("Mul", [value, np.array(beta, np.float32)])
    scope.give(operator.outputs[0], scope.node("Softmax", [value], {"axis": -1}))


def read_select(scope: Scope, operator: Operator) -> None:
    """Where; SELECT with a condition of one dimension chooses rows, which ONNX does not have."""
    condition, x, y = (given(operator, i) for i in range(3))
    shapes = [scope.shape(condition), scope.shape(x)]
    if operator.name == "SELECT" and shapes[0] and len(shapes[0]) != len(shapes[1]):
        scope.refuse(operator, "its condition chooses rows", "export it as SELECT_V2")
    inputs = [scope.value(condition), scope.value(x), scope.value(y)]
    scope.give(operator.outputs[0], scope.node("Where", inputs))


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        **dict.fromkeys(_UNARY, read_unary),
        **dict.fromkeys(_BINARY, read_binary),
        **dict.fromkeys(_CLIPS, read_clip),
        "FLOOR_DIV": read_floor_div,
        "GELU": read_gelu,
        "LEAKY_RELU": read_leaky_relu,
        "NOT_EQUAL": read_not_equal,
        "RSQRT": read_rsqrt,
        "SELECT": read_select,
        "SELECT_V2": read_select,
        "SOFTMAX": read_softmax,
        "SQUARE": read_square,
        "SQUARED_DIFFERENCE": read_squared_difference,
    }
)
