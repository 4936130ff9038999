"""How each operator takes a new order of the channels that it reads or makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from intaglio.passes.canonicalize.editing import constant, integer, ints, operand
from intaglio.passes.dialect.specification import DOMAIN
from intaglio.passes.split.channel_space import ChannelSpace, FixedOrderError, Member
from intaglio.passes.split.channel_weights import (
    convolution_makes,
    convolution_reads,
    matrix_makes,
    matrix_reads,
    transposed_makes,
    transposed_reads,
)

#: Changes a space for a node that reads or makes the value, which is a member.
Rule = Callable[[ChannelSpace, ir.Node, ir.Value], None]


def grow(space: ChannelSpace) -> None:
    """Adds to a space whatever its members ask for.

    Raises:
        FixedOrderError: Something cannot take part.
    """
    visited: set[tuple[ir.Node, ir.Value, bool]] = set()
    while space.waiting:
        value = space.waiting.pop()
        producer = value.producer()
        nodes = [(node, True) for node, _ in value.uses()]
        nodes += [(producer, False)] if producer is not None else []
        for node, reads in nodes:
            if (node, value, reads) not in visited:
                visited.add((node, value, reads))
                _rule(node, READERS if reads else MAKERS)(space, node, value)


def _rule(node: ir.Node, rules: Mapping[str, Rule]) -> Rule:
    known = node.domain in ("", "ai.onnx", DOMAIN)
    return rules.get(node.op_type, _fixed) if known else _fixed


def _fixed(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    raise FixedOrderError(f"{node.op_type} '{node.name}' knows its channels by their place")


def _element_wise(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """Operands are broadcast: constants for each channel are permuted, tensors join the space."""
    member = space.members[value]
    for index, read in enumerate(node.inputs):
        if read is None:
            continue
        if constant(read) is not None:
            _align(space, node, index, member)
        elif not _is_one_for_all(read, member):
            space.add(read, member)
    for made in node.outputs:
        space.add(made, member)


def _is_one_for_all(value: ir.Value, member: Member) -> bool:
    """Whether a computed operand has one entry for all channels."""
    shape = value.shape
    if shape is None or len(shape) > member.rank:
        return False
    axis = len(shape) - member.rank + 1
    return axis < 0 or shape[axis] == 1


def _align(space: ChannelSpace, node: ir.Node, index: int, member: Member) -> None:
    """Permutes a broadcast constant that has an entry for each channel."""
    array = constant(operand(node, index))
    if array is None or array.ndim > member.rank:
        raise FixedOrderError(f"{node.op_type} '{node.name}' has an operand with more axes")
    axis = array.ndim - member.rank + 1
    if axis >= 0 and array.shape[axis] != 1:
        space.edit_once(node, index, axis, member.block)


def _data(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """The first input and all outputs have the same channels, other inputs know none."""
    first = node.inputs[0]
    if first is None or any(v is value for v in node.inputs[1:]):
        raise FixedOrderError(f"{node.op_type} '{node.name}' reads them as a parameter")
    for linked in (first, *(v for v in node.outputs if v.uses() or v is value)):
        space.add(linked, space.members[value])


def _scaled(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """QuantizeLinear and DequantizeLinear with one scale."""
    for index in (1, 2):
        array = constant(operand(node, index))
        if operand(node, index) is not None and (array is None or array.size != 1):
            raise FixedOrderError(f"{node.op_type} '{node.name}' has a scale for each channel")
    _data(space, node, value)


def _tables(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """A table for each channel."""
    _data(space, node, value)
    space.edit_once(node, 1, 0, space.members[value].block)


def _reduced(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """A sum over places keeps the channels; one over all channels does not ask for their order."""
    source, made = node.inputs[0], node.outputs[0]
    axes = constant(operand(node, 1))
    if source is None or source.shape is None or axes is None or not axes.size:
        raise FixedOrderError(f"{node.op_type} '{node.name}' has axes that are not known")
    rank = len(source.shape)
    listed = {int(axis) % rank for axis in axes.reshape(-1)}
    if 1 in listed:
        if value is made:
            _fixed(space, node, value)
        return
    kept = bool(integer(node, "keepdims", 1))
    if not kept and min(listed) < 1:
        _fixed(space, node, value)
    block = space.members[value].block
    space.add(source, Member(rank, block))
    space.add(made, Member(rank if kept else rank - len(listed), block))


def _reshaped(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """Each channel of a sample is a run of its elements, in front and behind."""
    source, made = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or made.shape is None or value is operand(node, 1):
        raise FixedOrderError(f"{node.op_type} '{node.name}' has sizes that are not known")
    if len(source.shape) < 2 or len(made.shape) < 2 or not _same_batch(source.shape, made.shape):
        raise FixedOrderError(f"{node.op_type} '{node.name}' mixes samples and channels")
    for linked in (source, made):
        size = None if linked.shape is None else linked.shape[1]
        if not isinstance(size, int) or size % space.channels:
            raise FixedOrderError(f"{node.op_type} '{node.name}' takes the channels apart")
        space.add(linked, Member(len(linked.shape or ()), size // space.channels))


def _same_batch(first: ir.Shape, second: ir.Shape) -> bool:
    """Whether both are known to have as many samples."""
    known = isinstance(first[0], int) or first[0].value is not None
    return known and first[0] == second[0]


def _gather(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """Gather along axis 1 picks other places; along others it keeps the channels."""
    source = node.inputs[0]
    member = space.members[value]
    indices = space.pending(node, 1)
    if source is None or indices is None or indices.ndim != 1 or value is operand(node, 1):
        raise FixedOrderError(f"{node.op_type} '{node.name}' picks one by one")
    axis = integer(node, "axis", 0) % member.rank
    if axis == 0:
        _fixed(space, node, value)
    if axis != 1:
        _data(space, node, value)
        return
    places = space.places(member.block)
    if value is source:
        picked = indices % len(places)
        space.replace(node, 1, np.argsort(places)[picked].astype(indices.dtype))
    else:
        space.replace(node, 1, indices[places])


def _along_axis(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """Concat and Split along other axes than the channels."""
    member = space.members[value]
    if integer(node, "axis", 0) % member.rank < 2:
        _fixed(space, node, value)
    tensors = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    for linked in (*tensors, *node.outputs):
        if linked is not None:
            space.add(linked, member)


def _sliced(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """Slice along other axes than the channels."""
    axes = constant(operand(node, 3))
    member = space.members[value]
    if axes is None or any(int(axis) % member.rank < 2 for axis in axes.reshape(-1)):
        _fixed(space, node, value)
    _data(space, node, value)


def _padded(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """Pad of other axes than the channels."""
    member = space.members[value]
    amounts, axes = constant(operand(node, 1)), constant(operand(node, 3))
    if amounts is None or (operand(node, 3) is not None and axes is None):
        _fixed(space, node, value)
        return
    listed = range(member.rank) if axes is None else [int(a) % member.rank for a in axes]
    pairs = amounts.reshape(2, -1)
    if any(pairs[:, place].any() for place, axis in enumerate(listed) if axis < 2):
        _fixed(space, node, value)
    _data(space, node, value)


def _resized(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """Resize of the image only."""
    source, made = static_channels(node.inputs[0]), static_channels(node.outputs[0])
    if source is None or source != made or ints(node, "axes", [2, 3]) != [2, 3]:
        _fixed(space, node, value)
    _data(space, node, value)


def static_channels(value: ir.Value | None) -> int | None:
    """Size of axis 1, None where it is not known."""
    if value is None or value.shape is None or len(value.shape) < 2:
        return None
    size = value.shape[1]
    return size if isinstance(size, int) else None


def _nothing(space: ChannelSpace, node: ir.Node, value: ir.Value) -> None:
    """Shape: how many there are does not change."""


def _variants(operator: str) -> list[str]:
    return [f"{operator}{rounding}" for rounding in ("Double", "Single", "Wide", "Real")]


_BOTH: dict[str, Rule] = {
    **dict.fromkeys(
        ("Add", "Cast", "Clip", "Div", "Identity", "Max", "Min", "Mul", "Relu", "Sub"),
        _element_wise,
    ),
    **dict.fromkeys(("MaxInteger", "MinInteger"), _element_wise),
    **{
        name: _element_wise
        for operator in ("Abs", "Add", "Mul", "PRelu", "Rescale", "Sub")
        for name in _variants(operator)
    },
    **dict.fromkeys(
        (
            "AveragePoolInteger",
            "MaxPool",
            "MaxPoolInteger16",
            "SigmoidInteger16",
            "Table",
            "TableInterpolated",
            "TanhInteger16",
        ),
        _data,
    ),
    **dict.fromkeys(("Resize", "ResizeLinearInteger"), _resized),
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), _scaled),
    **dict.fromkeys(("ReduceMaxInteger", "ReduceMinInteger"), _reduced),
    **{name: _reduced for operator in ("Mean", "Sum") for name in _variants(operator)},
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _reshaped),
    **dict.fromkeys(("Concat", "Split"), _along_axis),
    "Gather": _gather,
    "Pad": _padded,
    "Slice": _sliced,
    "TableChannelwise": _tables,
}

_CONVOLUTIONS = ("ConvInteger", "ConvInteger16", "ConvInteger8By16")
_TRANSPOSED = ("ConvTransposeInteger", "ConvTransposeInteger16")
_MATRICES = ("MatMulInteger", "MatMulInteger16", "MatMulInteger8By16")

#: Rules of operators that read a member.
READERS: Mapping[str, Rule] = {
    **_BOTH,
    **dict.fromkeys(_CONVOLUTIONS, convolution_reads),
    **dict.fromkeys(_TRANSPOSED, transposed_reads),
    **dict.fromkeys(_MATRICES, matrix_reads),
    "Shape": _nothing,
}

#: Rules of operators that make a member.
MAKERS: Mapping[str, Rule] = {
    **_BOTH,
    **dict.fromkeys(_CONVOLUTIONS, convolution_makes),
    **dict.fromkeys(_TRANSPOSED, transposed_makes),
    **dict.fromkeys(_MATRICES, matrix_makes),
}
