"""Cuts a model in two at its codes: what the device runs, and what the server runs."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from intaglio.errors import RecipeError
from intaglio.passes.canonicalize.editing import drop_unused_constants
from intaglio.passes.dialect.functions import add_functions
from intaglio.passes.split.cuts import divide
from intaglio.passes.split.marks import get_wire

DEVICE = "device"
SERVER = "server"


def extract(model: ir.Model) -> dict[str, ir.Model]:
    """The two halves of a model with a codec.

    Args:
        model: What ``split.insert_codec`` made; stays as it is.

    Returns:
        ``device``, from the model's inputs to codes (and ranges), and ``server``, from these to
        the model's outputs. Each is a copy with its own nodes, constants and functions, and all
        the metadata.

    Raises:
        RecipeError: There is no codec in the model, or data goes around its codes.
    """
    wire = get_wire(model)
    if wire is None:
        raise RecipeError("the model is not cut in two: it has no codec", remedy="use recipe split")
    return {DEVICE: _device(model, wire), SERVER: _server(model, wire)}


def _device(source: ir.Model, wire: Sequence[str]) -> ir.Model:
    model = source.clone(deep_copy=True)
    graph = model.graph
    sent = _named(graph, wire)
    front, _ = divide(graph, wire)
    graph.outputs.clear()
    graph.outputs.extend(sent)
    _keep(model, front)
    return model


def _server(source: ir.Model, wire: Sequence[str]) -> ir.Model:
    model = source.clone(deep_copy=True)
    graph = model.graph
    sent = _named(graph, wire)
    _, behind = divide(graph, wire)
    inputs = [_input_like(value) for value in sent]
    for value, received in zip(sent, inputs, strict=True):
        value.replace_all_uses_with(received)
        value.name = f"{value.name}_sent"  # it goes with its node; the name is the input's
    # A parameter that a caller may override stays an input of the half that reads it.
    kept = [value for value in graph.inputs if value.name in graph.initializers]
    graph.inputs.clear()
    graph.inputs.extend([*inputs, *kept])
    _keep(model, behind)
    return model


def _named(graph: ir.Graph, names: Sequence[str]) -> list[ir.Value]:
    values = {value.name: value for node in graph for value in node.outputs}
    return [values[name] for name in names]


def _input_like(value: ir.Value) -> ir.Value:
    """A graph input with name, type, shape and notes of ``value``."""
    made = ir.Value(name=value.name, type=value.type, shape=value.shape)
    made.metadata_props.update(value.metadata_props)
    return made


def _keep(model: ir.Model, nodes: Sequence[ir.Node]) -> None:
    """Removes all other nodes, and the constants and functions that only these had use for."""
    graph, kept = model.graph, set(nodes)
    rest = [node for node in graph if node not in kept]
    for node in reversed(rest):
        graph.remove(node, safe=True)
    drop_unused_constants(graph)
    unread = [
        value
        for value in graph.inputs
        if value.name in graph.initializers and not (value.uses() or value.is_graph_output())
    ]
    for value in unread:
        graph.inputs.remove(value)
        del graph.initializers[str(value.name)]
    add_functions(model)
