"""What a rule is: how an operator carries the order of its inputs over to its outputs."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import (
    constant,
    constant_value,
    dims,
    fresh_name,
)
from intaglio.passes.layout.layouts import Dims, Layout, full

#: Constants up to this many elements are shared by value.
_SHARED = 4096


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A way to run a node: the layouts of what it reads and makes.

    Attributes:
        inputs: For each input the layout it must have, None as in the graph.
        outputs: For each output the layout that it then has.
        frame: The layout of the operator's own axes, which its attributes count.
    """

    inputs: tuple[Layout | None, ...]
    outputs: tuple[Layout | None, ...]
    frame: Layout | None = None


def unchanged(node: ir.Node) -> Assignment:
    """The node as it stands."""
    return Assignment((None,) * len(node.inputs), (None,) * len(node.outputs))


class Rule(abc.ABC):
    """How one kind of operator carries layouts over.

    ``by_input`` and ``by_output`` answer with None where the operator cannot run on that layout.
    ``current`` is how the node runs at the moment.
    """

    @abc.abstractmethod
    def by_input(
        self, node: ir.Node, index: int, layout: Layout | None, current: Assignment
    ) -> Assignment | None:
        """The node reading input ``index`` in ``layout``."""

    @abc.abstractmethod
    def by_output(
        self, node: ir.Node, index: int, layout: Layout | None, current: Assignment
    ) -> Assignment | None:
        """The node making output ``index`` in ``layout``."""

    def rewrite(self, node: ir.Node, chosen: Assignment, constants: Constants) -> None:
        """Changes attributes and parameters; shapes of values are still the old ones."""
        return  # most operators have neither


class FrameRule(Rule):
    """A rule of operators with one set of axes, the frame, that decides everything else."""

    def by_input(
        self, node: ir.Node, index: int, layout: Layout | None, current: Assignment
    ) -> Assignment | None:
        """The frame that this input asks for, for the whole node."""
        frame = self.frame_of_input(node, index, layout)
        return None if frame is None else self.assign(node, frame)

    def by_output(
        self, node: ir.Node, index: int, layout: Layout | None, current: Assignment
    ) -> Assignment | None:
        """The frame that this output asks for, for the whole node."""
        frame = self.frame_of_output(node, index, layout)
        return None if frame is None else self.assign(node, frame)

    @abc.abstractmethod
    def frame_of_input(self, node: ir.Node, index: int, layout: Layout | None) -> Layout | None:
        """The frame in which input ``index`` is stored in ``layout``."""

    @abc.abstractmethod
    def frame_of_output(self, node: ir.Node, index: int, layout: Layout | None) -> Layout | None:
        """The frame in which output ``index`` is stored in ``layout``."""

    @abc.abstractmethod
    def assign(self, node: ir.Node, frame: Layout) -> Assignment | None:
        """The node in ``frame``; None where it cannot."""


class DataRule(FrameRule):
    """The frame is that of input 0; the output has the same axes; others are parameters."""

    def frame_of_input(self, node: ir.Node, index: int, layout: Layout | None) -> Layout | None:
        """The data's own layout."""
        axes = rank_of(node.inputs[0])
        return None if index != 0 or axes is None else full(layout, axes)

    def frame_of_output(self, node: ir.Node, index: int, layout: Layout | None) -> Layout | None:
        """The same as the data's."""
        return self.frame_of_input(node, 0, layout)

    def assign(self, node: ir.Node, frame: Layout) -> Assignment | None:
        """Data and outputs in the frame."""
        if not self.can_run(node, frame):
            return None
        parameters = (None,) * (len(node.inputs) - 1)
        return Assignment((frame, *parameters), (frame,) * len(node.outputs), frame)

    @abc.abstractmethod
    def can_run(self, node: ir.Node, frame: Layout) -> bool:
        """Whether the operator has a form on this layout."""


def rank_of(value: ir.Value | None) -> int | None:
    """Number of axes, None where not known."""
    return None if value is None or value.shape is None else len(value.shape)


def dims_of(value: ir.Value | None) -> Dims | None:
    """Sizes, None where even their number is not known."""
    found = dims(value)
    return None if found is None else tuple(found)


def axes_are_whole(frame: Layout, axes: Sequence[int]) -> bool:
    """Whether none of ``axes`` is shuffled."""
    return all(frame.shuffle(axis) is None for axis in axes)


class Constants:
    """Initializers that rewriting makes; equal small ones are one."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._made: dict[Any, ir.Value] = {}

    def make(
        self, array: NDArray[Any], base: str, notes: Mapping[str, str] | None = None
    ) -> ir.Value:
        """An initializer that holds ``array``, named after ``base`` if it is new.

        Args:
            array: Its elements.
            base: The name to take, or to begin with.
            notes: Notes to put on it; equal constants with other notes are not shared.
        """
        noted = dict(notes or {})
        key = None
        if array.size <= _SHARED:
            key = (array.dtype.str, array.shape, array.tobytes(), tuple(sorted(noted.items())))
        if key is not None and key in self._made:
            return self._made[key]
        value = constant_value(fresh_name(self.graph, base), array)
        value.metadata_props.update(noted)
        self.graph.register_initializer(value)
        if key is not None:
            self._made[key] = value
        return value

    def set(self, node: ir.Node, index: int, array: NDArray[Any], base: str) -> None:
        """Makes input ``index`` of ``node`` the constant ``array``."""
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        old = node.inputs[index]
        before = constant(old)
        if before is not None and before.dtype == array.dtype and np.array_equal(before, array):
            return
        name, notes = base, None
        if old is not None and before is not None:
            name, notes = str(old.name), old.metadata_props
        node.replace_input_with(index, self.make(array, f"{name}_reordered", notes))

    def set_integers(self, node: ir.Node, index: int, numbers: Sequence[int], base: str) -> None:
        """Like :meth:`set`, with int64 numbers (or the type that is there)."""
        before = constant(node.inputs[index] if index < len(node.inputs) else None)
        dtype = np.dtype(np.int64) if before is None else before.dtype
        self.set(node, index, np.asarray(numbers, dtype), base)


def constant_integers(node: ir.Node, index: int) -> list[int] | None:
    """The numbers of a constant parameter, None where it is absent or computed."""
    array = constant(node.inputs[index]) if index < len(node.inputs) else None
    return None if array is None else [int(v) for v in array.reshape(-1)]


def is_absent(node: ir.Node, index: int) -> bool:
    """Whether the node has no input ``index``."""
    return index >= len(node.inputs) or node.inputs[index] is None
