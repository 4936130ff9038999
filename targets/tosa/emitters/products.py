"""CONV2D, DEPTHWISE_CONV2D, TRANSPOSE_CONV2D and MATMUL: products, their bias and their rescale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.integer_graph import required
from intaglio.targets.tflite.emitters.convolutions import Accumulator, accumulator
from intaglio.targets.tflite.emitters.windows import Window, read_window
from intaglio.targets.tosa.emitters.common import (
    cut,
    cut_to_window,
    finish,
    sliding,
    stage_of,
)
from intaglio.targets.tosa.emitters.parameters import (
    bias_of,
    kept_in_range,
    reach_of,
    zero_point_of,
)
from intaglio.targets.tosa.emitters.sixteen_bit_weights import sums_of
from intaglio.targets.tosa.emitters.table_sums import TABLE_SUMS, emit_table_sums
from intaglio.targets.tosa.emitters.transposed import emit_transposed
from intaglio.targets.tosa.scope import MOST_PARTS, Emitter, Scope
from intaglio.targets.tosa.writer import Field

_CONVOLUTIONS = frozenset({"ConvInteger", "ConvInteger8By16"})
_TRANSPOSED = frozenset({"ConvTransposeInteger"})
_PRODUCTS = frozenset({"MatMulInteger", "MatMulInteger8By16"})


def _rescale(scope: Scope, node: ir.Node) -> None:
    sums = accumulator(scope, node.inputs[0])  # type: ignore[arg-type]
    operator = "" if sums.node is None else sums.node.op_type
    if operator in _CONVOLUTIONS:
        _convolution(scope, node, sums)
    elif operator in _TRANSPOSED:
        emit_transposed(scope, node, sums)
    elif operator in _PRODUCTS:
        _product(scope, node, sums)
    elif operator in ("Sub", "Cast") and sums.bias is None:
        _requantize(scope, node, sums.node)
    elif operator in TABLE_SUMS:
        emit_table_sums(scope, node, sums.node, sums.bias)
    else:
        raise RefusedError(
            f"the target has no operator for {operator or 'this sum'}",
            "convert to onnx-integer, which has it",
        )


def _centered(scope: Scope, product: ir.Node, weight: NDArray[Any]) -> NDArray[np.int64]:
    """A weight less its zero point: [channels, inputs]."""
    flat = weight.reshape(len(weight), -1).astype(np.int64)
    return np.asarray(flat - zero_point_of(scope, product, 3), np.int64)


def _convolution(scope: Scope, rescale: ir.Node, sums: Accumulator) -> None:
    node = sums.node
    if node is None:
        raise InternalError("no convolution")
    source, value = scope.outside(node.inputs[0]), rescale.outputs[0]
    shape, result = scope.shape(source), scope.shape(value)
    weight = scope.numbers(node.inputs[1])
    window = read_window(node, shape[1:3], result[1:3], weight.shape[2:])
    data, shape = cut_to_window(scope, scope.name(source), shape, window)
    group = node.attributes.get_int("group", 1)
    stage = stage_of(scope, rescale)
    centered = _centered(scope, node, weight)
    bias = kept_in_range(bias_of(sums, result[3]), centered, stage)
    points = (zero_point_of(scope, node, 2), zero_point_of(scope, node, 3))
    name = f"{value.name}_sums"
    if group > 1 and group == shape[3] and weight.shape[1] == 1:
        # [C M, 1, h, w] as [h, w, C, M]
        kernel = weight.reshape(group, -1, *weight.shape[2:]).transpose(2, 3, 0, 1)
        slide = partial(_slide, scope, "DEPTHWISE_CONV2D", data, window, result)
    else:
        kernel = weight.transpose(0, 2, 3, 1)
        slide = partial(_slide, scope, "CONV2D", data, window, result)
        if group > 1:
            slide = partial(_grouped, scope, data, shape, window, result, group)
    made = sums_of(scope, slide, kernel, centered, bias, points, result, name)
    finish(scope, made, value, stage, reach=reach_of(bias, centered))


def _slide(
    scope: Scope,
    operator: str,
    data: str,
    window: Window,
    shape: Sequence[int],
    kernel: NDArray[Any],
    bias: NDArray[np.int32],
    points: tuple[int, int],
    name: str,
) -> str:
    target = scope.intermediate(name, shape, "int32")
    inputs = [
        data,
        scope.constant(f"{target}_kernel", np.ascontiguousarray(kernel), "int8"),
        scope.constant(f"{target}_bias", bias),
        scope.constant("input_zero_point", [points[0]], "int8"),
        scope.constant("weight_zero_point", [points[1]], "int8"),
    ]
    return scope.operator(operator, inputs, target, sliding(window))


def _grouped(
    scope: Scope,
    data: str,
    source: Sequence[int],
    window: Window,
    shape: tuple[int, ...],
    group: int,
    kernel: NDArray[Any],
    bias: NDArray[np.int32],
    points: tuple[int, int],
    name: str,
) -> str:
    """A convolution for each group of channels, put together again."""
    taken, made = source[3] // group, shape[3] // group
    parts = []
    for index in range(group):
        size = (*source[:3], taken)
        own = scope.intermediate(f"{data}_group", size, "int8")
        cut(scope, data, (0, 0, 0, index * taken), size, own)
        rows, part = slice(index * made, (index + 1) * made), (*shape[:3], made)
        arguments = (kernel[rows], bias[rows], points, f"{name}_group")
        parts.append(_slide(scope, "CONV2D", own, window, part, *arguments))
    while len(parts) > MOST_PARTS:
        runs = [parts[first : first + MOST_PARTS] for first in range(0, len(parts), MOST_PARTS)]
        parts = [_joined(scope, run, (*shape[:3], made * len(run)), name) for run in runs]
        made *= MOST_PARTS
    return _joined(scope, parts, shape, name)


def _joined(scope: Scope, parts: Sequence[str], shape: Sequence[int], name: str) -> str:
    whole = scope.intermediate(name, shape, "int32")
    return scope.operator("CONCAT", parts, whole, [Field(0, "int", 3)])


def _product(scope: Scope, rescale: ir.Node, sums: Accumulator) -> None:
    """A product with constant weights is a convolution of one place, others are a MATMUL."""
    node = sums.node
    if node is None:
        raise InternalError("no product")
    weight = scope.array(node.inputs[1])
    if weight is None or weight.ndim > 2:
        _batched(scope, rescale, node, sums)
        return
    source, value = required(node.inputs[0]), rescale.outputs[0]
    shape = scope.shape(source)
    weight = weight.reshape(weight.shape[0], -1)
    depth, channels = weight.shape
    rows = math.prod(shape[:-1])
    flat = (1, rows, 1, depth)
    data = scope.reshape(scope.name(source), flat, scope.intermediate("rows", flat, "int8"))
    window = Window((rows, 1), (rows, 1), (1, 1), (1, 1), (1, 1), (0, 0))
    size = (1, rows, 1, channels)
    kernel = weight.T.reshape(channels, 1, 1, depth)
    points = (zero_point_of(scope, node, 2), zero_point_of(scope, node, 3))
    stage = stage_of(scope, rescale)
    centered = _centered(scope, node, weight.T)
    bias = kept_in_range(bias_of(sums, channels), centered, stage)
    slide = partial(_slide, scope, "CONV2D", data, window, size)
    made = sums_of(scope, slide, kernel, centered, bias, points, size, f"{value.name}_sums")
    finish(scope, made, value, stage, shape=size, reach=reach_of(bias, centered))


def _batched(scope: Scope, rescale: ir.Node, node: ir.Node, sums: Accumulator) -> None:
    """A product of two stacks of matrices."""
    operands = [required(operand) for operand in node.inputs[:2]]
    shapes = [scope.shape(operand) for operand in operands]
    if min(map(len, shapes)) < 2:
        raise RefusedError(
            "MATMUL takes matrices, and an operand has one dimension",
            "give it a second dimension (Unsqueeze) in the model",
        )
    value = rescale.outputs[0]
    leading = np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2])
    names = [_stack(scope, operand, leading) for operand in operands]
    size = (math.prod(leading), shapes[0][-2], shapes[1][-1])
    made = scope.intermediate(f"{value.name}_sums", size, "int32")
    points = [
        scope.constant("input_zero_point", [zero_point_of(scope, node, place)], "int8")
        for place in (2, 3)
    ]
    scope.operator("MATMUL", [*names, *points], made)
    if sums.bias is not None:
        if sums.bias.size not in (1, size[2]):
            raise RefusedError(
                "the bias of this product is no row", "add it by an Add behind the product"
            )
        bias = scope.constant(f"{value.name}_bias", sums.bias.reshape(1, 1, -1), "int32")
        total = scope.intermediate(f"{value.name}_biased", size, "int32")
        made = scope.operator("ADD", [made, bias], total)
    reach = 255**2 * shapes[0][-1] + (0 if sums.bias is None else int(np.abs(sums.bias).max()))
    finish(scope, made, value, stage_of(scope, rescale), shape=size, reach=reach)


def _stack(scope: Scope, operand: ir.Value, leading: tuple[int, ...]) -> str:
    """An operand as one stack of matrices, repeated where the other one has more."""
    shape, name = scope.shape(operand), str(operand.name)
    *_, rows, columns = shape
    flat = (math.prod(leading), rows, columns)
    array = scope.array(operand)
    if array is not None:
        whole = np.broadcast_to(array, (*leading, rows, columns)).reshape(flat)
        return scope.constant(f"{name}_stack", whole, "int8")
    data = scope.name(operand)
    if shape[:-2] != leading:
        own = (1,) * (len(leading) + 2 - len(shape)) + shape
        if own != shape:
            data = scope.reshape(data, own, scope.intermediate(f"{name}_rank", own, "int8"))
        times = [new // old for new, old in zip(leading, own[:-2], strict=True)]
        tiled = scope.intermediate(f"{name}_tiled", (*leading, rows, columns), "int8")
        data = scope.operator("TILE", [data, scope.sizes("multiples", [*times, 1, 1])], tiled)
    return scope.reshape(data, flat, scope.intermediate(f"{name}_stack", flat, "int8"))


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
