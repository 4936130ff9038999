"""Matrix products: by constants a convolution of one row, else a product of two activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.c.grouping.accumulators import Accumulator, full_bias, is_wide
from intaglio.targets.c.grouping.reader import Begun, Reader
from intaglio.targets.c.grouping.stages import output_stage
from intaglio.targets.c.network import (
    Block,
    Convolution,
    Move,
    Product,
    Rescale,
    Tensor,
    Window,
)
from intaglio.targets.integer_graph import required

#: Bits of an activation less its zero point.
_BITS = {"int8": 8, "int16": 15}


def read_product(reader: Reader, rescale: ir.Node, sums: Accumulator) -> None:
    """MatMulInteger, and its forms of 16 bits."""
    node = sums.product
    if node is None:
        raise InternalError("no product")
    stage = output_stage(reader, rescale, 1)
    weight = reader.array(node.inputs[1])
    if weight is None:
        _two_activations(reader, rescale, sums, stage)
    elif math.prod(weight.shape[:-2]) == 1:
        _one_matrix(reader, rescale, sums, weight.reshape(weight.shape[-2:]), stage)
    else:
        _many_matrices(reader, rescale, sums, weight, stage)


def _one_matrix(
    reader: Reader, rescale: ir.Node, sums: Accumulator, weight: NDArray[Any], stage: Rescale
) -> None:
    source = _operand(reader, sums, 0)
    target = reader.new(rescale.outputs[0])
    begun = reader.begin([source], target, *sums.nodes, rescale)
    matrix = weight.reshape(weight.shape[0], -1)
    reader.layers.append(_connected(reader, begun, matrix, sums, stage))


def _connected(
    reader: Reader, begun: Begun, matrix: NDArray[Any], sums: Accumulator, stage: Rescale
) -> Convolution:
    """A fully connected layer; ``matrix`` is ``[K, N]``."""
    source = begun[1][0]
    depth, channels = matrix.shape
    rows = source.size // depth
    bias = full_bias(sums.bias, channels)
    zero_point = _zero_point(reader, sums, 1)
    return Convolution(
        *begun,
        window=Window((1, rows, depth), (1, rows, channels), (1, 1)),
        weights=np.ascontiguousarray(matrix.T).reshape(channels, 1, 1, depth),
        bias=bias,
        rescale=stage,
        weight_zero_point=zero_point,
        wide=is_wide(source.dtype, matrix.T, zero_point, bias),
    )


def _many_matrices(
    reader: Reader, rescale: ir.Node, sums: Accumulator, weight: NDArray[Any], stage: Rescale
) -> None:
    """A stack of constant matrices: a fully connected layer for each, between copies."""
    source, value = _operand(reader, sums, 0), rescale.outputs[0]
    shape = _matrix_shape(reader, sums, 0)
    rows, depth, channels = shape[-2], shape[-1], weight.shape[-1]
    pairs = _pairs(shape, weight.shape)
    target = reader.new(value)
    parts: list[Tensor] = []
    blocks: list[Block] = []
    matrices = weight.reshape(-1, depth, channels)
    nodes = (*sums.nodes, rescale)
    for index, matrix in enumerate(matrices):
        used = [(place, first) for place, (first, second) in enumerate(pairs) if second == index]
        name = f"{value.name}_{index}"
        size, result = rows * depth, rows * channels
        taken = source
        if [first for _, first in used] != list(range(math.prod(shape[:-2]))):
            taken = reader.part(source, f"{name}_input", (len(used), rows, depth))
            copies = [
                Block(0, (size,), (1,), first * size, (1,), at * size)
                for at, (_, first) in enumerate(used)
            ]
            reader.layers.append(Move(*reader.begin([source], taken, *nodes), tuple(copies)))
        made = reader.part(target, name, (len(used), rows, channels))
        begun = reader.begin([taken], made, *nodes)
        reader.layers.append(_connected(reader, begun, matrix, sums, stage))
        blocks += [
            Block(len(parts), (result,), (1,), at * result, (1,), place * result)
            for at, (place, _) in enumerate(used)
        ]
        parts.append(made)
    joined = reader.begin(parts, target, *sums.nodes, rescale)
    reader.layers.append(Move(*joined, tuple(blocks)))


def _two_activations(reader: Reader, rescale: ir.Node, sums: Accumulator, stage: Rescale) -> None:
    if sums.bias is not None:
        raise RefusedError("a product of two tensors has no bias", "add it behind the product")
    first, second = _operand(reader, sums, 0), _operand(reader, sums, 1)
    shapes = _matrix_shape(reader, sums, 0), _matrix_shape(reader, sums, 1)
    rows, depth = shapes[0][-2:]
    target = reader.new(rescale.outputs[0])
    begun = reader.begin([first, second], target, *sums.nodes, rescale)
    bits = _BITS[first.dtype] + _BITS[second.dtype]
    layer = Product(
        *begun,
        batches=_pairs(*shapes),
        sizes=(rows, depth, shapes[1][-1]),
        rescale=stage,
        wide=depth << bits >= 1 << 31,
    )
    reader.layers.append(layer)


def _operand(reader: Reader, sums: Accumulator, index: int) -> Tensor:
    node = sums.product
    assert node is not None
    return reader.centered(node.inputs[index], _zero_point(reader, sums, index))


def _zero_point(reader: Reader, sums: Accumulator, index: int) -> int:
    node = sums.product
    assert node is not None
    inputs = [*node.inputs, None, None]
    value = inputs[index + 2]
    return 0 if value is None else reader.number(value)


def _matrix_shape(reader: Reader, sums: Accumulator, index: int) -> tuple[int, ...]:
    """Shape of an operand; a vector is a row, or a column as the second one."""
    node = sums.product
    assert node is not None
    shape = reader.shape(required(node.inputs[index]))
    if len(shape) > 1:
        return shape
    return (1, *shape) if index == 0 else (*shape, 1)


def _pairs(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Index of either operand's matrix for each matrix of the result."""
    stacks = first[:-2], second[:-2]
    result = np.broadcast_shapes(*stacks)
    indices = [
        np.broadcast_to(np.arange(math.prod(stack)).reshape(stack), result).reshape(-1)
        for stack in stacks
    ]
    return tuple((int(a), int(b)) for a, b in zip(*indices, strict=True))
