"""Products of int8 activations and int16 weights, which training changes or has changed."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.dialect.sixteen_bit_weights import WEIGHT_LIMIT
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.c.grouping.accumulators import Accumulator, full_bias
from intaglio.targets.c.grouping.images import for_each_image
from intaglio.targets.c.grouping.reader import Begun, Reader
from intaglio.targets.c.grouping.stages import output_stage
from intaglio.targets.c.grouping.weights import read_weights
from intaglio.targets.c.grouping.windows import read_window
from intaglio.targets.c.network import Layer, Tensor, TrainedConvolution, Window
from intaglio.targets.integer_graph import required

_INT32 = 1 << 31
#: Largest magnitude of an activation less its zero point.
_REACH = 255


def read_trained(reader: Reader, rescale: ir.Node, sums: Accumulator) -> None:
    """ConvInteger8By16, or a ConvInteger whose result the loss reads."""
    node = _product(sums)
    outer, depth, *kernel = reader.shape(required(node.inputs[1]))
    weights = _weights(reader, node, (0, 2, 3, 1), (outer, *kernel, depth))
    outside = reader.outside(node.inputs[0])
    source, image = reader.centered(outside, _zero_point(reader, node)), reader.shape(outside)
    window = read_window(node, image, reader.shape(rescale.outputs[0]), kernel)
    groups = node.attributes.get_int("group", 1)

    def make(begun: Begun) -> Layer:
        return _layer(reader, begun, rescale, sums, weights, window, groups)

    for_each_image(reader, source, rescale.outputs[0], (*sums.nodes, rescale), make)


def read_trained_product(reader: Reader, rescale: ir.Node, sums: Accumulator) -> None:
    """MatMulInteger8By16, or a MatMulInteger whose result the loss reads."""
    node = _product(sums)
    shape = reader.shape(required(node.inputs[1]))
    if len(shape) < 2 or math.prod(shape[:-2]) != 1:
        raise RefusedError("its weights are a stack of matrices", "split it into products")
    depth, channels = shape[-2:]
    rank = len(shape)
    permutation = (*range(rank - 2), rank - 1, rank - 2)
    weights = _weights(reader, node, permutation, (channels, 1, 1, depth))
    source = reader.centered(node.inputs[0], _zero_point(reader, node))
    begun = reader.begin([source], reader.new(rescale.outputs[0]), *sums.nodes, rescale)
    rows = source.size // depth
    window = Window((1, rows, depth), (1, rows, channels), (1, 1))
    reader.layers.append(_layer(reader, begun, rescale, sums, weights, window, 1))


def _layer(
    reader: Reader,
    begun: Begun,
    rescale: ir.Node,
    sums: Accumulator,
    weights: Tensor,
    window: Window,
    groups: int,
) -> TrainedConvolution:
    name, inputs, output, origin = begun
    channels = weights.shape[0]
    bias = full_bias(sums.bias, channels)
    read = [*inputs, weights]
    if sums.moving is not None:
        sizes = reader.shape(sums.moving)
        if math.prod(sizes) != channels:
            raise RefusedError("its trained bias is not one number a channel", "state them all")
        order = tuple(range(len(sizes)))
        read.append(read_weights(reader, sums.moving, order, (channels,)))
        _claim_views(reader, sums)
    limit = _limit(weights)
    return TrainedConvolution(
        name,
        tuple(read),
        output,
        origin,
        window,
        bias,
        output_stage(reader, rescale, 1),
        groups,
        limit,
        _is_wide(weights, bias, limit, moving=sums.moving is not None),
    )


def _zero_point(reader: Reader, node: ir.Node) -> int:
    value = [*node.inputs, None, None][2]
    return 0 if value is None else reader.number(value)


def _weights(
    reader: Reader, node: ir.Node, permutation: tuple[int, ...], shape: tuple[int, ...]
) -> Tensor:
    weights = read_weights(reader, node.inputs[1], permutation, shape)
    zero_point = [*node.inputs, None, None][3] if node.op_type.endswith("Integer") else None
    if zero_point is None or weights.data is None or not np.any(reader.numbers(zero_point)):
        return weights
    raise RefusedError("the loss reads a layer whose weights have a zero point")


def _limit(weights: Tensor) -> int:
    if weights.data is None:
        return WEIGHT_LIMIT
    return max(1, int(np.abs(weights.data.astype(np.int64)).max(initial=0)))


def _is_wide(weights: Tensor, bias: NDArray[np.int64], limit: int, *, moving: bool) -> bool:
    """Whether some weights within the limit make a sum that int32 does not hold."""
    products = math.prod(weights.shape[1:])
    bound = products * limit * _REACH + int(np.abs(bias).max(initial=0))
    return moving or bound >= _INT32


def _claim_views(reader: Reader, sums: Accumulator) -> None:
    """The nodes between a trained bias and the addition belong to the layer."""
    for node in sums.nodes:
        for operand in node.inputs:
            current = operand if reader.variable(operand) is sums.moving else None
            while current is not None and (view := current.producer()) is not None:
                reader.claim(view)
                current = view.inputs[0]


def _product(sums: Accumulator) -> ir.Node:
    node = sums.product
    assert node is not None
    return node
