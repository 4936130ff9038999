"""CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV: the accumulator, its bias and its rescale."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.passes.annotations import get_quantization
from intaglio.passes.layout.problem import is_inside
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.activations import Ending
from intaglio.targets.tflite.emitters.channel_order import wanted_order
from intaglio.targets.tflite.emitters.multipliers import (
    expect_scale,
    expect_zero_point,
    require_rounding,
)
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Scope, required
from intaglio.targets.tflite.emitters.windows import VALID, padded, read_window
from intaglio.transforms.scales import TensorQuantization

CONVOLUTIONS = frozenset({"ConvInteger", "ConvInteger16"})
TRANSPOSED = frozenset({"ConvTransposeInteger", "ConvTransposeInteger16"})

_MIXED_REMEDY = "give its input and output the same width: keep both at int8, or both at int16"


class Accumulator(NamedTuple):
    """Where the int32 or int64 sums that a Rescale reads come from.

    Attributes:
        node: The product: ConvInteger, MatMulInteger and the like; None where there is none.
        bias: Its integer bias, or None.
    """

    node: ir.Node | None
    bias: NDArray[Any] | None


def accumulator(scope: Scope, value: ir.Value | None) -> Accumulator:
    """Looks through the bias and the Transposes that belong to a product."""
    bias: NDArray[Any] | None = None
    node = None if value is None else value.producer()
    while node is not None:
        if is_inside(node):
            source = node.inputs[0]
        elif node.op_type == "Add" and bias is None and scope.array(node.inputs[1]) is not None:
            bias, source = scope.array(node.inputs[1]), node.inputs[0]
        else:
            break
        scope.claim(node)
        node = None if source is None else source.producer()
    if node is not None:
        scope.claim(node)
    return Accumulator(node, bias)


class Weighted(NamedTuple):
    """What every product with constant weights and a rescale has.

    Attributes:
        source: Its input.
        meaning: Quantization of the input.
        weight: Integers of the weight, as the node has them.
        scheme: Their quantization.
        bias: Integer bias, or None.
    """

    source: ir.Value
    meaning: TensorQuantization
    weight: NDArray[Any]
    scheme: TensorQuantization
    bias: NDArray[Any] | None


def weighted(
    scope: Scope, source: ir.Value, rescale: ir.Node, product: ir.Node, bias: NDArray[Any] | None
) -> Weighted:
    """Reads the operands of a product and checks what all such kernels need.

    Args:
        scope: The file.
        source: Its input, channels last.
        rescale: The node behind it.
        product: The node.
        bias: Integer bias, or None.

    Raises:
        RefusedError: Mixed widths, or weights with a zero point.
    """
    meaning = scope.quantization(source)
    output = scope.quantization(rescale.outputs[0])
    if meaning.dtype != output.dtype:
        raise RefusedError(
            f"TFLite has no kernel with {meaning.dtype} input and {output.dtype} output",
            _MIXED_REMEDY,
        )
    inputs = [*product.inputs, None, None]
    expect_zero_point(scope, inputs[2], meaning)
    if inputs[3] is not None and scope.number(inputs[3]) != 0:
        raise RefusedError(
            "its weights have a zero point, which TFLite's int8 kernels do not take",
            "convert the float model, which quantizes weights symmetrically",
        )
    weight = scope.numbers(product.inputs[1])
    scheme = get_quantization(required(product.inputs[1]))
    if scheme is None:
        raise InternalError(f"no quantization is noted for the weight of '{product.name}'")
    return Weighted(source, meaning, weight, scheme, bias)


def bias_tensor(scope: Scope, parts: Weighted, channels: int, name: str) -> int:
    """The bias as the file has it; zeros where there is none.

    LiteRT's convolutions want one, and int16 kernels choose their arithmetic by its type.

    Args:
        scope: The file.
        parts: The product.
        channels: Number of output channels.
        name: Name of the result.
    """
    dtype = np.int64 if parts.meaning.dtype == "int16" else np.int32
    codes = np.zeros(channels, np.int64) if parts.bias is None else parts.bias.reshape(-1)
    scales = np.float32(parts.meaning.scale[0]) * np.array(parts.scheme.scale, np.float32)
    axis = 0 if len(scales) > 1 else None
    meaning = TensorQuantization(
        np.dtype(dtype).name, tuple(map(float, scales)), (0,) * len(scales), axis
    )
    full = np.broadcast_to(codes, (channels,)).astype(dtype)
    return scope.constant(f"{name}_bias", np.ascontiguousarray(full), meaning)


def check_arithmetic(scope: Scope, kind: str, rescale: ir.Node, parts: Weighted) -> None:
    """Whether the kernel rounds as the graph does, with the graph's multipliers."""
    output = scope.quantization(rescale.outputs[0])
    require_rounding(scope, rescale, kind, parts.meaning.dtype)
    expect_zero_point(scope, rescale.inputs[3], output)
    factors = (parts.meaning.scale[0], parts.scheme.scale)
    expect_scale(scope, kind, rescale.inputs[1:3], factors, output.scale[0])


