"""Means, sums, averages and maxima over axes and windows."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.integer_graph import required
from intaglio.targets.tflite.emitters.attributes import integers
from intaglio.targets.tflite.emitters.windows import Window, read_window
from intaglio.targets.tosa.emitters.common import (
    cut_to_window,
    finish,
    sliding,
    stage_of,
    widened,
    window_fields,
)
from intaglio.targets.tosa.scope import PROPAGATE, Emitter, Scope
from intaglio.targets.tosa.writer import Field

#: Largest window of a convolution that NPUs take: rows, and places in all.
_ROWS, _PLACES = 64, 64 * 64


def _mean(scope: Scope, node: ir.Node) -> None:
    """A sum and a rescale: over H and W a convolution with ones, else REDUCE_SUM."""
    source, value = required(node.inputs[0]), node.outputs[0]
    shape, axes = scope.shape(source), _axes(scope, node)
    offset = scope.number(node.inputs[2])
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    sums = scope.intermediate(f"{value.name}_sums", kept, "int32")
    whole = len(shape) == 4 and axes == [1, 2]
    if whole and shape[1] <= _ROWS and shape[1] * shape[2] <= _PLACES:
        window = Window(shape[1:3], (1, 1), shape[1:3], (1, 1), (1, 1), (0, 0))  # type: ignore[arg-type]
        window_sums(scope, scope.name(source), shape[3], window, sums, offset)
    else:
        current = widened(scope, scope.name(source), shape, 0)
        size = list(shape)
        for axis in axes:
            size[axis] = 1
            target = scope.intermediate(f"{value.name}_axis", size, "int32")
            scope.operator("REDUCE_SUM", [current], target, [Field(0, "int", axis)])
            current = target
        constant = scope.constant("offset", np.full((1,) * len(shape), offset, np.int32))
        scope.operator("ADD", [current, constant], sums)
    reach = 128 * math.prod(shape[axis] for axis in axes) + abs(offset)
    finish(scope, sums, value, stage_of(scope, node), shape=kept, reach=reach)


def window_sums(
    scope: Scope, data: str, channels: int, window: Window, target: str, offset: int = 0
) -> str:
    """Appends the sums of the raw integers of each window, and an offset."""
    kernel = np.ones((*window.kernel, channels, 1), np.int8)
    inputs = [
        data,
        scope.constant("ones", kernel),
        scope.constant("offset", np.full(channels, offset, np.int32)),
        scope.constant("input_zero_point", [0], "int8"),
        scope.constant("weight_zero_point", [0], "int8"),
    ]
    return scope.operator("DEPTHWISE_CONV2D", inputs, target, sliding(window))


def _axes(scope: Scope, node: ir.Node) -> list[int]:
    rank = len(scope.shape(required(node.inputs[0])))
    return sorted(int(a) % rank for a in scope.numbers(node.inputs[1]).reshape(-1))


def _reduced_extreme(scope: Scope, node: ir.Node) -> None:
    """REDUCE_MAX and REDUCE_MIN, an axis at a time."""
    source, value = required(node.inputs[0]), node.outputs[0]
    operator = "REDUCE_MAX" if node.op_type == "ReduceMaxInteger" else "REDUCE_MIN"
    current, size = scope.name(source), list(scope.shape(source))
    for axis in _axes(scope, node):
        size[axis] = 1
        target = scope.intermediate(f"{value.name}_axis", size, "int8")
        fields = [Field(0, "int", axis), Field(1, "enum", PROPAGATE)]
        current = scope.operator(operator, [current], target, fields)
    scope.reshape(current, scope.shape(value), scope.result(value))


def read_pool(scope: Scope, node: ir.Node) -> tuple[ir.Value, ir.Value, Window]:
    """What a pool reads, its result, and its window."""
    source, value = scope.outside(node.inputs[0]), scope.behind(node.outputs[0])
    shape, result = scope.shape(source), scope.shape(value)
    kernel = integers(node, "kernel_shape", [])
    return source, value, read_window(node, shape[1:3], result[1:3], kernel)


def counts_of(window: Window) -> np.ndarray:
    """Places inside the image of each window: [rows, columns]."""
    sides = []
    for axis in (0, 1):
        first = np.arange(window.output[axis]) * window.strides[axis] - window.before[axis]
        last = first + window.kernel[axis]
        sides.append(np.minimum(last, window.size[axis]) - np.maximum(first, 0))
    return np.outer(sides[0], sides[1])


def _maximum(scope: Scope, node: ir.Node) -> None:
    source, value, window = read_pool(scope, node)
    if window.dilations != (1, 1):
        raise RefusedError("MAX_POOL2D has no dilations", "replace it by MaxPool layers without")
    data, _ = cut_to_window(scope, scope.name(source), scope.shape(source), window)
    pads, strides, _ = window_fields(window)
    fields = [
        Field(0, "ints", list(window.kernel)),
        Field(1, "ints", strides),
        Field(2, "ints", pads),
        Field(3, "enum", PROPAGATE),
    ]
    if max(pads[:2]) >= window.kernel[0] or max(pads[2:]) >= window.kernel[1]:
        raise RefusedError(
            "a window of MAX_POOL2D would lie in the padding alone", "pad by less than the kernel"
        )
    scope.operator("MAX_POOL2D", [data], scope.result(value), fields)


EMITTERS: dict[str, Emitter] = {
    **dict.fromkeys(("MeanDouble", "MeanSingle", "SumDouble", "SumSingle"), _mean),
    "ReduceMaxInteger": _reduced_extreme,
    "ReduceMinInteger": _reduced_extreme,
    "MaxPool": _maximum,
}
