"""Emits a TOSA file from a channels-last integer graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx_ir as ir

from intaglio.errors import Refusal
from intaglio.passes.annotations import get_source_value
from intaglio.passes.layout.problem import is_inside
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.provenance import source_name
from intaglio.passes.table_networks.facts import Network
from intaglio.passes.table_networks.read import read_network
from intaglio.targets.tosa.emitters import (
    arithmetic,
    averages,
    moves,
    pooling,
    prelu,
    products,
    resizes,
    softmax,
    sums,
    tables,
)
from intaglio.targets.tosa.scope import Emitter, Scope
from intaglio.targets.tosa.table_network import emit_table_network

#: Node type to what emits it. Nodes of other types are parts of these.
EMITTERS: Mapping[str, Emitter] = {
    operator: emitter
    for family in (
        arithmetic,
        averages,
        moves,
        pooling,
        prelu,
        products,
        resizes,
        softmax,
        sums,
        tables,
    )
    for operator, emitter in family.EMITTERS.items()
}

_REMEDY = "convert to onnx-integer, which has it"


@dataclasses.dataclass(frozen=True)
class Emitted:
    """What became of one model.

    Attributes:
        data: The file; empty where something was refused.
        operators: Names of its operators, in order, constants left out.
        refusals: Every node that the target has no operators for.
        sources: The source value that a tensor of the file stands for, in order.
    """

    data: bytes
    operators: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)


def emit(model: ir.Model, profile: str) -> Emitted:
    """Emits one model.

    Args:
        model: Integer form, channels last (``layout.to_channels_last``), or a table network; not
            changed.
        profile: Name of its arithmetic profile; how functions round is in their names.

    Returns:
        The file, or the refusals.
    """
    scope = Scope(model)
    network = read_network(model)
    if network is not None:
        return _emit_table_network(scope, network, model)
    refusals: list[Refusal] = []
    refused: set[ir.Value] = set()
    emitted: set[ir.Node] = set()
    try:
        scope.measured.check()
        inputs = [scope.border(value) for value in model.graph.inputs]
    except RefusedError as error:
        return Emitted(b"", (), (Refusal("", "input", str(error), error.remedy),))
    for node in model.graph:
        if any(value in refused for value in node.inputs if value is not None):
            refused.update(node.outputs)
            continue
        emitter = EMITTERS.get(node.op_type)
        if emitter is None or is_inside(node) or scope.is_parameter(node):
            continue
        try:
            emitter(scope, node)
            emitted.add(node)
        except RefusedError as error:
            refusals.append(error.refusal(node))
            refused.update(node.outputs)
    if not refusals:
        refusals += [
            Refusal(source_name(node), node.op_type, f"TOSA has no {node.op_type} here", _REMEDY)
            for node in model.graph
            if not (node in emitted or scope.is_claimed(node) or scope.is_parameter(node))
        ]
    if refusals:
        return Emitted(b"", (), tuple(refusals))
    scope.file.inputs = inputs
    scope.file.outputs = [scope.name(value) for value in model.graph.outputs]
    return Emitted(scope.file.to_bytes(), tuple(scope.operators), (), _sources(scope, model))


def _sources(scope: Scope, model: ir.Model) -> dict[str, str]:
    """What the file's tensors stand for; they have the names of the graph's values."""
    values = [value for node in model.graph for value in node.outputs]
    return {
        str(value.name): source
        for value in values
        if (source := get_source_value(value)) and scope.has(value)
    }


def _emit_table_network(scope: Scope, network: Network, model: ir.Model) -> Emitted:
    try:
        emit_table_network(scope, network, model)
    except RefusedError as error:
        return Emitted(b"", (), (Refusal("", "table network", str(error), error.remedy),))
    return Emitted(scope.file.to_bytes(), tuple(scope.operators), ())
