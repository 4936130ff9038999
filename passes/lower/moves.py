"""Operators that move values: the same operator on integers, one scale in and out.

Where a file gives input and output different scales, the result is requantized behind the move.
onnxruntime has no int16 kernels for some of them; those run on int32 between two casts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from intaglio.passes.lower.arithmetic import lower_reduced_extreme
from intaglio.passes.lower.builder import Quantized, onnx_type
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.lower.resize import text
from intaglio.passes.lower.unit import Scope, Unit, attribute, static_dims
from intaglio.transforms.scales import TensorQuantization

#: Moves without an int16 kernel in onnxruntime.
_WIDENED = frozenset({"Pad", "Tile", "Expand"})

_AUTO_PAD = (
    "its padding depends on a symbolic size",
    "bind the symbolic dimensions with --shape NAME=1,3,96,96",
)


def lower_move(scope: Scope, unit: Unit) -> ir.Value:
    """Any operator that only moves values."""
    node, builder = unit.node, scope.builder
    source = scope.tensor(node.inputs[0])
    dtype = source.dtype
    same = source.quantization == unit.output
    name = unit.name if same else f"{unit.name}_moved"
    data = source.value
    widened = dtype == "int16" and node.op_type in _WIDENED
    if widened:
        dtype = "int32"
        [data] = builder.op("Cast", [data], dtype, f"{name}_int32", {"to": onnx_type(dtype)})
    inputs = [data, *_parameters(scope, unit, source.quantization, dtype)]
    attributes = dict(node.attributes.items())
    [result] = builder.op(
        node.op_type, inputs, dtype, f"{name}_wide" if widened else name, attributes, unit.shape
    )
    if widened:
        [result] = builder.op(
            "Cast", [result], source.dtype, name, {"to": onnx_type(source.dtype)}, unit.shape
        )
    if same:
        return result
    moved = Quantized(result, source.quantization)
    return builder.requantize(moved, unit.output, unit.name, shape=unit.shape)


def lower_split(scope: Scope, unit: Unit) -> ir.Value:
    """Split: made once, each part named by the tensor it stands for."""
    node, builder = unit.node, scope.builder
    source = scope.tensor(node.inputs[0])
    if node not in scope.parts:
        inputs = [source.value, *(scope.plain(v) for v in node.inputs[1:])]
        parts = builder.op(
            "Split",
            inputs,
            source.dtype,
            f"{unit.name}_split",
            dict(node.attributes.items()),
            outputs=len(node.outputs),
        )
        for part, old in zip(parts, node.outputs, strict=True):
            part.shape = old.shape
        scope.parts[node] = parts
    part = scope.parts[node][unit.index]
    if source.quantization == unit.output:
        part.name = builder.reserve(unit.name)
        return part
    moved = Quantized(part, source.quantization)
    return builder.requantize(moved, unit.output, unit.name, shape=unit.shape)


def lower_block_move(scope: Scope, unit: Unit) -> ir.Value:
    """DepthToSpace and SpaceToDepth; int16 by functions of ours."""
    node = unit.node
    source = scope.tensor(node.inputs[0])
    if source.dtype == "int8":
        return lower_move(scope, unit)
    attributes: dict[str, Any] = {"blocksize": int(attribute(node, "blocksize"))}
    if node.op_type == "DepthToSpace":
        attributes["mode"] = text(node, "mode", "DCR")
    return _by_operator(scope, unit, f"{node.op_type}Integer16", attributes)


def _by_operator(
    scope: Scope, unit: Unit, operator: str, attributes: Mapping[str, Any]
) -> ir.Value:
    """A move of one tensor by an operator without parameters, or a function of our dialect."""
    builder = scope.builder
    source = scope.tensor(unit.node.inputs[0])
    same = source.quantization == unit.output
    name = unit.name if same else f"{unit.name}_moved"
    [result] = builder.op(operator, [source.value], source.dtype, name, attributes, unit.shape)
    if same:
        return result
    moved = Quantized(result, source.quantization)
    return builder.requantize(moved, unit.output, unit.name, shape=unit.shape)


def lower_identity(scope: Scope, unit: Unit) -> ir.Value:
    """Identity between two quantizations: a requantizer."""
    source = scope.tensor(unit.node.inputs[0])
    return scope.builder.requantize(source, unit.output, unit.name, shape=unit.shape)


def lower_concat(scope: Scope, unit: Unit) -> ir.Value:
    """Concat; inputs with another scale than the output are requantized first."""
    node, builder = unit.node, scope.builder
    inputs: list[ir.Value | None] = []
    for index, value in enumerate(node.inputs):
        constant = scope.constant(value)
        if constant is not None and constant.quantization != unit.output:
            codes = unit.output.quantize(constant.real)
            name = f"{unit.name}_{index}"
            inputs.append(builder.constant(codes, unit.output.dtype, name, unit.output))
            continue
        source = scope.tensor(value)
        if source.quantization == unit.output:
            inputs.append(source.value)
        else:
            inputs.append(builder.requantize(source, unit.output, f"{unit.name}_input_{index}"))
    [result] = builder.op(
        "Concat", inputs, unit.output.dtype, unit.name, dict(node.attributes), unit.shape
    )
    return result


def lower_pool_max(scope: Scope, unit: Unit) -> ir.Value:
    """MaxPool; int16 by a function, or as maxima of shifted slices where it has not two axes."""
    if any(v.uses() or v.is_graph_output() for v in unit.node.outputs[1:]):
        raise RefusedError("the indices of a MaxPool have no integer form")
    if attribute(unit.node, "auto_pad", "NOTSET") != "NOTSET":
        raise RefusedError(*_AUTO_PAD)
    if scope.tensor(unit.node.inputs[0]).dtype == "int8":
        return lower_move(scope, unit)
    if len(attribute(unit.node, "kernel_shape")) != 2:
        return _max_of_slices(scope, unit)
    kept = ("kernel_shape", "strides", "pads", "dilations", "ceil_mode")
    attributes = {k: unit.node.attributes[k] for k in kept if k in unit.node.attributes}
    return _by_operator(scope, unit, "MaxPoolInteger16", attributes)


def lower_global_max(scope: Scope, unit: Unit) -> ir.Value:
    """GlobalMaxPool: a window as large as the image, or a reduction where that is not known."""
    source = scope.tensor(unit.node.inputs[0])
    shape = unit.node.inputs[0].shape if unit.node.inputs[0] is not None else None
    image = [] if shape is None else [d for d in list(shape)[2:] if isinstance(d, int)]
    if shape is None or len(shape) != 4 or len(image) != 2:
        return lower_reduced_extreme(scope, unit)
    operator = "MaxPoolInteger16" if source.dtype == "int16" else "MaxPool"
    return _by_operator(scope, unit, operator, {"kernel_shape": image})


def lower_pool_average(scope: Scope, unit: Unit) -> ir.Value:
    """AVERAGE_POOL_2D: raw integers over the valid elements, ties away from zero."""
    node, builder = unit.node, scope.builder
    source = scope.tensor(node.inputs[0])
    if len(attribute(node, "kernel_shape")) != 2:
        raise RefusedError("only the two-dimensional AveragePool has an integer form")
    if attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        raise RefusedError(*_AUTO_PAD)
    if attribute(node, "count_include_pad", 0) and any(attribute(node, "pads", [0])):
        raise RefusedError(
            "count_include_pad=1 with padding has no integer kernel",
            "use count_include_pad=0, or an explicit Pad before it",
        )
    if any(d != 1 for d in attribute(node, "dilations", [1])):
        raise RefusedError("a dilated AveragePool has no integer kernel")
    kept = ("kernel_shape", "strides", "pads", "ceil_mode")
    attributes = {key: node.attributes[key] for key in kept if key in node.attributes}
    same = source.quantization == unit.output
    name = unit.name if same else f"{unit.name}_pooled"
    [result] = builder.op(
        "AveragePoolInteger", [source.value], source.dtype, name, attributes, unit.shape
    )
    if same:
        return result
    pooled = Quantized(result, source.quantization)
    return builder.requantize(pooled, unit.output, unit.name, shape=unit.shape)


def _parameters(
    scope: Scope, unit: Unit, quantization: TensorQuantization, dtype: str
) -> list[ir.Value | None]:
    node, builder = unit.node, scope.builder
    if node.op_type == "Pad":
        fill: ir.Value | None = None
        if text(node, "mode", "constant") == "constant":
            value = node.inputs[2] if len(node.inputs) > 2 else None
            constant = scope.constant(value)
            if value is not None and constant is None:
                raise RefusedError("its padding value is computed", "make it a constant")
            real = 0.0 if constant is None else float(constant.real.reshape(-1)[0])
            code = int(quantization.quantize(np.array(real)))
            fill = builder.constant(code, dtype, f"{dtype}_{code}")
        axes = [scope.plain(v) for v in node.inputs[3:]]
        return [scope.plain(node.inputs[1]), *([fill, *axes] if fill or axes else [])]
    return [scope.plain(v) for v in node.inputs[1:]]


def _max_of_slices(scope: Scope, unit: Unit) -> ir.Value:
    """Separable maximum: rows, then columns, each over the slices that a window position reads."""
    node, builder = unit.node, scope.builder
    source = scope.tensor(node.inputs[0])
    kernel = [int(k) for k in attribute(node, "kernel_shape")]
    rank = len(kernel)
    strides = [int(s) for s in attribute(node, "strides", [1] * rank)]
    dilations = [int(d) for d in attribute(node, "dilations", [1] * rank)]
    pads = [int(p) for p in attribute(node, "pads", [0] * 2 * rank)]
    dims = static_dims(node.inputs[0], range(2, 2 + rank), "an int16 MaxPool")
    rounding = math.ceil if attribute(node, "ceil_mode", 0) else math.floor
    [current] = builder.op(
        "Cast", [source.value], "int32", f"{unit.name}_int32", {"to": onnx_type("int32")}
    )
    for axis in range(rank):
        span = (kernel[axis] - 1) * dilations[axis] + 1
        before, after = pads[axis], pads[axis + rank]
        size = rounding((dims[axis] + before + after - span) / strides[axis]) + 1
        if (size - 1) * strides[axis] >= dims[axis] + before:
            size -= 1  # a window that would begin in the padding behind the data is dropped
        reach = (size - 1) * strides[axis] + span
        amounts = builder.constant(
            [before, max(0, reach - dims[axis] - before)], "int64", f"{unit.name}_pads_{axis}"
        )
        axes = builder.constant([axis + 2], "int64", f"{unit.name}_axis_{axis}")
        lowest = builder.int32(-32768)
        [padded] = builder.op(
            "Pad", [current, amounts, lowest, axes], "int32", f"{unit.name}_padded_{axis}"
        )
        slices: list[ir.Value | None] = []
        for tap in range(kernel[axis]):
            start = tap * dilations[axis]
            bounds = [start, start + (size - 1) * strides[axis] + 1]
            parameters = [
                builder.constant([bounds[0]], "int64", f"{unit.name}_start_{axis}_{tap}"),
                builder.constant([bounds[1]], "int64", f"{unit.name}_end_{axis}_{tap}"),
                axes,
                builder.constant([strides[axis]], "int64", f"{unit.name}_stride_{axis}"),
            ]
            slices += builder.op(
                "Slice", [padded, *parameters], "int32", f"{unit.name}_tap_{axis}_{tap}"
            )
        [current] = builder.op("Max", slices, "int32", f"{unit.name}_max_{axis}")
    same = source.quantization == unit.output
    name = unit.name if same else f"{unit.name}_pooled"
    [result] = builder.op("Cast", [current], "int16", name, {"to": onnx_type("int16")}, unit.shape)
    if same:
        return result
    pooled = Quantized(result, source.quantization)
    return builder.requantize(pooled, unit.output, unit.name, shape=unit.shape)
