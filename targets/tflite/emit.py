"""Emits a TFLite file from a channels-last integer graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx_ir as ir

from intaglio.errors import Refusal
from intaglio.passes.layout.problem import is_inside
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.provenance import source_name
from intaglio.targets.tflite.emitters import (
    arithmetic,
    blocks,
    border,
    features,
    moves,
    padding,
    pooling,
    prelu,
    rescales,
    resizes,
    slices,
    softmax,
    tables,
)
from intaglio.targets.tflite.emitters.scope import Emitter, Scope

DESCRIPTION = "intaglio"

_FAMILIES = (
    arithmetic,
    blocks,
    border,
    features,
    moves,
    padding,
    pooling,
    prelu,
    rescales,
    resizes,
    slices,
    softmax,
    tables,
)

#: Node type to what emits it. Nodes of other types are parts of these.
EMITTERS: Mapping[str, Emitter] = {
    operator: emitter for family in _FAMILIES for operator, emitter in family.EMITTERS.items()
}


@dataclasses.dataclass(frozen=True)
class Emitted:
    """What became of one model.

    Attributes:
        data: The file; empty where something was refused.
        operators: Names of its operators, in order.
        refusals: Every node that has no TFLite operator.
    """

    data: bytes
    operators: tuple[str, ...]
    refusals: tuple[Refusal, ...]


def emit(model: ir.Model, profile: str, *, blocks_by_transpose: bool = False) -> Emitted:
    """Emits one model.

    Args:
        model: Integer form, channels last (``layout.to_channels_last``); not changed.
        profile: Name of its arithmetic profile.
        blocks_by_transpose: Write DEPTH_TO_SPACE and SPACE_TO_DEPTH as TRANSPOSE between RESHAPEs.

    Returns:
        The file, or the refusals.
    """
    return _Emission(model, profile, blocks_by_transpose).run()


class _Emission:
    """Walks the graph once, in order."""

    def __init__(self, model: ir.Model, profile: str, blocks_by_transpose: bool) -> None:
        self._graph = model.graph
        self._scope = Scope(model, profile, DESCRIPTION)
        self._scope.blocks_by_transpose = blocks_by_transpose
        self._refusals: list[Refusal] = []
        self._refused: set[ir.Value] = set()
        self._emitted: set[ir.Node] = set()

    def run(self) -> Emitted:
        scope = self._scope
        try:
            scope.measured.check()
        except RefusedError as error:
            refusal = Refusal("", "input", str(error), error.remedy)
            return Emitted(b"", (), (refusal,))
        inputs = [scope.border(value) for value in self._graph.inputs]
        for node in self._graph:
            self._visit(node)
        self._check_left_over()
        if self._refusals:
            return Emitted(b"", (), tuple(self._refusals))
        scope.file.inputs(inputs)
        scope.file.outputs([scope.index(value) for value in self._graph.outputs])
        return Emitted(scope.file.to_bytes(), tuple(scope.operators), ())

    def _visit(self, node: ir.Node) -> None:
        if any(value in self._refused for value in node.inputs if value is not None):
            self._refused.update(node.outputs)
            return
        emitter = EMITTERS.get(node.op_type)
        if emitter is None or is_inside(node) or self._is_parameter(node):
            return
        try:
            emitter(self._scope, node)
            self._emitted.add(node)
        except RefusedError as error:
            self._refusals.append(error.refusal(node))
            self._refused.update(node.outputs)

    def _is_parameter(self, node: ir.Node) -> bool:
        """Whether ``node`` computes a shape or the like, which the file has as a constant."""
        return all(self._scope.array(value) is not None for value in node.outputs)

    def _check_left_over(self) -> None:
        """Every node is an operator, a part of one, or a parameter."""
        if self._refusals:
            return  # what is left over are parts of what was refused
        for node in self._graph:
            known = node in self._emitted or self._scope.is_claimed(node)
            if not known and not self._is_parameter(node):
                reason = f"no TFLite operator computes {node.op_type} in this place"
                remedy = "convert to onnx-integer, which has it"
                self._refusals.append(Refusal(source_name(node), node.op_type, reason, remedy))
