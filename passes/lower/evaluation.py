"""The real function of an element-wise region, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.lower.unit import Scope
from intaglio.passes.operators import UNARY
from intaglio.transforms.tables import bind

#: Element-wise operators of two operands.
BINARY_FUNCTIONS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "Add": np.add,
        "Sub": np.subtract,
        "Mul": np.multiply,
        "Div": np.divide,
        "Pow": np.power,
        "Max": np.maximum,
        "Min": np.minimum,
    }
)


def evaluate(
    scope: Scope, value: ir.Value, root: ir.Value, x: NDArray[np.float64], *, partial: bool = False
) -> NDArray[np.float64]:
    """The region's function from ``root`` to ``value`` at the real numbers ``x``.

    Args:
        scope: Where constants are looked up.
        value: End of the region.
        root: The tensor it depends on.
        x: Real values of that tensor, one axis.
        partial: Whether the result may be NaN where the function is not defined.

    Raises:
        RefusedError: It is not defined somewhere, or an operator in it has no definition here.
    """
    if value is root:
        return x
    constant = scope.constant(value)
    if constant is not None:
        return np.full_like(x, constant.real.reshape(-1)[0])
    node = value.producer()
    if node is None:
        raise RefusedError(f"its input '{value.name}' is not quantized")

    def inner(source: ir.Value) -> NDArray[np.float64]:
        return evaluate(scope, source, root, x, partial=partial)

    with np.errstate(all="ignore"):
        if node.op_type in BINARY_FUNCTIONS:
            first, second = (inner(v) for v in node.inputs if v is not None)
            result = np.asarray(BINARY_FUNCTIONS[node.op_type](first, second), np.float64)
        elif node.op_type == "Clip":
            result = inner(_first(node))
            # The upper bound last: ONNX gives it precedence where the two cross.
            for bound, narrow in zip(node.inputs[1:], (np.maximum, np.minimum), strict=False):
                limit = scope.constant(bound)
                if limit is not None:
                    result = narrow(result, limit.real.reshape(-1)[0])
        elif node.op_type in UNARY:
            try:
                function = bind(node.op_type, node_attributes(node))
            except (KeyError, ValueError) as error:
                raise RefusedError(str(error)) from error
            result = function(inner(_first(node)))
        else:
            raise RefusedError(f"{node.op_type} is not an element-wise function known here")
    if np.isnan(result).any() and not partial:
        where = float(x[np.isnan(result)][0])
        raise RefusedError(
            f"{node.op_type} is not defined at {where:g}, which its quantized input can take",
            "clip its input, or calibrate with data that shows its true range",
        )
    return result


def _first(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    if value is None:
        raise RefusedError("its input is missing")
    return value


def node_attributes(node: ir.Node) -> dict[str, Any]:
    """Python values of the attributes of an element-wise operator."""
    return {
        name: attr.as_string() if attr.type == ir.AttributeType.STRING else attr.value
        for name, attr in node.attributes.items()
    }
