"""A graph as a choice of layouts: who makes and reads each tensor, and what a choice costs.

Transposes are not part of the problem: a transposed tensor is the tensor itself, seen in another
order. What costs is every reader that needs another order than the one that is stored, once for
all readers that need the same. So a Transpose of the graph disappears where both sides agree, and
comes back where that is cheapest.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator

import onnx_ir as ir

from intaglio.passes.annotations import LAYOUT_KEY, get_layout
from intaglio.passes.canonicalize.editing import constant, ints, is_standard
from intaglio.passes.layout.layouts import (
    CHANNELS_LAST,
    Dims,
    Layout,
    Permutation,
    full,
    identity,
    inverse,
    memory_order,
    moves_data,
    moves_of_ones,
    normalize,
    reshape_target,
    step_between,
    stored_dims,
    through,
)
from intaglio.passes.layout.rules import Assignment, Rule, dims_of, unchanged
from intaglio.passes.layout.table import rule_of

#: Note of a Transpose that belongs to a channels-first operator of a channels-last graph.
INSIDE = "inside"

#: What an open dimension counts as.
_OPEN = 16
#: Elements that really move count before everything else.
_MOVED = 1 << 40
#: Cost of what cannot be done.
IMPOSSIBLE = 1 << 90


@dataclasses.dataclass(eq=False)
class Unit:
    """Something that makes or reads tensors: a node, an input or an output of the graph.

    Attributes:
        node: The node, None for the graph's border.
        rule: Its rule; None where it runs in one way only.
        chosen: How it runs at the moment.
        border: The value of an input or output that may be stored channels last.
        reads: Net and view of each computed input, by index.
        makes: Nets of its outputs, by index.
    """

    node: ir.Node | None
    rule: Rule | None
    chosen: Assignment
    border: ir.Value | None = None
    reads: dict[int, tuple[Net, Permutation]] = dataclasses.field(default_factory=dict)
    makes: dict[int, Net] = dataclasses.field(default_factory=dict)

    def by_input(self, index: int, layout: Layout | None) -> Assignment | None:
        """The unit reading input ``index`` in ``layout``."""
        if self.border is not None:
            return self._border(layout, reads=True)
        if self.rule is None or self.node is None:
            return None
        return self.rule.by_input(self.node, index, layout, self.chosen)

    def by_output(self, index: int, layout: Layout | None) -> Assignment | None:
        """The unit making output ``index`` in ``layout``."""
        if self.border is not None:
            return self._border(layout, reads=False)
        if self.rule is None or self.node is None:
            return None
        return self.rule.by_output(self.node, index, layout, self.chosen)

    def _border(self, layout: Layout | None, *, reads: bool) -> Assignment | None:
        """A tensor of the border is stored as it is, or channels last."""
        sizes = dims_of(self.border)
        if sizes is None or normalize(layout, sizes) != normalize(Layout(CHANNELS_LAST), sizes):
            return None
        last = (Layout(CHANNELS_LAST),)
        return Assignment(last, ()) if reads else Assignment((), last)


_ACCUMULATORS = (ir.DataType.INT32, ir.DataType.INT64)
_ACCUMULATOR_COST = 16


@dataclasses.dataclass(eq=False)
class Net:
    """A tensor that is stored once, and its readers.

    Attributes:
        value: The tensor.
        dims: Its sizes.
        source: The unit that makes it, and as which output.
        readers: Units that read it, as which input, and through which transpose.
        views: Values that are this tensor transposed, and how.
    """

    value: ir.Value
    dims: Dims
    source: tuple[Unit, int] | None = None
    readers: list[tuple[Unit, int, Permutation]] = dataclasses.field(default_factory=list)
    views: list[tuple[ir.Value, Permutation]] = dataclasses.field(default_factory=list)

    @property
    def weight(self) -> int:
        """How dear it is to move an element: accumulators are, they belong to their rescale."""
        return move_weight(self.value)

    def stored(self, made: Assignment | None = None) -> Layout | None:
        """The layout it is stored in, where its source runs as ``made`` (else as chosen)."""
        if self.source is None:
            return None
        unit, index = self.source
        return normalize((made or unit.chosen).outputs[index], self.dims)

    def needed(
        self, reader: tuple[Unit, int, Permutation], run: Assignment | None = None
    ) -> Layout | None:
        """The layout that a reader needs, in terms of this tensor's own order."""
        unit, index, view = reader
        return normalize(through((run or unit.chosen).inputs[index], view), self.dims)

    def cost(self) -> int:
        """What its readers cost: a copy for each order they need, moved once for each memory."""
        stored = self.stored()
        total = 0
        moved: dict[Layout, Layout | None] = {}
        for need in dict.fromkeys(self.needed(reader) for reader in self.readers):
            memory = memory_order(need, self.dims)
            total += conversion_cost(moved.get(memory, stored), need, self.dims)
            moved.setdefault(memory, need)
        return total * self.weight


