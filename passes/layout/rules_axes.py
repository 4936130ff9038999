"""Operators that name axes: Concat, Split, Slice, Pad, reductions, Gather, Tile, Softmax, Shape."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from intaglio.passes.canonicalize.editing import integer, make_node, replace_output
from intaglio.passes.layout.layouts import Layout, Shuffle, full
from intaglio.passes.layout.rules import (
    Assignment,
    Constants,
    DataRule,
    FrameRule,
    Rule,
    axes_are_whole,
    constant_integers,
    dims_of,
    is_absent,
    rank_of,
)
from intaglio.passes.provenance import inherit_sources


class AxisAttribute(DataRule):
    """An operator along one axis that keeps the number of axes: Softmax, Split.

    Args:
        default: The axis where none is stated.
    """

    def __init__(self, default: int) -> None:
        self.default = default

    def axis(self, node: ir.Node) -> int:
        """The axis, counted from the first."""
        return _stated_axis(node, self.default)

    def can_run(self, node: ir.Node, frame: Layout) -> bool:
        """The axis must be whole, and others alike in all outputs."""
        return axes_are_whole(frame, [self.axis(node)])

    def rewrite(self, node: ir.Node, chosen: Assignment, constants: Constants) -> None:
        """Counts the axis in the new order."""
        _place_axis(node, self.default, chosen)


class Concat(AxisAttribute):
    """Concat: every input is a tensor of the frame."""

    def frame_of_input(self, node: ir.Node, index: int, layout: Layout | None) -> Layout | None:
        """The layout of any input."""
        axes = rank_of(node.inputs[index])
        return None if axes is None else full(layout, axes)

    def assign(self, node: ir.Node, frame: Layout) -> Assignment | None:
        """All inputs in the frame."""
        if any(rank_of(v) != frame.rank for v in node.inputs) or not self.can_run(node, frame):
            return None
        return Assignment((frame,) * len(node.inputs), (frame,), frame)


class Slice(DataRule):
    """Slice, whose axes may be left out."""

    def _axes(self, node: ir.Node) -> list[int] | None:
        if is_absent(node, 3):
            starts = dims_of(node.inputs[1])
            if starts is None or len(starts) != 1 or not isinstance(starts[0], int):
                return None
            return list(range(starts[0]))
        return _listed_axes(node)

    def can_run(self, node: ir.Node, frame: Layout) -> bool:
        """Its axes must be known and whole."""
        axes = self._axes(node)
        return axes is not None and axes_are_whole(frame, axes)

    def rewrite(self, node: ir.Node, chosen: Assignment, constants: Constants) -> None:
        """States the axes in the new order."""
        axes = self._axes(node)
        if axes is None or chosen.frame is None:
            return
        starts = node.inputs[1]
        kind = (
            np.dtype(np.int64) if starts is None or starts.dtype is None else starts.dtype.numpy()
        )
        placed = np.asarray([chosen.frame.place(axis) for axis in axes], kind)
        constants.set(node, 3, placed, f"{node.name}_axes")


class Pad(DataRule):
    """Pad: its amounts are reordered, or its axes where it states them."""

    def _axes(self, node: ir.Node) -> list[int] | None:
        if is_absent(node, 3):
            return list(range(rank_of(node.inputs[0]) or 1))
        return _listed_axes(node)

    def can_run(self, node: ir.Node, frame: Layout) -> bool:
        """What it pads must be known and whole."""
        axes = self._axes(node)
        if axes is None:
            return False
        amounts = constant_integers(node, 1)
        if amounts is not None and len(amounts) == 2 * len(axes):
            count = len(axes)
            axes = [a for i, a in enumerate(axes) if amounts[i] or amounts[i + count]]
        return axes_are_whole(frame, axes)

    def rewrite(self, node: ir.Node, chosen: Assignment, constants: Constants) -> None:
        """Reorders the amounts of all axes, or moves the stated axes."""
        axes, frame = self._axes(node), chosen.frame
        if axes is None or frame is None:
            return
        amounts = constant_integers(node, 1)
        if is_absent(node, 3) and amounts is not None:
            count = frame.rank
            order = [*frame.perm, *(axis + count for axis in frame.perm)]
            constants.set_integers(node, 1, [amounts[i] for i in order], f"{node.name}_pads")
        else:
            placed = [frame.place(axis) for axis in axes]
            constants.set_integers(node, 3, placed, f"{node.name}_axes")


class Tile(DataRule):
    """Tile with constant repeats."""

    def can_run(self, node: ir.Node, frame: Layout) -> bool:
        """Repeated axes must be whole."""
        repeats = constant_integers(node, 1)
        if repeats is None or len(repeats) != frame.rank:
            return False
        return axes_are_whole(frame, [axis for axis, count in enumerate(repeats) if count != 1])

    def rewrite(self, node: ir.Node, chosen: Assignment, constants: Constants) -> None:
        """Reorders the repeats."""
        repeats = constant_integers(node, 1)
        if repeats is not None and chosen.frame is not None:
            moved = [repeats[axis] for axis in chosen.frame.perm]
            constants.set_integers(node, 1, moved, f"{node.name}_repeats")


class TrailingAxes(DataRule):
    """LayerNormalization: the axes from ``axis`` on stay where they are."""

    def can_run(self, node: ir.Node, frame: Layout) -> bool:
        """Trailing axes in place and whole; its first output only."""
        axis = integer(node, "axis", -1) % frame.rank
        trailing = range(axis, frame.rank)
        if any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
            return False
        in_place = frame.perm[axis:] == tuple(trailing)
        return in_place and axes_are_whole(frame, list(trailing))


class Channelwise(DataRule):
    """Operators that know axis 1 as the channels: it must stay there."""

    def can_run(self, node: ir.Node, frame: Layout) -> bool:
        """Axis 1 in place."""
        return frame.rank > 1 and frame.perm[1] == 1 and axes_are_whole(frame, [1])


class Dropping(FrameRule):
    """Base of operators whose result lacks or replaces some axes of input 0, the frame."""

    def frame_of_input(self, node: ir.Node, index: int, layout: Layout | None) -> Layout | None:
        """The data's own layout."""
        axes = rank_of(node.inputs[0])
        return None if index != 0 or axes is None else full(layout, axes)

    @abc.abstractmethod
    def dropped(self, node: ir.Node) -> list[int] | None:
        """Axes that the result does not have; None where they are not known."""

    def frame_of_output(self, node: ir.Node, index: int, layout: Layout | None) -> Layout | None:
        """The result's order, with what it lacks at its old places."""
        axes, gone = rank_of(node.inputs[0]), self.dropped(node)
        if axes is None or gone is None:
            return None
        kept = [axis for axis in range(axes) if axis not in gone]
        result = full(layout, len(kept))
        if result.rank != len(kept):
            return None
        perm = [kept[axis] for axis in result.perm]
        for axis in sorted(gone):
            perm.insert(axis, axis)
        return Layout(tuple(perm), tuple(_moved(s, kept[s.axis]) for s in result.shuffles))

    def result_layout(self, frame: Layout, gone: list[int]) -> Layout:
        """What is left of the frame without those axes."""
        kept = [axis for axis in range(frame.rank) if axis not in gone]
        perm = tuple(kept.index(axis) for axis in frame.perm if axis not in gone)
        shuffles = tuple(_moved(s, kept.index(s.axis)) for s in frame.shuffles if s.axis in kept)
        return Layout(perm, shuffles)


