"""Element-wise operators: every tensor in the same order, broadcasting included.

A constant of lower rank, such as ``[C, 1, 1]``, is first given leading axes of size 1, then
permuted, then relieved of those that are leading now: it becomes ``[C]`` with channels last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from intaglio.passes.canonicalize.editing import constant, integer
from intaglio.passes.layout.layouts import Layout, Shuffle, full, normalize, stored_array
from intaglio.passes.layout.rules import (
    Assignment,
    Constants,
    FrameRule,
    Rule,
    dims_of,
    is_absent,
    rank_of,
)
from intaglio.passes.operators import BINARY, UNARY


class Elementwise(FrameRule):
    """An element-wise operator.

    Args:
        operands: Inputs that are tensors of the frame; None for all. The others are scalars and
            tables.
    """

    def __init__(self, operands: Sequence[int] | None = None) -> None:
        self._operands = operands

    def operands(self, node: ir.Node) -> list[int]:
        """Inputs that broadcast to the frame."""
        listed = range(len(node.inputs)) if self._operands is None else self._operands
        return [i for i in listed if not is_absent(node, i)]

    def frame_of_input(self, node: ir.Node, index: int, layout: Layout | None) -> Layout | None:
        """The input's layout, with the axes in front of it where they are."""
        axes, own = rank_of(node.outputs[0]), rank_of(node.inputs[index])
        if axes is None or own is None or index not in self.operands(node):
            return None
        lead = axes - own
        moved = full(layout, own)
        shuffles = tuple(Shuffle(s.axis + lead, s.sizes, s.order) for s in moved.shuffles)
        return Layout((*range(lead), *(axis + lead for axis in moved.perm)), shuffles)

    def frame_of_output(self, node: ir.Node, index: int, layout: Layout | None) -> Layout | None:
        """The output's own layout."""
        axes = rank_of(node.outputs[index])
        return None if axes is None else full(layout, axes)

    def assign(self, node: ir.Node, frame: Layout) -> Assignment | None:
        """Every operand in the frame, as far as it has its axes."""
        inputs: list[Layout | None] = [None] * len(node.inputs)
        for index in self.operands(node):
            possible, inputs[index] = operand_layout(node.inputs[index], frame)
            if not possible:
                return None
        return Assignment(tuple(inputs), (frame,) * len(node.outputs), frame)

    def rewrite(self, node: ir.Node, chosen: Assignment, constants: Constants) -> None:
        """Puts constant operands in order."""
        if chosen.frame is None:
            return
        operands = self.operands(node)
        # Where no tensor has all axes of the result, a constant gives it their number.
        ranks = [rank_of(node.inputs[i]) for i in operands if constant(node.inputs[i]) is None]
        strip = chosen.frame.rank in ranks
        for index in operands:
            reorder_constant(node, index, chosen.frame, constants, strip=strip)


def operand_layout(value: ir.Value | None, frame: Layout) -> tuple[bool, Layout | None]:
    """Whether an operand can be had in ``frame``, and the layout that it then needs."""
    sizes = dims_of(value)
    if sizes is None:
        return False, None
    lead = frame.rank - len(sizes)
    shuffles = []
    for shuffle in frame.shuffles:
        dim = 1 if shuffle.axis < lead else sizes[shuffle.axis - lead]
        if dim == shuffle.size:
            shuffles.append(Shuffle(shuffle.axis - lead, shuffle.sizes, shuffle.order))
        elif dim != 1:
            return False, None
    if constant(value) is not None or all(dim == 1 for dim in sizes):
        return True, None  # set when the node is rewritten, or nothing to do
    if frame.perm[:lead] != tuple(range(lead)):
        return False, None
    return True, Layout(tuple(axis - lead for axis in frame.perm[lead:]), tuple(shuffles))


def reorder_constant(
    node: ir.Node, index: int, frame: Layout, constants: Constants, *, strip: bool
) -> None:
    """Puts a constant operand in the order of ``frame``.

    Args:
        node: The node.
        index: Which input.
        frame: The layout of the node's axes.
        constants: Where new ones are made.
        strip: Whether leading axes of size 1 may go.
    """
    array = constant(node.inputs[index])
    if array is None or array.size == 1:
        return
    wide = array.reshape((1,) * (frame.rank - array.ndim) + array.shape)
    shuffles = tuple(s for s in frame.shuffles if wide.shape[s.axis] != 1)
    layout = Layout(frame.perm, shuffles)
    if normalize(layout, wide.shape) is None:
        return
    moved = stored_array(wide, layout)
    while strip and moved.ndim > 1 and moved.shape[0] == 1:
        moved = moved[0]
    constants.set(node, index, moved, f"{node.name}_operand")


