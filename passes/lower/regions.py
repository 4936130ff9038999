"""Element-wise regions as one look-up table.

A region has one tensor input, so its result is a function of 256 int8 inputs: it is evaluated in
float64 on all of them, and every entry is rounded once. Regions of one Relu, Clip, LeakyRelu or
HardSwish use the fixed-point formula of the runtime's kernel instead, so that the table equals that
kernel. int16 inputs use TFLite's 513-entry table with linear interpolation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.builder import Quantized, onnx_type, rounding_variant
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.lower.unit import UNBOUNDED, Scope, Unit
from intaglio.passes.operators import UNARY, clamp_bounds, is_clamp
from intaglio.transforms.fixed_point import quantize_multiplier, requantize
from intaglio.transforms.kernel_tables import hard_swish_table, leaky_relu_table
from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.tables import bind, round_half_away, table_int16

_BINARY = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Max": np.maximum,
    "Min": np.minimum,
}


def lower_region(scope: Scope, unit: Unit) -> ir.Value:
    """Replaces the region that ends in ``unit.value`` by a table."""
    root = _root(scope, unit.value)
    source = scope.tensor(root)
    builder = scope.builder
    clamp = _single_clamp(unit, root)
    if source.dtype == "int16":
        if clamp is not None:
            return builder.requantize(source, unit.output, unit.name, clamp=clamp, shape=unit.shape)
        if _is_leaky_relu(unit, root):
            return _leaky_relu(scope, unit, source)
        return _interpolated(scope, unit, root, source)
    entries = _kernel_entries(scope, unit, root, source, clamp)
    if entries is None:
        codes = np.arange(-128, 128)
        real = evaluate(scope, unit.value, root, _real(codes, source.quantization))
        levels = round_half_away(real / unit.output.scale[0]) + unit.output.zero_point[0]
        entries = np.clip(levels, unit.output.minimum, unit.output.maximum)
    table = builder.constant(
        entries.astype(unit.output.numpy_dtype), unit.output.dtype, f"{unit.name}_table"
    )
    [result] = builder.op(
        "Table", [source.value, table], unit.output.dtype, unit.name, shape=unit.shape
    )
    return result


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
        if node.op_type in _BINARY:
            first, second = (inner(v) for v in node.inputs if v is not None)
            result = np.asarray(_BINARY[node.op_type](first, second), np.float64)
        elif node.op_type == "Clip":
            result = inner(_first(node))
            # The upper bound last: ONNX gives it precedence where the two cross.
            for bound, narrow in zip(node.inputs[1:], (np.maximum, np.minimum), strict=False):
                limit = scope.constant(bound)
                if limit is not None:
                    result = narrow(result, limit.real.reshape(-1)[0])
        elif node.op_type in UNARY:
            attributes = {
                name: attr.as_string() if attr.type == ir.AttributeType.STRING else attr.value
                for name, attr in node.attributes.items()
            }
            try:
                function = bind(node.op_type, attributes)
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


def _real(codes: NDArray[Any], quantization: TensorQuantization) -> NDArray[np.float64]:
    return (codes.astype(np.float64) - quantization.zero_point[0]) * quantization.scale[0]


def _root(scope: Scope, value: ir.Value) -> ir.Value:
    """The one quantized tensor that ``value`` is computed from."""
    roots: dict[ir.Value, None] = {}
    stack = [value]
    while stack:
        current = stack.pop()
        if current in scope.known:
            roots[current] = None
        elif scope.constant(current) is None:
            node = current.producer()
            if node is None:
                raise RefusedError(f"its input '{current.name}' is not quantized")
            if node.op_type not in UNARY and node.op_type not in _BINARY:
                raise RefusedError(
                    f"the result of {node.op_type} '{node.name}' before it is not quantized",
                    "put a QuantizeLinear/DequantizeLinear pair behind it",
                )
            inputs = node.inputs[:1] if node.op_type in UNARY else node.inputs
            stack.extend(v for v in inputs if v is not None)
    if len(roots) != 1:
        raise RefusedError("it depends on several tensors, so it is no table")
    return next(iter(roots))


def _single_clamp(unit: Unit, root: ir.Value) -> tuple[float, float] | None:
    """Real bounds if the region is nothing but Relu and Clip."""
    low, high = UNBOUNDED
    value: ir.Value | None = unit.value
    while value is not root:
        node = value.producer() if value is not None else None
        if node is None or not is_clamp(node):
            return None
        # What the operators behind make of this one's bounds.
        inner_low, inner_high = clamp_bounds(node)
        low, high = min(max(inner_low, low), high), min(max(inner_high, low), high)
        value = node.inputs[0]
    return low, high


def _kernel_entries(
    scope: Scope,
    unit: Unit,
    root: ir.Value,
    source: Quantized,
    clamp: tuple[float, float] | None,
) -> NDArray[Any] | None:
    """The table of a region that is one operator with a kernel of its own in TFLite, or None."""
    profile, output = scope.builder.profile, unit.output
    node = unit.value.producer()
    if clamp is not None:
        low, high = (int(v) for v in output.quantize(np.array(clamp)))
        return requantize(
            np.arange(-128, 128, dtype=np.int64) - source.zero_point,
            quantize_multiplier(source.scale / output.scale[0]),
            profile.rounding("requantize", source.dtype),
            output.zero_point[0],
            low,
            high,
            output.dtype,
        )
    if output.dtype != "int8" or node is None or node.inputs[0] is not root:
        return None
    if node.op_type == "LeakyRelu" and _alpha(unit) >= 0:
        rounding = profile.rounding("leaky_relu", source.dtype)
        return leaky_relu_table(source.quantization, output, _alpha(unit), rounding)
    if node.op_type == "HardSwish":
        try:
            return hard_swish_table(source.quantization, output)
        except ValueError:
            # The kernel refuses so fine an output scale; no runtime has bits to agree with.
            return None
    return None


def _is_leaky_relu(unit: Unit, root: ir.Value) -> bool:
    node = unit.value.producer()
    return node is not None and node.op_type == "LeakyRelu" and node.inputs[0] is root


def _alpha(unit: Unit) -> float:
    node = unit.value.producer()
    stated = 0.01 if node is None else node.attributes.get_float("alpha", 0.01)
    # TFLite narrows alpha to float32 before it forms the multiplier.
    return float(np.float32(stated))


def _leaky_relu(scope: Scope, unit: Unit, source: Quantized) -> ir.Value:
    """int16 LEAKY_RELU: a PRelu with the slope in the multiplier, exact at the bend."""
    builder = scope.builder
    alpha = _alpha(unit)
    rounding = builder.profile.rounding("leaky_relu", source.dtype)
    ratio = source.scale / unit.output.scale[0]
    inputs = [
        source.value,
        builder.int32(source.zero_point),
        builder.constant(-1 if alpha < 0 else 1, "int8", "int8_slope"),
        *builder.multiplier(ratio, f"{unit.name}_positive"),
        *builder.multiplier(ratio * abs(alpha), f"{unit.name}_negative"),
        *builder.limits(unit.output, UNBOUNDED),
    ]
    operator = rounding_variant("PRelu", rounding)
    [result] = builder.op(
        operator,
        inputs,
        unit.output.dtype,
        unit.name,
        {"to": onnx_type(unit.output.dtype)},
        unit.shape,
    )
    return result


def _domain(scope: Scope, unit: Unit, root: ir.Value, source: Quantized) -> tuple[float, float]:
    """Where the function of a region with an int16 input is defined.

    16-bit tensors are symmetric, so half of their integers stand for numbers that a square root or
    a logarithm never gets, whatever the range was: such inputs count as the nearest that has a
    result.
    """
    x = _real(np.arange(-32768, 32768), source.quantization)
    defined = x[~np.isnan(evaluate(scope, unit.value, root, x, partial=True))]
    if len(defined) == 0:
        raise RefusedError("its result is nowhere a number")
    if len(defined) == len(x):
        return UNBOUNDED
    return float(defined.min()), float(defined.max())


def _interpolated(scope: Scope, unit: Unit, root: ir.Value, source: Quantized) -> ir.Value:
    builder = scope.builder
    target = unit.output
    inner = target
    if target.dtype != "int16":
        reach = max(target.maximum - target.zero_point[0], target.zero_point[0] - target.minimum)
        inner = TensorQuantization("int16", (target.scale[0] * reach / 32767.0,), (0,))

    low, high = _domain(scope, unit, root, source)

    def function(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return evaluate(scope, unit.value, root, np.clip(np.asarray(x, np.float64), low, high))

    table = builder.constant(
        table_int16(function, source.quantization, inner), "int16", f"{unit.name}_table"
    )
    name = unit.name if inner is target else f"{unit.name}_int16"
    [result] = builder.op(
        "TableInterpolated", [source.value, table], "int16", name, shape=unit.shape
    )
    if inner is target:
        return result
    return builder.requantize(
        Quantized(result, inner), target, unit.name, clamp=UNBOUNDED, shape=unit.shape
    )