class Reduction(Dropping):
    """ReduceMean, ReduceSum, …, and Mean of the dialect: axes at input 1."""

    def axes(self, node: ir.Node) -> list[int] | None:
        """The reduced axes, None where they are computed."""
        count = rank_of(node.inputs[0])
        if count is None:
            return None
        listed = [] if is_absent(node, 1) else constant_integers(node, 1)
        if listed is None:
            return None
        if not listed:
            return [] if integer(node, "noop_with_empty_axes", 0) else list(range(count))
        return [axis % count for axis in listed]

    def dropped(self, node: ir.Node) -> list[int] | None:
        """None of them with keepdims, else those that are reduced."""
        return [] if integer(node, "keepdims", 1) else self.axes(node)

    def assign(self, node: ir.Node, frame: Layout) -> Assignment | None:
        """The data in any order; whole along the reduced axes."""
        axes, gone = self.axes(node), self.dropped(node)
        if axes is None or gone is None or not axes_are_whole(frame, axes):
            return None
        parameters = (None,) * (len(node.inputs) - 1)
        return Assignment((frame, *parameters), (self.result_layout(frame, gone),), frame)

    def rewrite(self, node: ir.Node, chosen: Assignment, constants: Constants) -> None:
        """Counts the axes in the new order."""
        axes = self.axes(node)
        if axes and chosen.frame is not None and not is_absent(node, 1):
            placed = sorted(chosen.frame.place(axis) for axis in axes)
            constants.set_integers(node, 1, placed, f"{node.name}_axes")


class IndexReduction(Dropping):
    """ArgMax and ArgMin: one axis, an attribute."""

    def dropped(self, node: ir.Node) -> list[int] | None:
        """The axis, unless it is kept."""
        return [] if integer(node, "keepdims", 1) else [_stated_axis(node, 0)]

    def assign(self, node: ir.Node, frame: Layout) -> Assignment | None:
        """Any order; the axis itself whole, since its places are the result."""
        gone = self.dropped(node)
        if gone is None or not axes_are_whole(frame, [_stated_axis(node, 0)]):
            return None
        return Assignment((frame,), (self.result_layout(frame, gone),), frame)

    def rewrite(self, node: ir.Node, chosen: Assignment, constants: Constants) -> None:
        """Counts the axis in the new order."""
        _place_axis(node, 0, chosen)


