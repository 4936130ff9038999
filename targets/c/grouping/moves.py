"""Values that move as whole axes: reshapes (no layer), transposes, concatenation, blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.c.grouping.reader import NARROW, Grouping, Reader
from intaglio.targets.c.grouping.stages import integers
from intaglio.targets.c.grouping.strided import is_whole, merged, transposition
from intaglio.targets.c.network import Block, Move, Tensor
from intaglio.targets.integer_graph import required

_CRD = "CRD"


def transposed(
    reader: Reader,
    node: ir.Node,
    source: Tensor,
    target: Tensor,
    shape: Sequence[int],
    order: Sequence[int],
) -> None:
    """Appends a transpose.

    Args:
        reader: The reader.
        node: What it stands for.
        source: What is read.
        target: What is made.
        shape: Sizes that the elements of ``source`` are seen in.
        order: Permutation of these axes.
    """
    begun = reader.begin([source], target, node)
    reader.layers.append(Move(*begun, (transposition(shape, order),)))


def move(
    reader: Reader,
    node: ir.Node,
    value: ir.Value,
    sources: Sequence[Tensor],
    blocks: Sequence[Block],
    fill: int | None = None,
) -> None:
    """Appends a move, or makes the result an alias where nothing moves.

    Args:
        reader: The reader.
        node: The node.
        value: Its result.
        sources: What is read; one that is no part of any block is left out.
        blocks: The copies.
        fill: What the result is filled with first.
    """
    reader.claim(node)
    size = math.prod(reader.shape(value))
    if fill is None and len(sources) == 1 and is_whole(blocks, sources[0].size, size):
        reader.alias(value, sources[0])
        return
    begun = reader.begin(sources, reader.new(value, sources[0].dtype), node)
    reader.layers.append(Move(*begun, tuple(blocks), fill))


def _alias(reader: Reader, node: ir.Node) -> None:
    reader.alias(node.outputs[0], reader.tensor(node.inputs[0]))


def _cast(reader: Reader, node: ir.Node) -> None:
    """Part of a move that onnxruntime has no int16 kernel for, or in front of a Rescale."""
    source, value = required(node.inputs[0]), node.outputs[0]
    if not reader.has(source):
        raise RefusedError("no C function converts such sums")
    tensor = reader.tensor(source)
    dtype = reader.dtype(value)
    if tensor.dtype not in NARROW or dtype not in (tensor.dtype, "int32"):
        raise RefusedError(f"no C function converts {tensor.dtype} to {dtype}")
    reader.alias(value, tensor)


def _transpose(reader: Reader, node: ir.Node) -> None:
    source = required(node.inputs[0])
    shape = reader.shape(source)
    order = integers(node, "perm", list(range(len(shape)))[::-1])
    blocks = [transposition(shape, order)]
    move(reader, node, node.outputs[0], [reader.tensor(source)], blocks)


def _concat(reader: Reader, node: ir.Node) -> None:
    value = node.outputs[0]
    shape = reader.shape(value)
    axis = node.attributes.get_int("axis", 0) % len(shape)
    outer, row = math.prod(shape[:axis]), math.prod(shape[axis:])
    parts: list[Tensor] = []
    blocks: list[Block] = []
    to = 0
    for part in node.inputs:
        size = math.prod(reader.shape(required(part))[axis:])
        if size * outer == 0:
            continue
        tensor = reader.tensor(part)
        if tensor not in parts:
            parts.append(tensor)
        loops = [(outer, size, row), (size, 1, 1)]
        blocks.append(merged(parts.index(tensor), loops, 0, to))
        to += size
    move(reader, node, value, parts, blocks)


def _depth_to_space(reader: Reader, node: ir.Node) -> None:
    """Channels into squares: rows and columns outermost (DCR), or innermost (CRD)."""
    block = node.attributes.get_int("blocksize", 1)
    source = reader.outside(node.inputs[0])
    batch, rows, columns, channels = reader.shape(source)
    kept = channels // (block * block)
    if node.attributes.get_string("mode", "DCR") == _CRD:
        cut, order = [batch, rows, columns, kept, block, block], [0, 1, 4, 2, 5, 3]
    else:
        cut, order = [batch, rows, columns, block, block, kept], [0, 1, 3, 2, 4, 5]
    _cut_and_turned(reader, node, source, cut, order)


def _space_to_depth(reader: Reader, node: ir.Node) -> None:
    block = node.attributes.get_int("blocksize", 1)
    source = reader.outside(node.inputs[0])
    batch, rows, columns, channels = reader.shape(source)
    cut = [batch, rows // block, block, columns // block, block, channels]
    _cut_and_turned(reader, node, source, cut, [0, 1, 3, 2, 4, 5])


def _cut_and_turned(
    reader: Reader, node: ir.Node, source: ir.Value, cut: Sequence[int], order: Sequence[int]
) -> None:
    value = reader.behind(node.outputs[0])
    move(reader, node, value, [reader.tensor(source)], [transposition(cut, order)])


GROUPINGS: dict[str, Grouping] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"), _alias),
    **dict.fromkeys(("DepthToSpace", "DepthToSpaceInteger16"), _depth_to_space),
    **dict.fromkeys(("SpaceToDepth", "SpaceToDepthInteger16"), _space_to_depth),
    "Cast": _cast,
    "Concat": _concat,
    "Transpose": _transpose,
}
