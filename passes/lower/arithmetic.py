"""Add, Sub, Mul, means and PRelu: rescaled integer arithmetic of TFLite's reference kernels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from intaglio.passes.lower.builder import Quantized, onnx_type, rounding_variant
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.lower.unit import Scope, Unit, attribute, static_dims
from intaglio.transforms.fixed_point import FixedPoint, quantize_multiplier
from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.softmax import exp_table

#: Entries of a row of SOFTMAX: each may add 2^19 to an int32 sum.
SOFTMAX_LIMIT = 4095


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
    inputs = [
        first.value,
        second.value,
        builder.int32(first.zero_point),
        builder.int32(second.zero_point),
        *builder.multiplier(first.scale * second.scale / unit.output.scale[0], unit.name),
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


def lower_mean(scope: Scope, unit: Unit) -> ir.Value:
    """GlobalAveragePool and ReduceMean: MEAN, with 1/n folded into the multiplier."""
    node, builder = unit.node, scope.builder
    source = scope.tensor(node.inputs[0])
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if shape is None:
        raise RefusedError("the rank of its input is not known")
    keepdims = 1
    if node.op_type == "GlobalAveragePool":
        axes = list(range(2, len(shape)))
    else:
        keepdims = int(attribute(node, "keepdims", 1))
        axes = _reduce_axes(scope, node, len(shape))
    count = math.prod(static_dims(node.inputs[0], axes, "the mean"))
    if count == 0:
        raise RefusedError("the mean of no elements is not defined")
    if not axes:
        return builder.requantize(
            source, unit.output, unit.name, clamp=unit.clamp, shape=unit.shape
        )
    reach = 2**15 if source.dtype == "int16" else 255
    if count * reach >= 2**31:
        raise RefusedError(
            f"the sum of {count} elements does not fit int32", "take the mean in two steps"
        )
    multiplier, shift = _fold_count(quantize_multiplier(source.scale / unit.output.scale[0]), count)
    rounding = builder.profile.rounding("mean", source.dtype)
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
        rounding_variant("Mean", rounding),
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


def _fold_count(fixed: FixedPoint, count: int) -> tuple[int, int]:
    """``multiplier / count`` as TFLite's MEAN computes it: ``(m << k) // n``, shift + k."""
    multiplier, shift = int(fixed.multiplier), int(fixed.shift)
    exponent = 31 - shift
    k = min(count.bit_length() - 1, 32, 31 + exponent)
    return (multiplier << k) // count, shift + k


def lower_prelu(scope: Scope, unit: Unit) -> ir.Value:
    """PRELU: one rescale for each sign; slopes symmetric, int8, or int16 as the input is."""
    node, builder = unit.node, scope.builder
    source = scope.tensor(node.inputs[0])
    slope = scope.slope(node.inputs[1], source.dtype)
    if slope.zero_point != 0 or slope.quantization.per_channel:
        raise RefusedError("its slopes must be symmetric, with one scale")
    if slope.dtype == "int16" and source.dtype != "int16":
        raise RefusedError("its slopes must be int8, as its input is")
    rounding = builder.profile.rounding("prelu", source.dtype)
    inputs = [
        source.value,
        builder.int32(source.zero_point),
        slope.value,
        *builder.multiplier(source.scale / unit.output.scale[0], f"{unit.name}_positive"),
        *builder.multiplier(
            source.scale * slope.scale / unit.output.scale[0], f"{unit.name}_negative"
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
    if size > SOFTMAX_LIMIT:
        raise RefusedError(
            f"it sums {size} exponentials, which int32 cannot hold",
            f"the kernel takes rows of up to {SOFTMAX_LIMIT}",
        )
    source = builder.int8(scope.tensor(node.inputs[0]), unit.name)
    natural = TensorQuantization("int8", (1.0 / 256.0,), (-128,))
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


def _to(dtype: str) -> dict[str, Any]:
    return {"to": onnx_type(dtype)}
