"""How weights take a new order of channels: along their outputs, or along their inputs.

A rule is told a value of the space that the layer makes, or reads.
"""

from __future__ import annotations

import onnx_ir as ir

from intaglio.passes.canonicalize.editing import constant, integer, operand
from intaglio.passes.split.channel_space import ChannelSpace, FixedOrderError, Member


def convolution_makes(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """Rows of the weights; one channel each where it is depthwise."""
    member = space.members[value]
    if integer(node, "group", 1) != 1:
        _depthwise(space, node, member)
        return
    _plain_weights(node)
    space.edit(node, 1, 0, member.block)


def convolution_reads(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """Input channels of the weights."""
    member = space.members[value]
    _as_data(node, value)
    if integer(node, "group", 1) != 1:
        _depthwise(space, node, member)
        return
    space.edit(node, 1, 1, member.block)


def _depthwise(space: ChannelSpace, node: ir.Node, member: Member) -> None:
    """A convolution of each channel alone."""
    weight = constant(operand(node, 1))
    group = integer(node, "group", 1)
    if weight is None or weight.shape[0] != group or weight.shape[1] != 1:
        raise FixedOrderError(f"{node.op_type} '{node.name}' has groups of channels")
    if group != space.channels * member.block:
        raise FixedOrderError(f"{node.op_type} '{node.name}' has other channels")
    _plain_weights(node)
    for linked in (node.inputs[0], node.outputs[0]):
        if linked is not None:
            space.add(linked, member)
    space.edit_once(node, 1, 0, member.block)


def transposed_makes(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """ConvTranspose: its weights have the outputs second."""
    member = space.members[value]
    if integer(node, "group", 1) != 1:
        _depthwise(space, node, member)
        return
    space.edit(node, 1, 1, member.block)


def transposed_reads(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """ConvTranspose: its weights have the inputs first."""
    member = space.members[value]
    _as_data(node, value)
    if integer(node, "group", 1) != 1:
        _depthwise(space, node, member)
        return
    space.edit(node, 1, 0, member.block)


def matrix_makes(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """Columns of a constant matrix."""
    member = space.members[value]
    _require_matrix(node, member)
    _plain_weights(node)
    space.edit(node, 1, 1, member.block)


def matrix_reads(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """Rows of a constant matrix."""
    member = space.members[value]
    _as_data(node, value)
    _require_matrix(node, member)
    space.edit(node, 1, 0, member.block)


def _require_matrix(node: ir.Node, member: Member) -> None:
    matrix = constant(operand(node, 1))
    if member.rank != 2 or matrix is None or matrix.ndim != 2:
        raise FixedOrderError(f"{node.op_type} '{node.name}' is no product with one matrix")


def _plain_weights(node: ir.Node) -> None:
    """Refuses zero points of weights for each output."""
    points = constant(operand(node, 3))
    if operand(node, 3) is not None and (points is None or points.size != 1):
        raise FixedOrderError(f"{node.op_type} '{node.name}' has zero points for its weights")


def _as_data(node: ir.Node, value: ir.Value) -> None:
    if any(read is value for read in node.inputs[1:]):
        raise FixedOrderError(f"{node.op_type} '{node.name}' reads them as weights")
