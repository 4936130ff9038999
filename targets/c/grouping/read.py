"""Reads a channels-last integer graph into a network of layers, or says what has no layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx_ir as ir

from intaglio.errors import Refusal
from intaglio.passes.layout.problem import is_inside
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.provenance import source_name
from intaglio.targets.c.grouping import (
    elementwise,
    functions,
    moves,
    pooling,
    positions,
    rescales,
)
from intaglio.targets.c.grouping.reader import Grouping, Reader
from intaglio.targets.c.grouping.shapes import Wish
from intaglio.targets.c.naming import identifier
from intaglio.targets.c.network import Network, Tensor, Variable
from intaglio.targets.integer_graph import Measured

_FAMILIES = (elementwise, functions, moves, pooling, positions, rescales)

#: Node type to what makes its layers. Nodes of other types are parts of these.
GROUPINGS: Mapping[str, Grouping] = {
    operator: grouping for family in _FAMILIES for operator, grouping in family.GROUPINGS.items()
}

_REMEDY = "convert to onnx-integer, which has it"


@dataclasses.dataclass(frozen=True)
class Grouped:
    """What became of one model.

    Attributes:
        network: Its layers; None where something was refused.
        refusals: Every node that has no layer.
    """

    network: Network | None
    refusals: tuple[Refusal, ...]


def read_network(model: ir.Model, profile: str, name: str) -> Grouped:
    """Reads one model.

    Args:
        model: Integer form, channels last (``layout.to_channels_last``); not changed.
        profile: Name of its arithmetic profile.
        name: Name of the network, made an identifier of C.

    Returns:
        The network, or the refusals.
    """
    first = _Reading(model, None, {})
    grouped, wishes = first.run(profile, name)
    if grouped.network is None or not wishes:
        return grouped
    return _Reading(model, first.measured, wishes).run(profile, name)[0]


class _Reading:
    """Walks the graph once, in order."""

    def __init__(
        self, model: ir.Model, measured: Measured | None, wishes: Mapping[str, Wish]
    ) -> None:
        self._graph = model.graph
        self._reader = Reader(model, measured, wishes)
        self._refusals: list[Refusal] = []
        self._refused: set[ir.Value] = set()
        self._grouped: set[ir.Node] = set()

    @property
    def measured(self) -> Measured:
        """Shapes and constants, for another reading."""
        return self._reader.measured

    def run(self, profile: str, name: str) -> tuple[Grouped, dict[str, Wish]]:
        reader = self._reader
        if not self._begin():
            return Grouped(None, tuple(self._refusals)), {}
        for node in self._graph:
            self._visit(node)
        self._check_left_over()
        if self._refusals:
            return Grouped(None, tuple(self._refusals)), {}
        values = [v for v in self._graph.outputs if not reader.is_for_loss(v)]
        outputs, wishes = reader.outputs(values)
        network = Network(
            identifier(name),
            tuple(reader.inputs),
            tuple(outputs),
            tuple(reader.layers),
            profile,
            dict(reader.aliases),
            *self._training(),
        )
        return Grouped(network, ()), wishes

    def _training(self) -> tuple[tuple[Variable, ...], Tensor | None]:
        """Weights that training changes, by number, and what the loss reads."""
        found = [self._reader.variables.get(str(value.name)) for value in self._graph.inputs]
        last = [v for v in self._graph.outputs if self._reader.is_for_loss(v)]
        logits = self._reader.tensor(last[0]) if last else None
        return tuple(variable for variable in found if variable is not None), logits

    def _begin(self) -> bool:
        try:
            self._reader.measured.check()
        except RefusedError as error:
            self._refusals.append(Refusal("", "input", error.reason, error.remedy))
            return False
        for value in self._graph.inputs:
            if self._reader.variable(value) is not None:
                continue  # its layer knows in which order it wants the numbers
            try:
                self._reader.input(value)
            except RefusedError as error:
                refusal = Refusal(str(value.name), "input", error.reason, error.remedy)
                self._refusals.append(refusal)
                self._refused.add(value)
        return True

    def _visit(self, node: ir.Node) -> None:
        if any(value in self._refused for value in node.inputs if value is not None):
            self._refused.update(node.outputs)
            return
        grouping = GROUPINGS.get(node.op_type)
        if grouping is None or is_inside(node) or self._reader.is_parameter(node):
            return
        if self._reader.variable(node.outputs[0]) is not None:
            return  # part of the layer that adds it
        try:
            grouping(self._reader, node)
            self._grouped.add(node)
        except RefusedError as error:
            refusal = error.refusal(node)
            refusal.remedy = refusal.remedy or _REMEDY
            self._refusals.append(refusal)
            self._refused.update(node.outputs)

    def _check_left_over(self) -> None:
        """Every node is a layer, a part of one, or a parameter."""
        if self._refusals:
            return  # what is left over are parts of what was refused
        for node in self._graph:
            known = node in self._grouped or self._reader.is_claimed(node)
            if not known and not self._reader.is_parameter(node):
                reason = f"no C function computes {node.op_type} in this place"
                self._refusals.append(Refusal(source_name(node), node.op_type, reason, _REMEDY))