class Gather(Dropping):
    """Gather: the axes of its indices take the place of the gathered one."""

    def dropped(self, node: ir.Node) -> list[int] | None:
        """The gathered axis when one index picks it; None where indices have several axes."""
        axes = rank_of(node.inputs[1])
        if axes is None or axes > 1:
            return None
        return [] if axes == 1 else [_stated_axis(node, 0)]

    def assign(self, node: ir.Node, frame: Layout) -> Assignment | None:
        """The data in any order, whole along the gathered axis."""
        gone = self.dropped(node)
        if gone is None or not axes_are_whole(frame, [_stated_axis(node, 0)]):
            return None
        return Assignment((frame, None), (self.result_layout(frame, gone),), frame)

    def rewrite(self, node: ir.Node, chosen: Assignment, constants: Constants) -> None:
        """Counts the axis in the new order."""
        _place_axis(node, 0, chosen)


class ShapeOf(Rule):
    """Shape: it may read any order, and its numbers are put back in the old one."""

    def by_input(
        self, node: ir.Node, index: int, layout: Layout | None, current: Assignment
    ) -> Assignment | None:
        """Any permutation."""
        axes = rank_of(node.inputs[0])
        frame = None if axes is None else full(layout, axes)
        return None if frame is None else Assignment((frame,), (None,), frame)

    def by_output(
        self, node: ir.Node, index: int, layout: Layout | None, current: Assignment
    ) -> Assignment | None:
        """The sizes themselves stay in order, which asks for nothing."""
        return current if layout is None else None

    def rewrite(self, node: ir.Node, chosen: Assignment, constants: Constants) -> None:
        """Gathers the sizes that were asked for."""
        graph, frame = node.graph, chosen.frame
        if frame is None or graph is None:
            return
        asked = list(range(frame.rank))[
            integer(node, "start", 0) : integer(node, "end", frame.rank)
        ]
        placed = [frame.place(axis) for axis in asked]
        if placed == asked:
            return
        for key in ("start", "end"):
            node.attributes.pop(key, None)
        output = node.outputs[0]
        indices = constants.make(np.asarray(placed, np.int64), f"{node.name}_order")
        picked = make_node(
            "Gather",
            [output, indices],
            output,
            name=f"{node.name}_order",
            attributes={"axis": 0},
            shape=ir.Shape([len(placed)]),
        )
        inherit_sources([picked], [node])
        graph.insert_after(node, picked)
        replace_output(output, picked.outputs[0])
        picked.replace_input_with(0, output)
        output.name = f"{picked.outputs[0].name}_reordered"
        output.shape = ir.Shape([frame.rank])


def _listed_axes(node: ir.Node) -> list[int] | None:
    """The axes that input 3 lists, counted from the first; None where they are computed."""
    axes = rank_of(node.inputs[0]) or 1
    listed = constant_integers(node, 3)
    return None if listed is None else [axis % axes for axis in listed]


def _stated_axis(node: ir.Node, default: int) -> int:
    """The attribute ``axis``, counted from the first axis of input 0."""
    return integer(node, "axis", default) % max(1, rank_of(node.inputs[0]) or 1)


def _place_axis(node: ir.Node, default: int, chosen: Assignment) -> None:
    """Counts the attribute ``axis`` in the chosen order."""
    if chosen.frame is not None:
        place = chosen.frame.place(_stated_axis(node, default))
        node.attributes["axis"] = ir.AttrInt64("axis", place)


def _moved(shuffle: Shuffle, axis: int) -> Shuffle:
    return Shuffle(axis, shuffle.sizes, shuffle.order)


_REDUCTIONS = (
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
)

STANDARD: Mapping[str, Rule] = {
    **dict.fromkeys(_REDUCTIONS, Reduction()),
    "ArgMax": IndexReduction(),
    "ArgMin": IndexReduction(),
    "Concat": Concat(0),
    "Gather": Gather(),
    "Hardmax": AxisAttribute(-1),
    "LayerNormalization": TrailingAxes(),
    "LogSoftmax": AxisAttribute(-1),
    "Pad": Pad(),
    "Shape": ShapeOf(),
    "Slice": Slice(),
    "Softmax": AxisAttribute(-1),
    "Split": AxisAttribute(0),
    "Tile": Tile(),
}

FUNCTIONS: Mapping[str, Rule] = {
    **dict.fromkeys(("MeanDouble", "MeanSingle", "SumDouble", "SumSingle"), Reduction()),
    **dict.fromkeys(("ReduceMaxInteger", "ReduceMinInteger"), Reduction()),
    "SoftmaxInteger": AxisAttribute(-1),
    "SoftmaxInteger16": AxisAttribute(-1),
    "TableChannelwise": Channelwise(),
}
