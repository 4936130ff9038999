"""Gives every tensor that needs a quantization of its own a name of its own.

Two cases. A constant that several operators share is copied, since each has a scale of its own for
it: a bias is at ``s_x * s_w``, a weight or a slope is symmetric, an operand of Add is not. And an
input of Concat that also goes elsewhere, comes from the graph's border, or has a scale fixed by its
producer gets an Identity in front of the Concat: Concat wants one scale for all inputs, and the
Identity becomes the requantizer instead of forcing that scale on the other readers.
"""

from __future__ import annotations

import onnx_ir as ir

from intaglio.passes.base import EXACT, Change, Outcome, Pass, Skip, outcome
from intaglio.passes.marks import ALREADY_QUANTIZED, is_quantized
from intaglio.passes.operators import (
    EXTREMES,
    FIXED_INT8_OUTPUT,
    KERNELS,
    is_constant,
    is_elementwise,
    is_float,
    sole_consumer,
)
from intaglio.passes.provenance import inherit_sources, source_name

#: Operators whose constant inputs are quantized for them alone.
_PARAMETRIC = KERNELS | EXTREMES | {"Concat", "Gather"}


class IsolateTensors(Pass):
    """Copies shared weights and separates Concat's inputs."""

    name = "quantize.isolate_tensors"
    semantics = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Edits ``model`` in place."""
        if is_quantized(model):
            return outcome(model, [], [Skip("", ALREADY_QUANTIZED)])
        changes: list[Change] = []
        for node in list(model.graph):
            if node.op_type in _PARAMETRIC:
                changes.extend(_copy_shared_parameters(model.graph, node))
            if node.op_type == "Concat":
                changes.extend(_separate_inputs(model.graph, node))
        return outcome(model, changes)


def _copy_shared_parameters(graph: ir.Graph, node: ir.Node) -> list[Change]:
    changes = []
    for index, value in enumerate(node.inputs):
        if value is None or not is_float(value) or not is_constant(value):
            continue
        if len(list(value.uses())) < 2 or is_elementwise(node):
            continue
        assert value.const_value is not None
        assert value.name is not None
        name = _free_name(graph, f"{value.name}_{index}")
        copy = ir.Value(
            name=name,
            shape=value.shape,
            type=value.type,
            const_value=ir.tensor(value.const_value.numpy(), name=name),
        )
        graph.register_initializer(copy)
        node.replace_input_with(index, copy)
        changes.append(
            Change("copy", source_name(node), value.name, name, "shared by several operators")
        )
    return changes


def _free_name(graph: ir.Graph, stem: str) -> str:
    taken = set(graph.initializers) | {v.name for v in graph.inputs}
    taken |= {v.name for n in graph for v in n.outputs}
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}_{number}", number + 1
    return name


def _separate_inputs(graph: ir.Graph, node: ir.Node) -> list[Change]:
    changes = []
    for index, value in enumerate(node.inputs):
        if value is None or not is_float(value) or is_constant(value):
            continue
        producer = value.producer()
        if producer is not None and producer.op_type == "Identity":
            continue
        fixed = producer is not None and producer.op_type in FIXED_INT8_OUTPUT
        if producer is not None and sole_consumer(value) is node and not fixed:
            continue
        name = _free_name(graph, f"{value.name}_for_{node.outputs[0].name}_{index}")
        between = ir.node("Identity", [value], name=name)
        result = between.outputs[0]
        result.name, result.shape, result.type = name, value.shape, value.type
        inherit_sources([between], [node])
        graph.insert_before(node, between)
        node.replace_input_with(index, result)
        why = "its producer fixes the scale" if fixed else "it has other readers"
        changes.append(Change("separate", source_name(node), str(value.name), name, why))
    return changes
