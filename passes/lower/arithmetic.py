"""Add, Sub, Mul, means and PRelu: rescaled integer arithmetic of TFLite's reference kernels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from intaglio.passes.annotations import set_quantization
from intaglio.passes.lower.builder import Quantized, onnx_type, rounding_variant
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.lower.unit import Scope, Unit, attribute, static_dims
from intaglio.passes.operators import FIXED_INT16_SCALE
from intaglio.transforms.fixed_point import FixedPoint, quantize_multiplier
from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.softmax import (
    OUTPUT_SCALE,
    OUTPUT_ZERO_POINT,
    exp_table,
    int16_scale,
    int16_tables,
)

#: Entries of a row of SOFTMAX: each may add 2^19 to an int32 sum.
SOFTMAX_LIMIT = 4095
#: The same of int16: each may add 2^15.
WIDE_SOFTMAX_LIMIT = 65535


def lower_add_sub(scope: Scope, unit: Unit) -> ir.Value:
    """ADD and SUB: both operands in units of ``2 * max(scale) / 2^left_shift``, then one rescale.

    The left shift is 20 for int8 and 15 where an operand or the result is int16.
    """
    node, builder = unit.node, scope.builder
    first, second = _operands(scope, node)
    dtypes = (first.dtype, second.dtype, unit.output.dtype)
    left_shift = 15 if "int16" in dtypes else 20
    twice = 2.0 * max(first.scale, second.scale)
    rounding = builder.profile.rounding("add", "int16" if "int16" in dtypes else "int8")
    inputs = [
        first.value,
        second.value,
        builder.int32(first.zero_point),
        builder.int32(second.zero_point),
        builder.int32(left_shift),
        *builder.multiplier(first.scale / twice, f"{unit.name}_first"),
        *builder.multiplier(second.scale / twice, f"{unit.name}_second"),
        *builder.multiplier(twice / (2.0**left_shift * unit.output.scale[0]), unit.name),
        *builder.limits(unit.output, unit.clamp),
    ]
    operator = rounding_variant(node.op_type, rounding)
    [result] = builder.op(
        operator, inputs, unit.output.dtype, unit.name, _to(unit.output.dtype), unit.shape
    )
    return result


def lower_mul(scope: Scope, unit: Unit) -> ir.Value:
    """MUL: one rescale of the product."""
    node, builder = unit.node, scope.builder
    first, second = _operands(scope, node)
    dtypes = (first.dtype, second.dtype, unit.output.dtype)
    rounding = builder.profile.rounding("mul", "int16" if "int16" in dtypes else "int8")
    scale = builder.profile.scale("mul", (first.scale, second.scale), unit.output.scale[0])
    inputs = [
        first.value,
        second.value,
        builder.int32(first.zero_point),
        builder.int32(second.zero_point),
        *builder.multiplier(scale, unit.name),
        *builder.limits(unit.output, unit.clamp),
    ]
    operator = rounding_variant("Mul", rounding)
    [result] = builder.op(
        operator, inputs, unit.output.dtype, unit.name, _to(unit.output.dtype), unit.shape
    )
    return result


def _operands(scope: Scope, node: ir.Node) -> list[Quantized]:
    """Both operands; a constant in float is written in the type of the other one."""
    computed = [scope.tensor(v).dtype for v in node.inputs if scope.constant(v) is None]
    dtype = "int16" if "int16" in computed else "int8"
    return [scope.operand(v, dtype) for v in node.inputs]


def lower_extreme(scope: Scope, unit: Unit) -> ir.Value:
    """Max and Min of several tensors: MAXIMUM and MINIMUM, two at a time, on one scale."""
    node, builder = unit.node, scope.builder
    codes = [_on_scale(scope, unit, v, index) for index, v in enumerate(node.inputs)]
    if len(codes) == 1:
        return builder.requantize(
            Quantized(codes[0], unit.output), unit.output, unit.name, shape=unit.shape
        )
    result = codes[0]
    for index, other in enumerate(codes[1:], start=1):
        last = index == len(codes) - 1
        [result] = builder.op(
            f"{node.op_type}Integer",
            [result, other],
            unit.output.dtype,
            unit.name if last else f"{unit.name}_part_{index}",
            shape=unit.shape if last else None,
        )
        set_quantization(result, unit.output)
    return result


def _on_scale(scope: Scope, unit: Unit, value: ir.Value | None, index: int) -> ir.Value:
    """An operand on the scale of the result."""
    builder = scope.builder
    constant = scope.constant(value)
    name = f"{unit.name}_operand_{index}"
    if constant is not None and constant.quantization != unit.output:
        codes = unit.output.quantize(constant.real)
        return builder.constant(codes, unit.output.dtype, name, unit.output)
    source = scope.tensor(value)
    if source.quantization == unit.output:
        return source.value
    shape = None if value is None else value.shape
    return builder.requantize(source, unit.output, name, shape=shape)


def lower_reduced_extreme(scope: Scope, unit: Unit) -> ir.Value:
    """ReduceMax, ReduceMin and GlobalMaxPool: REDUCE_MAX and REDUCE_MIN, one scale in and out."""
    node, builder = unit.node, scope.builder
    source = scope.tensor(node.inputs[0])
    axes, keepdims = _reduction(scope, node)
    same = source.quantization == unit.output
    if not axes:
        return builder.requantize(source, unit.output, unit.name, shape=unit.shape)
    operator = "ReduceMinInteger" if node.op_type == "ReduceMin" else "ReduceMaxInteger"
    [result] = builder.op(
        operator,
        [source.value, builder.constant(axes, "int64", f"{unit.name}_axes")],
        source.dtype,
        unit.name if same else f"{unit.name}_reduced",
        {"keepdims": keepdims},
        unit.shape,
    )
    if same:
        return result
    reduced = Quantized(result, source.quantization)
    return builder.requantize(reduced, unit.output, unit.name, shape=unit.shape)


def _reduction(scope: Scope, node: ir.Node) -> tuple[list[int], int]:
    """Axes of a reduction, counted from the first, and whether they are kept."""
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if shape is None:
        raise RefusedError("the rank of its input is not known")
    if node.op_type.startswith("Global"):
        return list(range(2, len(shape))), 1
    return _reduce_axes(scope, node, len(shape)), int(attribute(node, "keepdims", 1))


def lower_mean(scope: Scope, unit: Unit) -> ir.Value:
    """GlobalAveragePool, ReduceMean: MEAN, with 1/n folded into the multiplier. ReduceSum: SUM."""
    node, builder = unit.node, scope.builder
    source = scope.tensor(node.inputs[0])
    axes, keepdims = _reduction(scope, node)
    kind = "sum" if node.op_type == "ReduceSum" else "mean"
    count = math.prod(static_dims(node.inputs[0], axes, f"the {kind}"))
    if count == 0:
        raise RefusedError(f"the {kind} of no elements has no integer form")
    if not axes:
        return builder.requantize(
            source, unit.output, unit.name, clamp=unit.clamp, shape=unit.shape
        )
    reach = 2**15 if source.dtype == "int16" else 255
    if count * reach >= 2**31:
        raise RefusedError(
            f"the sum of {count} elements does not fit int32", f"take the {kind} in two steps"
        )
    try:
        fixed = quantize_multiplier(source.scale / unit.output.scale[0])
    except ValueError as error:
        raise RefusedError(str(error), "calibrate with data that the layer answers to") from error
    multiplier, shift = fold_count(fixed, count if kind == "mean" else 1)
    rounding = builder.profile.rounding(kind, source.dtype)
    inputs = [
        source.value,
        builder.constant(axes, "int64", f"{unit.name}_axes"),
        builder.int32(-count * source.zero_point),
        builder.constant(multiplier, "int32", f"{unit.name}_multiplier"),
        builder.constant(shift, "int8", f"{unit.name}_shift"),
        *builder.limits(unit.output, unit.clamp),
    ]
    attributes = {"keepdims": keepdims, **_to(unit.output.dtype)}
    [result] = builder.op(
        rounding_variant(kind.capitalize(), rounding),
        inputs,
        unit.output.dtype,
        unit.name,
        attributes,
        unit.shape,
    )
    return result


def _reduce_axes(scope: Scope, node: ir.Node, rank: int) -> list[int]:
    value = node.inputs[1] if len(node.inputs) > 1 else None
    stated: Any = attribute(node, "axes", [])
    if value is not None:
        if value.const_value is None:
            raise RefusedError("its axes are computed", "make them constant")
        stated = value.const_value.numpy()
    axes = sorted(int(a) % rank for a in np.asarray(stated).reshape(-1))
    # No axes at all, left out or an empty list, mean every axis, or none where that is asked for.
    every = [] if attribute(node, "noop_with_empty_axes", 0) else list(range(rank))
    return axes or every


def fold_count(fixed: FixedPoint, count: int) -> tuple[int, int]:
    """``multiplier / count`` as TFLite's MEAN computes it: ``(m << k) // n``, shift + k."""
    multiplier, shift = int(fixed.multiplier), int(fixed.shift)
    exponent = 31 - shift
    k = min(count.bit_length() - 1, 32, 31 + exponent)
    return (multiplier << k) // count, shift + k


