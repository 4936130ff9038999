"""Element-wise regions as one look-up table.

A region has one tensor input, so its result is a function of 256 int8 inputs: it is evaluated in
float64 on all of them, and every entry is rounded once. A region of one operator that the runtime
has a kernel for (Relu, Clip, LeakyRelu, Abs, HardSwish, Sigmoid, Tanh, Elu, Gelu, Exp, Log) is what
that kernel computes, after the profile. int16 inputs use TFLite's 513-entry table with linear
interpolation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.builder import Quantized
from intaglio.passes.lower.evaluation import BINARY_FUNCTIONS, evaluate, node_attributes
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.lower.unit import UNBOUNDED, Scope, Unit
from intaglio.passes.lower.wide_functions import lower_wide
from intaglio.passes.operators import UNARY, clamp_bounds, is_clamp
from intaglio.transforms.fixed_point import quantize_multiplier, requantize
from intaglio.transforms.function_tables import function_table
from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.tables import round_half_away

#: Bounds of the clamps that runtimes have an operator for: RELU, RELU6, RELU_N1_TO_1.
_RELUS = ((0.0, float("inf")), (0.0, 6.0), (-1.0, 1.0))


def lower_region(scope: Scope, unit: Unit) -> ir.Value:
    """Replaces the region that ends in ``unit.value`` by a table."""
    root = _root(scope, unit.value)
    source = scope.tensor(root)
    builder = scope.builder
    clamp = _single_clamp(unit, root)
    if source.dtype == "int16":
        if clamp is not None:
            alone = clamp in _RELUS and unit.output.dtype == source.dtype
            kind = "relu" if alone else "requantize"
            return builder.requantize(
                source, unit.output, unit.name, clamp=clamp, shape=unit.shape, kind=kind
            )
        return lower_wide(scope, unit, root, source, _sole_operator(unit, root))
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
            if node.op_type not in UNARY and node.op_type not in BINARY_FUNCTIONS:
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


def _sole_operator(unit: Unit, root: ir.Value) -> ir.Node | None:
    """The operator of a region that is nothing else, or None."""
    node = unit.value.producer()
    return node if node is not None and node.inputs[0] is root and len(node.inputs) == 1 else None


def _kernel_entries(
    scope: Scope,
    unit: Unit,
    root: ir.Value,
    source: Quantized,
    clamp: tuple[float, float] | None,
) -> NDArray[Any] | None:
    """The table of a region that is one operator with a kernel of its own in TFLite, or None."""
    profile, output = scope.builder.profile, unit.output
    if clamp is not None:
        low, high = output.clamp_levels(*clamp)
        return requantize(
            np.arange(-128, 128, dtype=np.int64) - source.zero_point,
            quantize_multiplier(profile.scale("relu", (source.scale,), output.scale[0])),
            profile.rounding("relu", source.dtype),
            output.zero_point[0],
            low,
            high,
            output.dtype,
        )
    node = _sole_operator(unit, root)
    if output.dtype != "int8" or node is None:
        return None
    try:
        return function_table(
            node.op_type, node_attributes(node), source.quantization, output, profile
        )
    except ValueError:
        # Scales that the kernel refuses: no runtime has bits to agree with.
        return None
