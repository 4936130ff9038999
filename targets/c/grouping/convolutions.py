"""Convolutions and transposed convolutions with their bias and rescale."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.targets.c.grouping.accumulators import Accumulator, full_bias, is_wide
from intaglio.targets.c.grouping.images import for_each_image
from intaglio.targets.c.grouping.reader import Begun, Reader
from intaglio.targets.c.grouping.stages import output_stage
from intaglio.targets.c.grouping.windows import read_window
from intaglio.targets.c.network import (
    Convolution,
    Layer,
    Tensor,
    TransposedConvolution,
    Window,
)
from intaglio.targets.integer_graph import required


def read_convolution(reader: Reader, rescale: ir.Node, sums: Accumulator) -> None:
    """ConvInteger, or ConvInteger16 of int16 activations."""
    node = _product(sums)
    codes = reader.numbers(node.inputs[1])
    weight_zero_point = _optional(reader, node, 3)
    bias = full_bias(sums.bias, codes.shape[0])
    source = _source(reader, node)
    weights = np.ascontiguousarray(codes.transpose(0, 2, 3, 1))
    window, stage = _window(reader, rescale, node, codes), output_stage(reader, rescale, 1)
    wide = is_wide(source.dtype, codes, weight_zero_point, bias)
    groups = node.attributes.get_int("group", 1)

    def make(begun: Begun) -> Layer:
        return Convolution(*begun, window, weights, bias, stage, groups, weight_zero_point, wide)

    for_each_image(reader, source, rescale.outputs[0], (*sums.nodes, rescale), make)


def read_transposed(reader: Reader, rescale: ir.Node, sums: Accumulator) -> None:
    """ConvTransposeInteger, or ConvTransposeInteger16 of int16 activations."""
    node = _product(sums)
    codes = reader.numbers(node.inputs[1])
    groups = node.attributes.get_int("group", 1)
    # [I, O of a group, h, w] as [groups, O of a group, h, w, I of a group].
    split = codes.reshape(groups, -1, *codes.shape[1:]).transpose(0, 2, 3, 4, 1)
    weights = np.ascontiguousarray(split.reshape(-1, *split.shape[2:]))
    bias = full_bias(sums.bias, len(weights))
    source = _source(reader, node)
    window, stage = _window(reader, rescale, node, codes), output_stage(reader, rescale, 1)
    wide = is_wide(source.dtype, weights, 0, bias)

    def make(begun: Begun) -> Layer:
        return TransposedConvolution(*begun, window, weights, bias, stage, groups, wide)

    for_each_image(reader, source, rescale.outputs[0], (*sums.nodes, rescale), make)


def _product(sums: Accumulator) -> ir.Node:
    node = sums.product
    assert node is not None
    return node


def _source(reader: Reader, node: ir.Node) -> Tensor:
    return reader.centered(reader.outside(node.inputs[0]), _optional(reader, node, 2))


def _window(reader: Reader, rescale: ir.Node, node: ir.Node, codes: NDArray[Any]) -> Window:
    image = reader.shape(reader.outside(node.inputs[0]))
    return read_window(node, image, reader.shape(rescale.outputs[0]), codes.shape[2:])


def _optional(reader: Reader, node: ir.Node, index: int) -> int:
    """A zero point among the inputs, 0 where it is left out."""
    inputs = [*node.inputs, None, None]
    return 0 if inputs[index] is None else reader.number(required(inputs[index]))