def lower_prelu(scope: Scope, unit: Unit) -> ir.Value:
    """PRELU: one rescale for each sign; slopes symmetric, int8, or int16 as the input is.

    Slopes that a file states with a zero point are 9 bits wide without it, and int16, too.
    """
    node, builder = unit.node, scope.builder
    source = scope.tensor(node.inputs[0])
    slope = scope.slope(node.inputs[1], source.dtype)
    if slope.zero_point != 0 or slope.quantization.per_channel:
        raise RefusedError("its slopes must be symmetric, with one scale")
    stated = scope.constant(node.inputs[1])
    wide = stated is None or stated.quantization is None or stated.quantization.dtype == "int16"
    if slope.dtype == "int16" and source.dtype != "int16" and wide:
        raise RefusedError("its slopes must be int8, as its input is")
    rounding = builder.profile.rounding("prelu", source.dtype)
    scale, step = builder.profile.scale, unit.output.scale[0]
    inputs = [
        source.value,
        builder.int32(source.zero_point),
        slope.value,
        *builder.multiplier(scale("prelu", (source.scale,), step), f"{unit.name}_positive"),
        *builder.multiplier(
            scale("prelu", (source.scale, slope.scale), step), f"{unit.name}_negative"
        ),
        *builder.limits(unit.output, unit.clamp),
    ]
    operator = rounding_variant("PRelu", rounding)
    [result] = builder.op(
        operator, inputs, unit.output.dtype, unit.name, _to(unit.output.dtype), unit.shape
    )
    return result