@functools.lru_cache(maxsize=65536)
def conversion_cost(stored: Layout | None, needed: Layout | None, dims: Dims) -> int:
    """Cost of turning a tensor stored in one layout into another."""
    if stored == needed:
        return 0
    step = step_between(stored, needed, len(dims))
    if step is None:
        return IMPOSSIBLE
    return _step_cost(step, stored_dims(dims, stored))


def _step_cost(perm: Permutation, dims: Dims) -> int:
    """Cost of a Transpose: what it moves, then the size of its tensor, then that it is a node."""
    small = min(elements(dims), _MOVED // 2) + 1
    return small + (elements(dims) * _MOVED if moves_data(perm, dims) else 0)


def elements(dims: Dims) -> int:
    """Number of elements; open dimensions are guessed."""
    return math.prod(dim if isinstance(dim, int) else _OPEN for dim in dims)


def is_inside(node: ir.Node | None) -> bool:
    """Whether ``node`` is a Transpose that belongs to the operator beside it."""
    return node is not None and node.metadata_props.get(LAYOUT_KEY) == INSIDE


def transpose_perm(node: ir.Node) -> Permutation | None:
    """The permutation of a Transpose that is free to go, None for anything else."""
    if not is_standard(node, "Transpose") or is_inside(node):
        return None
    sizes = dims_of(node.inputs[0])
    if sizes is None:
        return None
    perm = ints(node, "perm", list(range(len(sizes)))[::-1])
    return None if perm is None else tuple(perm)


def view_perm(node: ir.Node) -> Permutation | None:
    """Like :func:`transpose_perm`, also for a Reshape that only moves axes of size 1."""
    perm = transpose_perm(node)
    if perm is not None or not is_standard(node, "Reshape"):
        return perm
    start, target = dims_of(node.inputs[0]), dims_of(node.outputs[0])
    if start is None or target is None or reshape_target(start, target) is None:
        return None
    found = moves_of_ones(start, target)
    return None if found is None or normalize(Layout(found), start) is None else found


def _is_trained_weight(value: ir.Value) -> bool:
    """Whether an input is the kernel of a convolution: it has four axes, and is no image."""
    return any(use.node.op_type == "ConvInteger8By16" and use.idx == 1 for use in value.uses())


def move_weight(value: ir.Value) -> int:
    """How dear it is to move an element of ``value``."""
    return _ACCUMULATOR_COST if value.dtype in _ACCUMULATORS else 1


def views_cost(graph: ir.Graph) -> int:
    """What the Transposes cost that are in the graph now, in the terms of :meth:`Problem.cost`."""
    total = 0
    for node in graph:
        perm, sizes = view_perm(node), dims_of(node.inputs[0] if node.inputs else None)
        if perm is not None and sizes is not None:
            total += move_weight(node.outputs[0]) * _step_cost(perm, sizes)
    return total


class Problem:
    """The graph's units and nets.

    Args:
        graph: The graph.
        free_border: Whether inputs and outputs with four axes may be stored channels last.
    """

    def __init__(self, graph: ir.Graph, *, free_border: bool = False) -> None:
        self.graph = graph
        self.units: list[Unit] = []
        self.nets: list[Net] = []
        #: The net of each value, and the transpose through which the value sees it.
        self.views: dict[ir.Value, tuple[Net, Permutation]] = {}
        self._free_border = free_border
        for value in graph.inputs:
            unit = self._border_unit(value, Assignment((), (None,)))
            self._make(unit, 0, value)
        for node in graph:
            self._add_node(node)
        self.outputs: list[Unit] = []
        for value in graph.outputs:
            unit = self._border_unit(value, Assignment((None,), ()))
            self.outputs.append(unit)
            self._read(unit, 0, value)
        self._add_outside_readers()

    def _border_unit(self, value: ir.Value, as_it_is: Assignment) -> Unit:
        free = self._free_border and get_layout(value) == "NCHW" and constant(value) is None
        free = free and not _is_trained_weight(value)
        unit = Unit(None, None, as_it_is, value if free else None)
        self.units.append(unit)
        return unit

    def _add_node(self, node: ir.Node) -> None:
        source = node.inputs[0] if node.inputs else None
        perm = view_perm(node) if source is not None else None
        if perm is not None and source is not None:
            net, view = self._view(source)
            if net is not None:
                seen = tuple(view[axis] for axis in perm)
                self.views[node.outputs[0]] = (net, seen)
                net.views.append((node.outputs[0], seen))
                return
        rule = rule_of(node)
        if any(dims_of(v) is None for v in node.outputs):
            rule = None
        unit = Unit(node, rule, unchanged(node))
        self.units.append(unit)
        for index, value in enumerate(node.inputs):
            if value is not None:
                self._read(unit, index, value)
        for index, value in enumerate(node.outputs):
            self._make(unit, index, value)

    def _view(self, value: ir.Value) -> tuple[Net | None, Permutation]:
        """The net of ``value``; constants and tensors of unknown rank have none."""
        if value in self.views:
            return self.views[value]
        sizes = dims_of(value)
        if sizes is None or value.graph is not self.graph:
            return None, ()
        if value.producer() is None and not value.is_graph_input():
            # A constant: it has no source and comes in any layout for free.
            net = Net(value, sizes)
            self.views[value] = (net, identity(len(sizes)).perm)
            return self.views[value]
        return None, ()

    def _make(self, unit: Unit, index: int, value: ir.Value) -> None:
        sizes = dims_of(value)
        if sizes is None:
            return
        net = Net(value, sizes, (unit, index))
        self.nets.append(net)
        unit.makes[index] = net
        self.views[value] = (net, identity(len(sizes)).perm)

    def _read(self, unit: Unit, index: int, value: ir.Value) -> None:
        net, view = self._view(value)
        if net is not None:
            unit.reads[index] = (net, view)
            net.readers.append((unit, index, view))

    def _add_outside_readers(self) -> None:
        """Sub-graphs read what they read as it is."""
        for value in list(self.views):
            for use in value.uses():
                if use.node.graph is not self.graph:
                    unit = Unit(use.node, None, unchanged(use.node))
                    self.units.append(unit)
                    self._read(unit, use.idx, value)

    def cost(self) -> int:
        """What the choice costs that the units have made."""
        return sum(net.cost() for net in self.nets)

    def variable_nets(self, units: Iterator[Unit]) -> list[Net]:
        """Nets that touch one of ``units``, each once."""
        found: dict[Net, None] = {}
        for unit in units:
            for net, _ in unit.reads.values():
                if net.source is not None:
                    found[net] = None
            for net in unit.makes.values():
                found[net] = None
        return list(found)


def seen_through(layout: Layout | None, view: Permutation) -> Layout | None:
    """The layout of a view, given that of the tensor: the inverse of ``through``."""
    return through(full(layout, len(view)), inverse(view))
