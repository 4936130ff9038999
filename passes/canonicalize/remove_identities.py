"""Removes what does nothing: identities, pairs that cancel, and what nobody reads.

Beside single nodes (see ``identities``):

* two Transposes in a row are one, or none where they cancel;
* a chain of Reshape, Flatten, Squeeze and Unsqueeze is one Reshape. With two or more symbolic
  dimensions no Reshape can say where they go; if only dimensions of size 1 change places, the
  chain is a Transpose (tf2onnx writes NHWC to NCHW of a one-channel picture so).

Names of graph outputs stay. A node that the graph's border needs (an output that is an input or
a constant) stays as well.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from intaglio.passes.base import EXACT, Change, Outcome, Pass, Semantics, Skip, outcome
from intaglio.passes.canonicalize.editing import (
    add_constant,
    bypass,
    dims,
    drop_unused_constants,
    integer,
    ints,
    is_standard,
    make_node,
    rank,
    remove_dead,
    replace_output,
)
from intaglio.passes.canonicalize.identities import identity_source
from intaglio.passes.layout.layouts import moves_of_ones
from intaglio.passes.provenance import inherit_sources, source_name

_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


class RemoveIdentities(Pass):
    """Removes identities, cancelling pairs and dead code."""

    name: ClassVar[str] = "canonicalize.remove_identities"
    semantics: ClassVar[Semantics] = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Removes until nothing is left to remove."""
        graph = model.graph
        changes: list[Change] = []
        while True:
            skips: list[Skip] = []
            count = len(changes)
            _remove_unused(graph, changes)
            for node in list(graph):
                if node.graph is not None:
                    _simplify(graph, node, changes, skips)
            if len(changes) == count:
                return outcome(model, changes, skips)


def _simplify(graph: ir.Graph, node: ir.Node, changes: list[Change], skips: list[Skip]) -> None:
    found = identity_source(node)
    if found is not None:
        source, reason = found
        name, op_type = source_name(node), node.op_type
        if bypass(node, source):
            changes.append(Change("remove_identity", name, op_type, "nothing", reason))
        else:
            skips.append(Skip(name, f"{op_type} stays: the model's border needs it"))
    elif is_standard(node, "Transpose"):
        _merge_transposes(graph, node, changes)
    elif is_standard(node, *_RESHAPES):
        _merge_reshapes(graph, node, changes)


def _merge_transposes(graph: ir.Graph, node: ir.Node, changes: list[Change]) -> None:
    source = node.inputs[0]
    inner = None if source is None else source.producer()
    if inner is None or not is_standard(inner, "Transpose"):
        return
    axes = rank(node.inputs[0])
    first, second = ints(inner, "perm"), ints(node, "perm")
    if axes is None:
        return
    backwards = list(range(axes))[::-1]
    first, second = first or backwards, second or backwards
    perm = [first[axis] for axis in second]
    new = make_node(
        "Transpose",
        [inner.inputs[0]],
        node.outputs[0],
        name=str(node.name),
        attributes={"perm": list(perm)},
    )
    _swap(graph, node, inner, new)
    changes.append(Change("merge_transposes", source_name(new), "2 Transpose", str(perm)))


def _merge_reshapes(graph: ir.Graph, node: ir.Node, changes: list[Change]) -> None:
    source = node.inputs[0]
    inner = None if source is None else source.producer()
    if inner is None or not is_standard(inner, *_RESHAPES):
        return
    if integer(node, "allowzero", 0) or integer(inner, "allowzero", 0):
        return
    start, target = dims(inner.inputs[0]), dims(node.outputs[0])
    if start is None or target is None or 0 in target:
        return
    shape = [dim if isinstance(dim, int) else -1 for dim in target]
    output = node.outputs[0]
    if shape.count(-1) <= 1:
        parameter = add_constant(graph, f"{output.name}_shape", np.asarray(shape, np.int64))
        new = make_node("Reshape", [inner.inputs[0], parameter], output, name=str(node.name))
    else:
        perm = moves_of_ones(tuple(start), tuple(target))
        if perm is None:
            return
        new = make_node(
            "Transpose",
            [inner.inputs[0]],
            output,
            name=str(node.name),
            attributes={"perm": list(perm)},
        )
    before = f"{inner.op_type} + {node.op_type}"
    _swap(graph, node, inner, new)
    changes.append(Change("merge_reshapes", source_name(new), before, new.op_type))


def _swap(graph: ir.Graph, node: ir.Node, inner: ir.Node, new: ir.Node) -> None:
    inherit_sources([new], [inner, node])
    graph.insert_before(node, new)
    replace_output(node.outputs[0], new.outputs[0])
    remove_dead(graph, [node, inner])


def _remove_unused(graph: ir.Graph, changes: list[Change]) -> None:
    for node in reversed(list(graph)):
        live = [output.uses() or output.is_graph_output() for output in node.outputs]
        if not any(live):
            changes.append(
                Change("remove_unused", source_name(node), node.op_type, "nothing", "unused")
            )
            graph.remove(node, safe=True)
        elif is_standard(node, "MaxPool", "Dropout") and len(live) > 1 and not any(live[1:]):
            node.resize_outputs(1)
            changes.append(
                Change("remove_unused", source_name(node), "2 outputs", "1 output", "unused")
            )
    for name in drop_unused_constants(graph):
        changes.append(Change("remove_unused", name, "initializer", "nothing", "unused"))