class Quantizer(Elementwise):
    """QuantizeLinear and DequantizeLinear: element-wise, but for scales along an axis."""

    def __init__(self) -> None:
        super().__init__((0,))

    def _axis(self, node: ir.Node) -> int | None:
        """The axis of the scales, None where there is one scale."""
        scale = node.inputs[1]
        axes = rank_of(node.outputs[0]) or 0
        if rank_of(scale) == 0 or axes == 0 or dims_of(scale) == (1,):
            return None
        return integer(node, "axis", 1) % axes

    def assign(self, node: ir.Node, frame: Layout) -> Assignment | None:
        """As element-wise; scales must be constants where their order changes."""
        axis = self._axis(node)
        if integer(node, "block_size", 0) or rank_of(node.inputs[1]) not in (0, 1):
            return None
        if axis is not None and frame.shuffle(axis) is not None:
            parameters = [v for v in node.inputs[1:] if v is not None]
            if any(constant(v) is None for v in parameters):
                return None
        return super().assign(node, frame)

    def rewrite(self, node: ir.Node, chosen: Assignment, constants: Constants) -> None:
        """Moves the axis of the scales."""
        super().rewrite(node, chosen, constants)
        axis, frame = self._axis(node), chosen.frame
        if axis is None or frame is None:
            return
        node.attributes["axis"] = ir.AttrInt64("axis", frame.place(axis))
        shuffle = frame.shuffle(axis)
        for index in range(1, len(node.inputs)):
            array = constant(node.inputs[index])
            if shuffle is not None and array is not None:
                constants.set(node, index, array[shuffle.indices()], f"{node.name}_scale")


class Expansion(Elementwise):
    """Expand: an operand broadcast to a shape that is a constant or known."""

    def __init__(self) -> None:
        super().__init__((0,))

    def assign(self, node: ir.Node, frame: Layout) -> Assignment | None:
        """As element-wise, where the shape is a constant."""
        if constant(node.inputs[1]) is None or frame.shuffles:
            return None
        return super().assign(node, frame)

    def rewrite(self, node: ir.Node, chosen: Assignment, constants: Constants) -> None:
        """Puts the shape in order."""
        array, frame = constant(node.inputs[1]), chosen.frame
        if array is None or frame is None:
            return
        wide = np.concatenate([np.ones(frame.rank - array.size, array.dtype), array.reshape(-1)])
        super().rewrite(node, chosen, constants)
        constants.set(node, 1, wide[list(frame.perm)], f"{node.name}_shape")


_FIRST = Elementwise((0,))
_BOTH = Elementwise((0, 1))
_ALL = Elementwise()

#: Beyond those that lowering knows; every input is an operand.
_MORE = (
    "Acos",
    "Acosh",
    "And",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Cos",
    "Cosh",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "Mean",
    "Mod",
    "Not",
    "Or",
    "PRelu",
    "Sin",
    "Sinh",
    "Sum",
    "Tan",
    "Where",
    "Xor",
)

STANDARD: Mapping[str, Rule] = {
    **dict.fromkeys(sorted(UNARY), _FIRST),
    **dict.fromkeys(sorted(BINARY), _ALL),
    **dict.fromkeys(_MORE, _ALL),
    "Cast": _FIRST,
    "CastLike": _FIRST,
    "Clip": _FIRST,
    "DequantizeLinear": Quantizer(),
    "Dropout": _FIRST,
    "Expand": Expansion(),
    "QuantizeLinear": Quantizer(),
}

_ROUNDED: Mapping[str, Rule] = {
    "Abs": _FIRST,
    "Add": _BOTH,
    "Mul": _BOTH,
    "PRelu": Elementwise((0, 2)),
    "Rescale": Elementwise((0, 1, 2)),
    "Sub": _BOTH,
}

FUNCTIONS: Mapping[str, Rule] = {
    **{
        operator + rounding: rule
        for operator, rule in _ROUNDED.items()
        for rounding in ("Double", "Single")
    },
    "MaxInteger": _BOTH,
    "MinInteger": _BOTH,
    "RescaleReal": _ROUNDED["Rescale"],
    "RescaleWide": _ROUNDED["Rescale"],
    "SigmoidInteger16": _FIRST,
    "Table": _FIRST,
    "TableInterpolated": _FIRST,
    "TanhInteger16": _FIRST,
}
