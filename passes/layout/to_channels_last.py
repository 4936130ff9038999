"""Channels last, as TFLite has it: NHWC tensors in a graph that is still plain ONNX.

ONNX defines convolutions, pools and resizing channels first. Each of them gets a Transpose of its
own in front and behind, noted as ``inside``: together they are the channels-last operator that the
runtime has, and cost nothing there. Everything else is rewritten to channels last where that is
cheaper, constants and axes included. Transposes without the note are operators that really run.

The graph computes the same bits as before. Inputs and outputs with four axes may become channels
last; their layout is noted.
"""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from intaglio.passes.annotations import LAYOUT_KEY
from intaglio.passes.base import EXACT, Change, Outcome, Pass, Semantics, Skip, outcome
from intaglio.passes.canonicalize.editing import fresh_name, is_standard, make_node, replace_output
from intaglio.passes.dialect.specification import DOMAIN
from intaglio.passes.layout.layouts import CHANNELS_FIRST, CHANNELS_LAST
from intaglio.passes.layout.optimizing import optimize_layout
from intaglio.passes.layout.problem import INSIDE, is_inside
from intaglio.passes.layout.rules import dims_of
from intaglio.passes.marks import is_integer
from intaglio.passes.provenance import inherit_sources, source_name
from intaglio.passes.rewriting import infer_shapes

_STANDARD = ("ConvInteger", "DepthToSpace", "MaxPool", "Resize", "SpaceToDepth")
_FUNCTIONS = frozenset(
    {
        "AdditiveLut",
        "AveragePoolInteger",
        "ConvInteger16",
        "ConvInteger8By16",
        "ConvTransposeInteger",
        "ConvTransposeInteger16",
        "DepthToSpaceInteger16",
        "MaxPoolInteger",
        "MaxPoolInteger16",
        "ResizeLinearInteger",
        "SpaceToDepthInteger16",
    }
)


class ToChannelsLast(Pass):
    """Rewrites an integer graph to channels last, with as few Transposes as possible."""

    name: ClassVar[str] = "layout.to_channels_last"
    semantics: ClassVar[Semantics] = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Wraps channels-first operators and reorders everything between them."""
        if not is_integer(model):
            reason = "only the integer form is brought to channels last (see lower.to_integer)"
            return outcome(model, [], [Skip("", reason)])
        graph = model.graph
        spatial = [node for node in graph if is_spatial(node) and not _is_wrapped(node)]
        if spatial:
            infer_shapes(model)
        changes: list[Change] = []
        skips: list[Skip] = []
        names: dict[ir.Value, str] = {}
        for node in spatial:
            sizes = [dims_of(node.inputs[0]), dims_of(node.outputs[0])]
            if any(found is None or len(found) != 4 for found in sizes):
                skips.append(Skip(source_name(node), f"{node.op_type} has not four dimensions"))
                continue
            value, name = _wrap(graph, node)
            names[value] = name
            changes.append(Change("channels_last", source_name(node), "NCHW", "NHWC"))
        moved, facts = optimize_layout(graph, free_border=True)
        _restore_names(graph, names)
        facts["channels_last_operators"] = sum(is_spatial(node) for node in graph)
        return outcome(model, changes + moved, skips, facts)


def is_spatial(node: ir.Node) -> bool:
    """Whether ``node`` is an operator that ONNX defines channels first."""
    if node.domain == DOMAIN:
        return node.op_type in _FUNCTIONS
    return is_standard(node, *_STANDARD)


def _is_wrapped(node: ir.Node) -> bool:
    source = node.inputs[0]
    return source is not None and is_inside(source.producer())


def _wrap(graph: ir.Graph, node: ir.Node) -> tuple[ir.Value, str]:
    """Puts a channels-last form of ``node`` between two Transposes that undo it.

    Returns:
        The channels-last result, and the name it is to have if nobody else wants it.
    """
    data, result = node.inputs[0], node.outputs[0]
    if data is None:
        raise ValueError(f"{node.op_type} without data")
    last = _transpose(graph, data, CHANNELS_LAST, f"{data.name}_nhwc", inside=False)
    first = _transpose(graph, last.outputs[0], CHANNELS_FIRST, f"{data.name}_nchw", inside=True)
    graph.insert_before(node, [last, first])
    node.replace_input_with(0, first.outputs[0])
    name = str(result.name)
    behind = _transpose(graph, result, CHANNELS_LAST, f"{name}_nhwc", inside=True)
    graph.insert_after(node, behind)
    back = _transpose(graph, behind.outputs[0], CHANNELS_FIRST, f"{name}_back", inside=False)
    graph.insert_after(behind, back)
    replace_output(result, back.outputs[0])
    behind.replace_input_with(0, result)
    result.name = fresh_name(graph, f"{name}_nchw")
    inherit_sources([first, behind, back], [node])
    # It belongs to neither side: where it goes, its producer does not come from this node.
    inherit_sources([last], [])
    return behind.outputs[0], name


def _transpose(
    graph: ir.Graph, value: ir.Value, perm: tuple[int, ...], name: str, *, inside: bool
) -> ir.Node:
    """A Transpose of ``value``, with its notes, not yet in the graph."""
    sizes = dims_of(value) or ()
    node = make_node(
        "Transpose",
        [value],
        value,
        name=fresh_name(graph, name),
        attributes={"perm": list(perm)},
        shape=ir.Shape([sizes[axis] for axis in perm]),
    )
    output = node.outputs[0]
    output.name = node.name
    output.metadata_props.update(value.metadata_props)
    output.metadata_props.pop(LAYOUT_KEY, None)
    if inside:
        node.metadata_props[LAYOUT_KEY] = INSIDE
    return node


def _restore_names(graph: ir.Graph, names: dict[ir.Value, str]) -> None:
    """Channels-last results have their operators' names where the channels-first ones are gone."""
    taken = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    for node in graph:
        taken.update(value.name for value in node.outputs)
    for value, name in names.items():
        if name not in taken and not value.is_graph_output():
            value.name = name
            taken.add(name)
