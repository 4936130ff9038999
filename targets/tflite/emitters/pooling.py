"""MEAN, AVERAGE_POOL_2D and MAX_POOL_2D."""

from __future__ import annotations

import math

import onnx_ir as ir

from intaglio.passes.lower.arithmetic import fold_count
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.activations import Ending
from intaglio.targets.tflite.emitters.attributes import integers
from intaglio.targets.tflite.emitters.convolutions import limits
from intaglio.targets.tflite.emitters.multipliers import (
    expect_equal,
    expect_fixed,
    expect_zero_point,
    require_rounding,
)
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.padding import pad_version
from intaglio.targets.tflite.emitters.scope import Emitter, Scope, required
from intaglio.targets.tflite.emitters.windows import VALID, Window, read_window
from intaglio.targets.tflite.resolver import MICRO_PROFILE
from intaglio.transforms.fixed_point import quantize_multiplier


def _mean(scope: Scope, node: ir.Node) -> None:
    """MEAN and SUM: of a mean, the division by the count is part of the multiplier."""
    source, value = required(node.inputs[0]), node.outputs[0]
    meaning, output = scope.quantization(source), scope.quantization(value)
    kind = "mean" if node.op_type.startswith("Mean") else "sum"
    if meaning.dtype != output.dtype:
        raise RefusedError(
            f"{kind.upper()} has no kernel with {meaning.dtype} input and {output.dtype} output",
            "give its input and output the same width",
        )
    axes = _axes(scope, node)
    count = math.prod(scope.shape(source)[a] for a in axes)
    require_rounding(scope, node, kind, meaning.dtype)
    expect_zero_point(scope, node.inputs[-3], output)
    if scope.number(node.inputs[2]) != -count * meaning.zero_point[0]:
        raise RefusedError("it reads the same integers with another zero point than they have")
    fixed = quantize_multiplier(meaning.scale[0] / output.scale[0])
    divided = fold_count(fixed, count if kind == "mean" else 1)
    expect_fixed(scope, node.inputs[3], node.inputs[4], *divided)
    if kind == "sum" and scope.profile.name != MICRO_PROFILE:
        raise RefusedError(
            "LiteRT's reference SUM does not give the sum (2.3)",
            "use ReduceMean, or lower for TFLite Micro: --set lower.profile=tflm",
        )
    ending = Ending(scope, value, limits(scope, node), fuses=False)
    _reduce(scope, kind.upper(), node, ending.target)
    ending.finish()


def _axes(scope: Scope, node: ir.Node) -> list[int]:
    rank = len(scope.shape(required(node.inputs[0])))
    return sorted(int(a) % rank for a in scope.numbers(node.inputs[1]).reshape(-1))


def _reduce(scope: Scope, name: str, node: ir.Node, target: int) -> None:
    source = required(node.inputs[0])
    inputs = [scope.index(source), scope.parameter("axes", _axes(scope, node))]
    version = 2
    if scope.quantization(source).dtype == "int16":
        version = 1 if name == "SUM" else 3
    chosen = options("ReducerOptions", keepDims=bool(node.attributes.get_int("keepdims", 1)))
    scope.operator(name, inputs, [target], chosen, version)


def _reduced_extreme(scope: Scope, node: ir.Node) -> None:
    value = node.outputs[0]
    expect_equal(scope.quantization(required(node.inputs[0])), scope.quantization(value))
    name = "REDUCE_MAX" if node.op_type == "ReduceMaxInteger" else "REDUCE_MIN"
    _reduce(scope, name, node, scope.result(value))


def _window(scope: Scope, node: ir.Node) -> tuple[ir.Value, ir.Value, Window]:
    source, value = scope.outside(node.inputs[0]), scope.behind(node.outputs[0])
    expect_equal(scope.quantization(source), scope.quantization(value))
    shape, result = scope.shape(source), scope.shape(value)
    kernel = integers(node, "kernel_shape", [])
    return source, value, read_window(node, shape[1:3], result[1:3], kernel)


def _average(scope: Scope, node: ir.Node) -> None:
    source, value, window = _window(scope, node)
    padding = window.padding()
    if padding is None:
        raise RefusedError(
            "AVERAGE_POOL_2D leaves padding out of the average, and pads as SAME or VALID only",
            "use symmetric padding that keeps the size, or an explicit Pad before it",
        )
    _pool(scope, "AVERAGE_POOL_2D", scope.index(source), value, window, padding)


def _maximum(scope: Scope, node: ir.Node) -> None:
    source, value, window = _window(scope, node)
    if window.dilations != (1, 1):
        raise RefusedError("MAX_POOL_2D has no dilations", "replace it by MaxPool layers without")
    padding, data = window.padding(), scope.index(source)
    if padding is None:
        data, padding = _lowest_padded(scope, data, source, window), int(VALID)
    _pool(scope, "MAX_POOL_2D", data, value, window, padding)


def _lowest_padded(scope: Scope, data: int, source: ir.Value, window: Window) -> int:
    """Pads with the smallest integer, which no maximum notices."""
    meaning, shape = scope.quantization(source), scope.shape(source)
    amounts = [[0, 0], *([window.before[a], window.after(a)] for a in (0, 1)), [0, 0]]
    grown = [d + sum(a) for d, a in zip(shape, amounts, strict=True)]
    target = scope.intermediate("padded", grown, meaning, meaning.dtype)
    lowest = meaning.numpy_dtype.type(meaning.minimum)
    fill = scope.constant("lowest", lowest.reshape(1), meaning)
    inputs = [data, scope.parameter("paddings", amounts), fill]
    version = pad_version(4, meaning.dtype)
    scope.operator("PADV2", inputs, [target], options("PadV2Options"), version)
    return target


def _pool(
    scope: Scope, name: str, data: int, value: ir.Value, window: Window, padding: int
) -> None:
    chosen = options(
        "Pool2DOptions",
        padding=padding,
        strideH=window.strides[0],
        strideW=window.strides[1],
        filterHeight=window.kernel[0],
        filterWidth=window.kernel[1],
    )
    version = 3 if scope.quantization(value).dtype == "int16" else 2
    scope.operator(name, [data], [scope.result(value)], chosen, version)


EMITTERS: dict[str, Emitter] = {
    "MeanDouble": _mean,
    "MeanSingle": _mean,
    "SumDouble": _mean,
    "SumSingle": _mean,
    "ReduceMaxInteger": _reduced_extreme,
    "ReduceMinInteger": _reduced_extreme,
    "AveragePoolInteger": _average,
    "MaxPool": _maximum,
    "MaxPoolInteger16": _maximum,
}