def limits(scope: Scope, node: ir.Node) -> tuple[int, int]:
    """Smallest and largest result, the last two inputs of every function that rescales."""
    return scope.number(node.inputs[-2]), scope.number(node.inputs[-1])


def emit_convolution(scope: Scope, rescale: ir.Node, sums: Accumulator) -> None:
    """CONV_2D, or DEPTHWISE_CONV_2D where every output channel reads one input channel."""
    node = sums.node
    if node is None:
        raise InternalError("no convolution")
    source = scope.outside(node.inputs[0])
    parts = weighted(scope, source, rescale, node, sums.bias)
    value = rescale.outputs[0]
    shape, result = scope.shape(source), scope.shape(value)
    group = node.attributes.get_int("group", 1)
    depthwise = group > 1 and group == shape[3] and parts.weight.shape[1] == 1
    check_arithmetic(scope, "depthwise_conv" if depthwise else "conv", rescale, parts)
    parts = _in_order(scope, value, parts)
    window = read_window(node, shape[1:3], result[1:3], parts.weight.shape[2:])
    padding = window.padding()
    data = scope.index(source)
    if padding is None:
        data = padded(scope, data, parts.meaning, shape, window)
        padding = int(VALID)
    weight = _weight(scope, node, parts, depthwise)
    bias = bias_tensor(scope, parts, result[3], str(value.name))
    ending = Ending(scope, value, limits(scope, rescale))
    common = {
        "padding": padding,
        "strideH": window.strides[0],
        "strideW": window.strides[1],
        "dilationHFactor": window.dilations[0],
        "dilationWFactor": window.dilations[1],
        "fusedActivationFunction": ending.activation,
    }
    wide = parts.meaning.dtype == "int16"
    if depthwise:
        name, version = "DEPTHWISE_CONV_2D", 5 if wide else 3
        chosen = options("DepthwiseConv2DOptions", depthMultiplier=result[3] // shape[3], **common)
    else:
        name, version = "CONV_2D", 6 if group > 1 else 4 if wide else 3
        chosen = options("Conv2DOptions", **common)
    scope.operator(name, [data, weight, bias], [ending.target], chosen, version)
    ending.finish()


def _in_order(scope: Scope, value: ir.Value, parts: Weighted) -> Weighted:
    """The output channels in the order that a DepthToSpace behind it wants."""
    order = wanted_order(scope, value)
    if order is None:
        return parts
    scope.reordered.add(value)
    scheme, bias = parts.scheme, parts.bias
    if len(scheme.scale) > 1:
        scales = tuple(scheme.scale[place] for place in order)
        scheme = dataclasses.replace(scheme, scale=scales)
    if bias is not None and bias.size > 1:
        bias = bias.reshape(-1)[order]
    return parts._replace(weight=parts.weight[order], scheme=scheme, bias=bias)


def _weight(scope: Scope, node: ir.Node, parts: Weighted, depthwise: bool) -> int:
    """[out, in, h, w] as [out, h, w, in], or [1, h, w, out] for a depthwise kernel."""
    order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
    axis = 3 if depthwise else 0
    return weight_tensor(scope, node, parts, parts.weight.transpose(order), axis)


def weight_tensor(
    scope: Scope, node: ir.Node, parts: Weighted, codes: NDArray[Any], axis: int
) -> int:
    """The weight in the order of the kernel, with its scales along ``axis``."""
    scheme = parts.scheme
    meaning = TensorQuantization(
        "int8", scheme.scale, scheme.zero_point, axis if len(scheme.scale) > 1 else None
    )
    name = str(required(node.inputs[1]).name)
    return scope.constant(name, np.ascontiguousarray(codes), meaning)
