"""CONV2D, DEPTHWISE_CONV2D, TRANSPOSE_CONV2D and MATMUL: products, their bias and their rescale."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.integer_graph import required
from intaglio.targets.tflite.emitters.attributes import integers
from intaglio.targets.tflite.emitters.convolutions import Accumulator, accumulator
from intaglio.targets.tflite.emitters.windows import Window, read_window
from intaglio.targets.tosa.emitters.common import (
    INT32,
    Stage,
    cut_to_window,
    finish,
    sliding,
    stage_of,
)
from intaglio.targets.tosa.scope import Emitter, Scope
from intaglio.targets.tosa.writer import Field

_CONVOLUTIONS = frozenset({"ConvInteger"})
_TRANSPOSED = frozenset({"ConvTransposeInteger"})
_PRODUCTS = frozenset({"MatMulInteger"})


def _rescale(scope: Scope, node: ir.Node) -> None:
    sums = accumulator(scope, node.inputs[0])  # type: ignore[arg-type]
    operator = "" if sums.node is None else sums.node.op_type
    if operator in _CONVOLUTIONS:
        _convolution(scope, node, sums)
    elif operator in _TRANSPOSED:
        _transposed(scope, node, sums)
    elif operator in _PRODUCTS:
        _product(scope, node, sums)
    elif operator in ("Sub", "Cast") and sums.bias is None:
        _requantize(scope, node, sums.node)
    else:
        raise RefusedError(
            f"the target has no operator for {operator or 'this sum'}",
            "convert to onnx-integer, which has it",
        )


def _bias(sums: Accumulator, channels: int) -> NDArray[np.int32]:
    codes = np.zeros(1, np.int64) if sums.bias is None else sums.bias.reshape(-1)
    return np.broadcast_to(codes, (channels,)).astype(np.int32)


#: What saturates by so much saturates whatever the zero point.
_BEYOND = 512


def kept_in_range(bias: NDArray[np.int32], weight: NDArray[Any], stage: Stage) -> NDArray[np.int32]:
    """The bias of each channel, nearer to 0 where the result is the same: saturated, or always 0.

    A RESCALE takes numbers below ``2^(shift - 1)``. Channels that are off have biases of 2^30.

    Args:
        bias: [channels].
        weight: Integers of the weight: [channels, inputs].
        stage: The rescale behind it.
    """
    multiplier, shift = (
        np.broadcast_to(each, bias.shape).astype(np.int64)
        for each in (stage.multiplier, stage.shift)
    )
    reach = 255 * np.abs(weight.astype(np.int64)).sum(1)
    # Numbers of int64: a sum has at most 32 bits, a multiplier 31.
    most = np.minimum((1 << (shift - 1)) - 1, 2**31 - 1) - reach
    kept = bias.astype(np.int64)
    for sign in (1, -1):
        saturated = (most - reach) * multiplier >> shift >= _BEYOND
        nearer = (sign * kept > most) & (saturated | (multiplier == 0))
        kept = np.where(nearer, sign * most, kept)
    return kept.astype(np.int32)


def _zero_point(scope: Scope, product: ir.Node, place: int = 2) -> int:
    inputs = [*product.inputs, None, None]
    return 0 if inputs[place] is None else scope.number(inputs[place])


def _require_centered_weight(scope: Scope, product: ir.Node) -> None:
    if _zero_point(scope, product, 3):
        raise RefusedError(
            "its weights have a zero point, which TOSA's int8 convolutions do not take",
            "convert the float model, which quantizes weights symmetrically",
        )


def _convolution(scope: Scope, rescale: ir.Node, sums: Accumulator) -> None:
    node = sums.node
    if node is None:
        raise InternalError("no convolution")
    _require_centered_weight(scope, node)
    source, value = scope.outside(node.inputs[0]), rescale.outputs[0]
    shape, result = scope.shape(source), scope.shape(value)
    weight = scope.numbers(node.inputs[1])
    window = read_window(node, shape[1:3], result[1:3], weight.shape[2:])
    data, shape = cut_to_window(scope, scope.name(source), shape, window)
    group = node.attributes.get_int("group", 1)
    stage = stage_of(scope, rescale)
    bias = kept_in_range(_bias(sums, result[3]), weight.reshape(result[3], -1), stage)
    point = _zero_point(scope, node)
    name = f"{value.name}_sums"
    if group > 1 and group == shape[3] and weight.shape[1] == 1:
        # [C M, 1, h, w] as [h, w, C, M]
        kernel = weight.reshape(group, -1, *weight.shape[2:]).transpose(2, 3, 0, 1)
        made = scope.intermediate(name, result, "int32")
        _slide(scope, "DEPTHWISE_CONV2D", data, kernel, bias, point, window, made)
    elif group == 1:
        made = scope.intermediate(name, result, "int32")
        _slide(scope, "CONV2D", data, weight.transpose(0, 2, 3, 1), bias, point, window, made)
    else:
        made = _grouped(scope, data, shape, weight, bias, point, window, group, result, name)
    finish(scope, made, value, stage)


def _slide(
    scope: Scope,
    operator: str,
    data: str,
    kernel: NDArray[Any],
    bias: NDArray[np.int32],
    zero_point: int,
    window: Window,
    target: str,
) -> str:
    inputs = [
        data,
        scope.constant(f"{target}_kernel", np.ascontiguousarray(kernel), "int8"),
        scope.constant(f"{target}_bias", bias),
        scope.constant("input_zero_point", [zero_point], "int8"),
        scope.constant("weight_zero_point", [0], "int8"),
    ]
    return scope.operator(operator, inputs, target, sliding(window))


def _grouped(
    scope: Scope,
    data: str,
    shape: tuple[int, ...],
    weight: NDArray[Any],
    bias: NDArray[np.int32],
    point: int,
    window: Window,
    group: int,
    result: tuple[int, ...],
    name: str,
) -> str:
    """A convolution for each group of channels, put together again."""
    taken, made = shape[3] // group, result[3] // group
    parts = []
    for index in range(group):
        size = (*shape[:3], taken)
        own = scope.intermediate(f"{data}_group", size, "int8")
        start = scope.sizes("start", [0, 0, 0, index * taken])
        scope.operator("SLICE", [data, start, scope.sizes("size", size)], own)
        rows = slice(index * made, (index + 1) * made)
        target = scope.intermediate(f"{name}_group", (*result[:3], made), "int32")
        kernel = weight[rows].transpose(0, 2, 3, 1)
        parts.append(_slide(scope, "CONV2D", own, kernel, bias[rows], point, window, target))
    whole = scope.intermediate(name, result, "int32")
    return scope.operator("CONCAT", parts, whole, [Field(0, "int", 3)])


def _transposed(scope: Scope, rescale: ir.Node, sums: Accumulator) -> None:
    node = sums.node
    if node is None:
        raise InternalError("no convolution")
    group, dilations = node.attributes.get_int("group", 1), integers(node, "dilations", [1, 1])
    if group != 1 or dilations != [1, 1]:
        raise RefusedError(
            "TOSA's TRANSPOSE_CONV2D has neither groups nor dilations",
            "replace it by one of a single group without dilations",
        )
    source, value = scope.outside(node.inputs[0]), rescale.outputs[0]
    shape, result = scope.shape(source), scope.shape(value)
    weight = scope.numbers(node.inputs[1])  # [in, out, h, w]
    strides = integers(node, "strides", [1, 1])
    pads = integers(node, "pads", [0, 0, 0, 0])
    out_pads = []
    for axis in (0, 1):
        full = (shape[axis + 1] - 1) * strides[axis] + weight.shape[axis + 2]
        before = -pads[axis]
        out_pads += [before, result[axis + 1] - full - before]
    name = f"{value.name}_sums"
    made = scope.intermediate(name, result, "int32")
    inputs = [
        scope.name(source),
        scope.constant(
            f"{name}_kernel", np.ascontiguousarray(weight.transpose(1, 2, 3, 0)), "int8"
        ),
        scope.constant(f"{name}_bias", _bias(sums, result[3])),
        scope.constant("input_zero_point", [_zero_point(scope, node)], "int8"),
        scope.constant("weight_zero_point", [0], "int8"),
    ]
    fields = [Field(0, "ints", out_pads), Field(1, "ints", strides), Field(3, "enum", INT32)]
    scope.operator("TRANSPOSE_CONV2D", inputs, made, fields)
    finish(scope, made, value, stage_of(scope, rescale))


def _product(scope: Scope, rescale: ir.Node, sums: Accumulator) -> None:
    """A product with constant weights is a convolution of one place, others are a MATMUL."""
    node = sums.node
    if node is None:
        raise InternalError("no product")
    weight = scope.array(node.inputs[1])
    if weight is None or weight.ndim > 2:
        _batched(scope, rescale, node, sums)
        return
    _require_centered_weight(scope, node)
    source, value = required(node.inputs[0]), rescale.outputs[0]
    shape = scope.shape(source)
    weight = weight.reshape(weight.shape[0], -1)
    depth, channels = weight.shape
    rows = math.prod(shape[:-1])
    flat = (1, rows, 1, depth)
    data = scope.reshape(scope.name(source), flat, scope.intermediate("rows", flat, "int8"))
    window = Window((rows, 1), (rows, 1), (1, 1), (1, 1), (1, 1), (0, 0))
    made = scope.intermediate(f"{value.name}_sums", (1, rows, 1, channels), "int32")
    kernel = weight.T.reshape(channels, 1, 1, depth)
    point, stage = _zero_point(scope, node), stage_of(scope, rescale)
    bias = kept_in_range(_bias(sums, channels), weight.T, stage)
    _slide(scope, "CONV2D", data, kernel, bias, point, window, made)
    finish(scope, made, value, stage, shape=(1, rows, 1, channels))


def _batched(scope: Scope, rescale: ir.Node, node: ir.Node, sums: Accumulator) -> None:
    if sums.bias is not None:
        raise RefusedError("MATMUL has no bias", "add it by an Add behind the product")
    first, second = required(node.inputs[0]), required(node.inputs[1])
    shapes = [scope.shape(first), scope.shape(second)]
    if min(map(len, shapes)) < 2 or shapes[0][:-2] != shapes[1][:-2]:
        raise RefusedError(
            "MATMUL takes stacks of as many matrices", "expand the smaller stack in the model"
        )
    value = rescale.outputs[0]
    stack = math.prod(shapes[0][:-2])
    names = []
    for operand, shape in zip((first, second), shapes, strict=True):
        flat = (stack, *shape[-2:])
        target = scope.intermediate(f"{operand.name}_stack", flat, "int8")
        names.append(scope.reshape(scope.name(operand), flat, target))
    size = (stack, shapes[0][-2], shapes[1][-1])
    made = scope.intermediate(f"{value.name}_sums", size, "int32")
    points = [
        scope.constant("input_zero_point", [_zero_point(scope, node, place)], "int8")
        for place in (2, 3)
    ]
    scope.operator("MATMUL", [*names, *points], made)
    finish(scope, made, value, stage_of(scope, rescale), shape=size)


def _requantize(scope: Scope, node: ir.Node, centering: ir.Node | None) -> None:
    """RESCALE of int8: what it reads is centered by a Sub, or has the zero point 0."""
    if centering is None:
        raise InternalError("nothing to rescale")
    zero_point, cast = 0, centering
    if centering.op_type == "Sub":
        zero_point = scope.number(centering.inputs[1])
        found = required(centering.inputs[0]).producer()
        if found is None or found.op_type != "Cast":
            raise RefusedError("the target has no operator that rescales such a difference")
        cast = found
    scope.claim(cast)
    source = required(cast.inputs[0])
    data, dtype = scope.name(source), scope.dtype(source)
    finish(scope, data, node.outputs[0], stage_of(scope, node), dtype=dtype, zero_point=zero_point)


EMITTERS: dict[str, Emitter] = dict.fromkeys(
    ("RescaleDouble", "RescaleSingle", "RescaleWide", "RescaleReal"), _rescale
)
