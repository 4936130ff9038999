"""Puts chosen layouts into the graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from intaglio.passes.annotations import (
    LAYOUT_KEY,
    VALUE_KEY,
    get_quantization,
    set_layout,
    set_quantization,
)
from intaglio.passes.base import Change
from intaglio.passes.canonicalize.editing import (
    constant,
    fresh_name,
    make_node,
    remove_dead,
)
from intaglio.passes.layout.layouts import (
    Dims,
    Layout,
    full,
    memory_order,
    moves_data,
    normalize,
    reshape_target,
    step_between,
    stored_array,
    stored_dims,
)
from intaglio.passes.layout.problem import Net, Problem, Unit, transpose_perm
from intaglio.passes.layout.rules import Constants, dims_of
from intaglio.passes.provenance import inherit_sources, source_name


def rewrite(problem: Problem) -> list[Change]:
    """Rewrites the graph of ``problem`` as its units have chosen.

    Values keep their names and notes; a transposed copy has the name and notes of the value that
    it is a copy of, if that was in the graph.
    """
    return _Rewriter(problem).run()


def is_free(node: ir.Node) -> bool:
    """Whether a Transpose moves axes of size 1 only and can be written as a Reshape."""
    perm, sizes = transpose_perm(node), dims_of(node.inputs[0] if node.inputs else None)
    if perm is None or sizes is None or moves_data(perm, sizes):
        return False
    return reshape_target(sizes, stored_dims(sizes, Layout(perm))) is not None


@dataclasses.dataclass
class _Rewriter:
    problem: Problem

    def __post_init__(self) -> None:
        self.graph = self.problem.graph
        self.constants = Constants(self.graph)
        self.names = [str(value.name) for value in self.graph.outputs]
        self.changes: list[Change] = []
        self.copies: dict[tuple[Net, Layout | None], ir.Value] = {}

    def run(self) -> list[Change]:
        stored = {net: net.stored() for net in self.problem.nets}
        nets = list(dict.fromkeys([*self.problem.nets, *self._constant_nets()]))
        needs = {net: [net.needed(reader) for reader in net.readers] for net in nets}
        read = {
            net: [self._read_value(reader[0], reader[1]) for reader in net.readers] for net in nets
        }
        moved = [unit for unit in self.problem.units if self._moves(unit)]
        for unit in moved:
            self._rewrite_unit(unit)
        views = [value.producer() for net in nets for value, _ in net.views]
        for net in nets:
            self._reuse(net, stored.get(net), needs[net])
            for (unit, index, _), need, old in zip(net.readers, needs[net], read[net], strict=True):
                # What a rule has replaced already is as it must be.
                if self._read_value(unit, index) is old:
                    self._connect(net, stored.get(net), need, unit, index)
        for net, layout in stored.items():
            if layout is not None:
                _store(net.value, net.dims, layout)
                if layout.shuffles and not net.value.is_graph_output():
                    # Its elements stand in another order: it is not the tensor of that name.
                    net.value.name = fresh_name(self.graph, f"{net.value.name}_reordered")
                    net.value.metadata_props.pop(VALUE_KEY, None)
        for unit in moved:
            if unit.border is not None:
                self._note_border(unit)
        self._remove([node for node in views if node is not None])
        # A Transpose that is kept may have got readers in front of its place.
        self.graph.sort()
        return self.changes

    def _read_value(self, unit: Unit, index: int) -> ir.Value | None:
        if unit.node is None:
            return self.graph.outputs[self._output_place(unit)]
        return unit.node.inputs[index]

    def _constant_nets(self) -> list[Net]:
        return [net for net, _ in self.problem.views.values() if net.source is None]

    def _moves(self, unit: Unit) -> bool:
        """Whether the unit makes or reads anything in another order than the graph's."""
        made = [net.stored() for net in unit.makes.values()]
        read = [
            normalize(unit.chosen.inputs[index], sizes)
            for index, value in enumerate(unit.node.inputs if unit.node is not None else ())
            if (sizes := dims_of(value)) is not None and index < len(unit.chosen.inputs)
        ]
        border = unit.node is None and any(unit.chosen.inputs)
        return border or any(layout is not None for layout in (*made, *read))

    def _rewrite_unit(self, unit: Unit) -> None:
        node = unit.node
        if node is None or unit.rule is None:
            return
        unit.rule.rewrite(node, unit.chosen, self.constants)
        order = unit.chosen.frame or next(filter(None, unit.chosen.inputs), None)
        shown = "" if order is None else f" in order {list(order.perm)}"
        self.changes.append(
            Change("reorder", source_name(node), node.op_type, f"{node.op_type}{shown}")
        )

    def _connect(
        self, net: Net, stored: Layout | None, need: Layout | None, unit: Unit, index: int
    ) -> None:
        """Gives a reader the tensor in the layout that it needs."""
        found = self._materialize(net, stored, need, unit)
        if unit.node is None:
            self._output(unit, found)
        elif unit.node.inputs[index] is not found:
            unit.node.replace_input_with(index, found)

    def _origin(
        self, net: Net, stored: Layout | None, need: Layout | None
    ) -> tuple[ir.Value, Layout | None]:
        """What a copy is best made from: a copy with the same order in memory, else the tensor."""
        memory = memory_order(need, net.dims)
        if memory != memory_order(stored, net.dims):
            for (other, layout), copy in self.copies.items():
                if other is net and memory_order(layout, net.dims) == memory:
                    return copy, layout
        return net.value, stored

    def _materialize(
        self, net: Net, stored: Layout | None, need: Layout | None, reader: Unit
    ) -> ir.Value:
        """The tensor of ``net`` in the layout ``need``."""
        if need == stored:
            return net.value
        if (net, need) not in self.copies:
            array = constant(net.value) if net.source is None else None
            if array is not None:
                name = f"{net.value.name}_reordered"
                notes = net.value.metadata_props
                copy = self.constants.make(stored_array(array, need), name, notes)
            else:
                copy = self._copy(net, stored, need, reader)
            self.copies[net, need] = copy
        return self.copies[net, need]

    def _reuse(self, net: Net, stored: Layout | None, needs: Sequence[Layout | None]) -> None:
        """Keeps Transposes that are in the graph already and make what is needed.

        One for each order in memory: the others are reshapes of it.
        """
        kept: set[Layout] = set()
        for value, view in net.views if stored is None else ():
            node, layout = value.producer(), normalize(Layout(view), net.dims)
            if node is None or node.inputs[0] is not net.value or is_free(node):
                continue
            memory = memory_order(layout, net.dims)
            moves = memory != memory_order(stored, net.dims)
            if layout is None or layout not in needs or (moves and memory in kept):
                continue
            kept.add(memory)
            self.copies.setdefault((net, layout), value)

    def _copy(self, net: Net, stored: Layout | None, need: Layout | None, reader: Unit) -> ir.Value:
        """Inserts the Transpose, or Reshape, that makes the layout."""
        base, layout = self._origin(net, stored, need)
        step = step_between(layout, need, len(net.dims))
        if step is None:
            raise ValueError(f"'{net.value.name}' was given an order that no transpose makes")
        start = stored_dims(net.dims, layout)
        target = stored_dims(net.dims, need)
        shape = ir.Shape(list(target))
        doubles = [v for v, view in net.views if normalize(Layout(view), net.dims) == need]
        double = doubles[0] if doubles else None
        name = str(net.value.name) if double is None else str(double.name)
        sizes = None if moves_data(step, start) else reshape_target(start, target)
        if sizes is None:
            attributes = {"perm": list(step)}
            node = make_node(
                "Transpose", [base], net.value, name="", attributes=attributes, shape=shape
            )
        else:
            numbers = self.constants.make(np.asarray(sizes, np.int64), f"{name}_shape")
            node = make_node("Reshape", [base, numbers], net.value, name="", shape=shape)
        self._place(node, base, double, reader, name)
        _copy_notes(double or net.value, node.outputs[0], net.dims, need, own=double is not None)
        kind = "insert_transpose" if sizes is None else "insert_reshape"
        self.changes.append(Change(kind, source_name(node), str(list(start)), str(list(target))))
        return node.outputs[0]

    def _place(
        self, node: ir.Node, base: ir.Value, double: ir.Value | None, reader: Unit, name: str
    ) -> None:
        """Puts a copy behind the tensor, with the name of the value it is a double of."""
        producer = base.producer()
        origin = (double.producer() if double is not None else None) or producer or reader.node
        if double is not None:
            node.name = str(origin.name) if origin is not None else name
            double.name = fresh_name(self.graph, f"{name}_replaced")
            node.outputs[0].name = name
        else:
            node.outputs[0].name = fresh_name(self.graph, f"{name}_transposed")
            node.name = node.outputs[0].name
        if origin is not None:
            inherit_sources([node], [origin])
        if producer is not None:
            self.graph.insert_after(producer, node)
        else:
            self.graph.insert_before(self.graph[0], node)

    def _output(self, unit: Unit, found: ir.Value) -> None:
        """Makes ``found`` the graph's output, under the old one's name."""
        place = self._output_place(unit)
        old = self.graph.outputs[place]
        if found is old:
            return
        if found.producer() is None or found.is_graph_output():
            sizes = stored_dims(dims_of(old) or (), unit.chosen.inputs[0])
            name = f"{self.names[place]}_copy"
            node = make_node("Identity", [found], found, name=name, shape=ir.Shape(list(sizes)))
            producer = old.producer() or found.producer()
            inherit_sources([node], [producer] if producer is not None else [])
            self.graph.append(node)
            found = node.outputs[0]
        name = self.names[place]
        if old.name == name:
            old.name = fresh_name(self.graph, f"{name}_reordered")
        found.name = name
        for key, note in old.metadata_props.items():
            found.metadata_props.setdefault(key, note)
        old.metadata_props.pop(LAYOUT_KEY, None)
        self.graph.outputs[place] = found

    def _output_place(self, unit: Unit) -> int:
        return self.problem.outputs.index(unit)

    def _note_border(self, unit: Unit) -> None:
        value = unit.border
        if unit.chosen.inputs:
            value = self.graph.outputs[self._output_place(unit)]
        if value is not None and any((*unit.chosen.inputs, *unit.chosen.outputs)):
            set_layout(value, "NHWC")
            self.changes.append(Change("border", str(value.name), "NCHW", "NHWC"))

    def _remove(self, views: list[ir.Node]) -> None:
        """Removes what was replaced; operators in front keep the names of what is gone."""
        before = {node: (source_name(node), transpose_perm(node)) for node in views}
        sources = {node: node.inputs[0] for node in views}
        remove_dead(self.graph, views)
        for node in views:
            if node.graph is not None:
                continue
            name, perm = before[node]
            shown = node.op_type if perm is None else f"{node.op_type} {list(perm)}"
            self.changes.append(Change("remove_view", name, shown, "nothing"))
            value = sources[node]
            producer = value.producer() if value is not None else None
            if producer is not None and producer.graph is not None:
                inherit_sources([producer], [node])


def _store(value: ir.Value, sizes: Dims, layout: Layout) -> None:
    """Changes a value's shape, and the axis of its quantization, to those of the stored array."""
    value.shape = ir.Shape(list(stored_dims(sizes, layout)))
    _move_axis(value, layout)


def _move_axis(value: ir.Value, layout: Layout) -> None:
    quantization = get_quantization(value)
    if quantization is not None and quantization.axis is not None:
        place = layout.place(quantization.axis % layout.rank)
        set_quantization(value, dataclasses.replace(quantization, axis=place))


def _copy_notes(
    source: ir.Value, copy: ir.Value, sizes: Dims, layout: Layout | None, *, own: bool
) -> None:
    """Gives a copy the notes of its source; an axis counts in the copy's order."""
    copy.metadata_props.update(source.metadata_props)
    if not own:
        copy.metadata_props.pop(LAYOUT_KEY, None)
        _move_axis(copy, full(layout, len(sizes)))
