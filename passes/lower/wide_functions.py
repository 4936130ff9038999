"""Functions of an int16 tensor: two rescales, an interpolated sigmoid, a table of 513 entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.annotations import set_quantization
from intaglio.passes.lower.builder import Quantized, onnx_type, rounding_variant
from intaglio.passes.lower.evaluation import evaluate, node_attributes
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.lower.unit import UNBOUNDED, Scope, Unit
from intaglio.transforms.function_tables import function_table_int16
from intaglio.transforms.logistic import (
    INT16_OUTPUT_SCALE,
    SIGMOID_TABLE,
    SigmoidScale,
    logistic_scale,
    tanh_scale,
)
from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.tables import table_int16

_NATURAL = TensorQuantization("int16", (INT16_OUTPUT_SCALE,), (0,))
#: ONNX operator to its name in profiles, our function, and the constants of its input.
_SIGMOIDS: dict[str, tuple[str, str, Callable[[float], SigmoidScale]]] = {
    "Sigmoid": ("logistic", "SigmoidInteger16", logistic_scale),
    "Tanh": ("tanh", "TanhInteger16", tanh_scale),
}


def lower_wide(
    scope: Scope, unit: Unit, root: ir.Value, source: Quantized, sole: ir.Node | None
) -> ir.Value:
    """Replaces a region with an int16 input.

    Args:
        scope: Of the lowering.
        unit: The region.
        root: The float tensor it depends on.
        source: Its integers.
        sole: The region's operator where it has one only.
    """
    if sole is not None and sole.op_type == "LeakyRelu":
        return _leaky_relu(scope, unit, source, sole)
    if sole is not None and sole.op_type == "Abs":
        return _abs(scope, unit, source)
    if sole is not None and sole.op_type in _SIGMOIDS:
        name, operator, constants = _SIGMOIDS[sole.op_type]
        if scope.builder.profile.kernel(name, "int16") == "fixed_point":
            try:
                scale = constants(source.scale)
            except ValueError:
                pass  # the kernel's 15-bit multiplier cannot hold it
            else:
                return _sigmoid(scope, unit, source, operator, scale)
    return _interpolated(scope, unit, root, source, sole)


def _sigmoid(
    scope: Scope, unit: Unit, source: Quantized, operator: str, scale: SigmoidScale
) -> ir.Value:
    builder = scope.builder
    direct = unit.output == _NATURAL
    inputs = [
        source.value,
        builder.constant(SIGMOID_TABLE, "int32", "sigmoid_table"),
        builder.int32(scale.multiplier),
        builder.constant(scale.shift, "int8", f"int8_{scale.shift}"),
    ]
    name = unit.name if direct else f"{unit.name}_natural"
    [result] = builder.op(operator, inputs, "int16", name, shape=unit.shape)
    if direct:
        return result
    set_quantization(result, _NATURAL)
    return builder.requantize(Quantized(result, _NATURAL), unit.output, unit.name, shape=unit.shape)


def _abs(scope: Scope, unit: Unit, source: Quantized) -> ir.Value:
    builder, output = scope.builder, unit.output
    ratio = builder.profile.scale("abs", (source.scale,), output.scale[0])
    inputs = [
        source.value,
        *builder.multiplier(ratio, unit.name),
        *builder.limits(output, UNBOUNDED),
    ]
    operator = rounding_variant("Abs", builder.profile.rounding("abs", source.dtype))
    to = {"to": onnx_type(output.dtype)}
    return builder.op(operator, inputs, output.dtype, unit.name, to, unit.shape)[0]


def _leaky_relu(scope: Scope, unit: Unit, source: Quantized, node: ir.Node) -> ir.Value:
    """int16 LEAKY_RELU: a PRelu with the slope in the multiplier, exact at the bend."""
    builder, step = scope.builder, unit.output.scale[0]
    # TFLite narrows alpha to float32 before it forms the multiplier.
    alpha = float(np.float32(node.attributes.get_float("alpha", 0.01)))
    rounding = builder.profile.rounding("leaky_relu", source.dtype)
    scale = builder.profile.scale
    inputs = [
        source.value,
        builder.int32(source.zero_point),
        builder.constant(-1 if alpha < 0 else 1, "int8", "int8_slope"),
        *builder.multiplier(scale("leaky_relu", (source.scale,), step), f"{unit.name}_positive"),
        *builder.multiplier(
            scale("leaky_relu", (source.scale, abs(alpha)), step), f"{unit.name}_negative"
        ),
        *builder.limits(unit.output, UNBOUNDED),
    ]
    operator = rounding_variant("PRelu", rounding)
    to = {"to": onnx_type(unit.output.dtype)}
    return builder.op(operator, inputs, unit.output.dtype, unit.name, to, unit.shape)[0]


def _domain(scope: Scope, unit: Unit, root: ir.Value, source: Quantized) -> tuple[float, float]:
    """Where the function of a region with an int16 input is defined.

    16-bit tensors are symmetric, so half of their integers stand for numbers that a square root or
    a logarithm never gets, whatever the range was: such inputs count as the nearest that has a
    result.
    """
    x = np.arange(-32768, 32768).astype(np.float64) * source.scale
    defined = x[~np.isnan(evaluate(scope, unit.value, root, x, partial=True))]
    if len(defined) == 0:
        raise RefusedError("its result is nowhere a number")
    if len(defined) == len(x):
        return UNBOUNDED
    return float(defined.min()), float(defined.max())


def _interpolated(
    scope: Scope, unit: Unit, root: ir.Value, source: Quantized, sole: ir.Node | None
) -> ir.Value:
    builder = scope.builder
    target = unit.output
    inner = target
    if target.dtype != "int16":
        reach = max(target.maximum - target.zero_point[0], target.zero_point[0] - target.minimum)
        inner = TensorQuantization("int16", (target.scale[0] * reach / 32767.0,), (0,))
    entries: NDArray[Any] | None = None
    if sole is not None:
        attributes = node_attributes(sole)
        entries = function_table_int16(
            sole.op_type, attributes, source.quantization, inner, builder.profile
        )
    if entries is None:
        low, high = _domain(scope, unit, root, source)

        def function(x: NDArray[np.float64]) -> NDArray[np.float64]:
            within = np.clip(np.asarray(x, np.float64), low, high)
            return evaluate(scope, unit.value, root, within)

        entries = table_int16(function, source.quantization, inner)
    table = builder.constant(entries, "int16", f"{unit.name}_table")
    name = unit.name if inner is target else f"{unit.name}_int16"
    [result] = builder.op(
        "TableInterpolated", [source.value, table], "int16", name, shape=unit.shape
    )
    if inner is target:
        return result
    set_quantization(result, inner)
    return builder.requantize(
        Quantized(result, inner), target, unit.name, clamp=UNBOUNDED, shape=unit.shape
    )
