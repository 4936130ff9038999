"""TRANSPOSE_CONV: cropped where ONNX's pads are not its own, without groups and dilations."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.targets.tflite.emitters.activations import Ending
from intaglio.targets.tflite.emitters.attributes import integers, pair
from intaglio.targets.tflite.emitters.convolutions import (
    Accumulator,
    Weighted,
    bias_tensor,
    check_arithmetic,
    limits,
    weight_tensor,
    weighted,
)
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Scope
from intaglio.targets.tflite.emitters.slices import slice_version
from intaglio.targets.tflite.emitters.windows import SAME, VALID
from intaglio.transforms.scales import TensorQuantization


def emit_transposed(scope: Scope, rescale: ir.Node, sums: Accumulator) -> None:
    """TRANSPOSE_CONV, cropped where ONNX's pads are not those of SAME or VALID."""
    node = sums.node
    if node is None:
        raise InternalError("no transposed convolution")
    source = scope.outside(node.inputs[0])
    parts = _of_every_group(weighted(scope, source, rescale, node, sums.bias), node)
    check_arithmetic(scope, "conv_transpose", rescale, parts)
    value = rescale.outputs[0]
    shape, result = scope.shape(source), scope.shape(value)
    codes = _whole_kernel(node, parts.weight)
    kernel = codes.shape[2:]
    strides = pair(node, "strides")
    before = integers(node, "pads", [0, 0, 0, 0])[:2]
    padding = _transposed_padding(result[1:3], kernel, strides, before)
    weight = weight_tensor(scope, node, parts, codes.transpose(1, 2, 3, 0), 0)
    bias = bias_tensor(scope, parts, result[3], str(value.name))
    ending = Ending(scope, value, limits(scope, rescale), fuses=False)
    target, full = ending.target, result
    if padding is None:
        # All of it, of which the graph has a part.
        padding = int(VALID)
        sizes = [(shape[a + 1] - 1) * strides[a] + kernel[a] for a in (0, 1)]
        sizes = [max(s, before[a] + result[a + 1]) for a, s in enumerate(sizes)]
        full = (result[0], sizes[0], sizes[1], result[3])
        name, meaning = f"{value.name}_uncropped", scope.quantization(value)
        target = scope.intermediate(name, full, meaning, meaning.dtype)
    inputs = [scope.parameter("shape", full), weight, scope.index(source), bias]
    chosen = options(
        "TransposeConvOptions", padding=padding, strideH=strides[0], strideW=strides[1]
    )
    scope.operator("TRANSPOSE_CONV", inputs, [target], chosen, 3)
    if target != ending.target:
        begin = scope.parameter("begin", [0, *before, 0])
        size = scope.parameter("size", result)
        version = slice_version(4, parts.meaning.dtype)
        scope.operator(
            "SLICE", [target, begin, size], [ending.target], options("SliceOptions"), version
        )
    ending.finish()


def _transposed_padding(
    output: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, int], before: list[int]
) -> int | None:
    """SAME or VALID where the kernel then crops as many rows and columns at the start.

    The kernel takes the padding of the convolution from ``output`` to the input.
    """

    def start(axis: int, padding: int) -> int:
        size, stride = output[axis], strides[axis]
        span = kernel[axis] if padding == VALID else 1
        windows = (size + stride - span) // stride
        return max((windows - 1) * stride + kernel[axis] - size, 0) // 2

    for padding in (VALID, SAME):
        if all(start(axis, padding) == before[axis] for axis in (0, 1)):
            return int(padding)
    return None


def _of_every_group(parts: Weighted, node: ir.Node) -> Weighted:
    """Weight scales are noted for the output channels of one group; each group has the same."""
    group, scheme = node.attributes.get_int("group", 1), parts.scheme
    if len(scheme.scale) != parts.weight.shape[1]:
        return parts
    axis = None if group * len(scheme.scale) == 1 else 1
    scheme = TensorQuantization("int8", scheme.scale * group, scheme.zero_point * group, axis)
    return parts._replace(scheme=scheme)


def _whole_kernel(node: ir.Node, weight: NDArray[Any]) -> NDArray[Any]:
    """The weight without groups and dilations, which TRANSPOSE_CONV has not.

    Zeros stand where another group would be, and between dilated elements; they add nothing.

    Args:
        node: Our transposed convolution.
        weight: [in, out of a group, h, w].

    Returns:
        [in, out, h, w] with h and w as far as the dilated kernel reaches.
    """
    group, dilations = node.attributes.get_int("group", 1), pair(node, "dilations")
    channels, kept, *kernel = weight.shape
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    whole = np.zeros((channels, kept * group, *spans), weight.dtype)
    members = channels // group
    for index in range(group):
        rows = slice(index * members, (index + 1) * members)
        columns = slice(index * kept, (index + 1) * kept)
        whole[rows, columns, :: dilations[0], :: dilations[1]] = weight[rows]
    return whole