def lower_softmax(scope: Scope, unit: Unit) -> ir.Value:
    """SOFTMAX by gemmlowp's fixed-point exponential; its own output scale is 1/256."""
    node, builder = unit.node, scope.builder
    axis = int(attribute(node, "axis", -1))
    [size] = static_dims(node.inputs[0], [axis], "a Softmax")
    source = scope.tensor(node.inputs[0])
    limit = WIDE_SOFTMAX_LIMIT if source.dtype == "int16" else SOFTMAX_LIMIT
    if size > limit:
        raise RefusedError(
            f"it sums {size} exponentials, which int32 cannot hold",
            f"the kernel takes rows of up to {limit}",
        )
    if source.dtype == "int16":
        return _wide_softmax(scope, unit, source, axis)
    natural = TensorQuantization("int8", (OUTPUT_SCALE,), (OUTPUT_ZERO_POINT,))
    try:
        exponentials = exp_table(source.scale)
    except ValueError as error:
        raise RefusedError(str(error), "calibrate with data that the layer answers to") from error
    table = builder.constant(exponentials, "int32", f"{unit.name}_exponentials")
    direct = unit.output == natural
    [result] = builder.op(
        "SoftmaxInteger",
        [source.value, table],
        "int8",
        unit.name if direct else f"{unit.name}_softmax",
        {"axis": axis},
        unit.shape,
    )
    if direct:
        return result
    return builder.requantize(Quantized(result, natural), unit.output, unit.name, shape=unit.shape)


def _wide_softmax(scope: Scope, unit: Unit, source: Quantized, axis: int) -> ir.Value:
    """int16 SOFTMAX: two tables with interpolation; its own output scale is 1/32768."""
    builder = scope.builder
    natural = TensorQuantization("int16", (FIXED_INT16_SCALE,), (0,))
    precise = builder.profile.kernel("softmax", "int16") == "float64_tables"
    exponentials, reciprocals = int16_tables(np.float64 if precise else np.float32)
    try:
        factor = int16_scale(source.scale)
    except ValueError as error:
        raise RefusedError(str(error), "calibrate with data that the layer answers to") from error
    direct = unit.output == natural
    inputs = [
        source.value,
        builder.constant(exponentials, "int16", f"{unit.name}_exponentials"),
        builder.constant(reciprocals, "int16", f"{unit.name}_reciprocals"),
        builder.constant(factor.multiplier, "int32", f"{unit.name}_multiplier"),
        builder.constant(factor.shift, "int8", f"{unit.name}_shift"),
    ]
    name = unit.name if direct else f"{unit.name}_softmax"
    [result] = builder.op("SoftmaxInteger16", inputs, "int16", name, {"axis": axis}, unit.shape)
    if direct:
        return result
    return builder.requantize(Quantized(result, natural), unit.output, unit.name, shape=unit.shape)


def _to(dtype: str) -> dict[str, Any]:
    return {"to": onnx_type(dtype)}
