"""Emits a TOSA file from a channels-last integer graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx_ir as ir

from intaglio.errors import Refusal
from intaglio.passes.layout.problem import is_inside
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.provenance import source_name
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
    """

    data: bytes
    operators: tuple[str, ...]
    refusals: tuple[Refusal, ...]


def emit(model: ir.Model, profile: str) -> Emitted:
    """Emits one model.

    Args:
        model: Integer form, channels last (``layout.to_channels_last``); not changed.
        profile: Name of its arithmetic profile; how functions round is in their names.

    Returns:
        The file, or the refusals.
    """
    scope = Scope(model)
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
    return Emitted(scope.file.to_bytes(), tuple(scope.operators), ())
