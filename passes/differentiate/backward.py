"""The sweep from the loss back to the parameters."""

from __future__ import annotations

import onnx_ir as ir

from intaglio.errors import Refusal, UnsupportedError
from intaglio.passes.base import Change
from intaglio.passes.differentiate.context import Context
from intaglio.passes.differentiate.marking import BACKWARD
from intaglio.passes.differentiate.refusing import Undifferentiable
from intaglio.passes.differentiate.table import Entry, entry_of, missing_reason
from intaglio.passes.provenance import source_name


def sweep(context: Context, graph: ir.Graph) -> list[Change]:
    """Goes through the nodes from the last to the first and applies their rules.

    Only nodes that the loss depends on, and that depend on a parameter, get a backward part.

    Args:
        context: Holds the gradient of what the loss is taken on.
        graph: The forward graph, in topological order.

    Returns:
        For every node its backward part.

    Raises:
        UnsupportedError: Nodes without a gradient, all of them listed.
    """
    context.phase = BACKWARD
    changes: list[Change] = []
    refusals: list[Refusal] = []
    for node in reversed(list(graph)):
        if not any(context.needs(value) for value in node.outputs):
            continue
        if all(context.gradient(output) is None for output in node.outputs):
            continue
        built = len(context.nodes)
        context.origin = node
        try:
            _differentiate(context, node)
        except Undifferentiable as reason:
            refusals.append(Refusal(source_name(node), node.op_type, reason.reason, reason.remedy))
            for value in node.inputs:  # go on, to list what else has no gradient
                if value is not None and context.needs(value):
                    context.add(value, value)
        parts = " + ".join(new.op_type for new in context.nodes[built:])
        changes.append(Change("differentiate", source_name(node), node.op_type, parts or "none"))
    context.origin = None
    if refusals:
        raise UnsupportedError(
            "the model cannot be trained as it is: some of it has no gradient", refusals[::-1]
        )
    return changes


def _differentiate(context: Context, node: ir.Node) -> None:
    entry = entry_of(node)
    if entry is None:
        raise Undifferentiable(*missing_reason(node))
    _check_inputs(context, node, entry)
    upstream = context.gradient(node.outputs[0])
    if upstream is None:
        upstream = context.zeros_like(node.outputs[0])
    for value, gradient in zip(node.inputs, entry.rule(context, node, upstream), strict=False):
        if value is not None and gradient is not None and context.needs(value):
            context.add(value, gradient)


def _check_inputs(context: Context, node: ir.Node, entry: Entry) -> None:
    """Refuses a node that depends on a parameter through an input without a gradient."""
    for index, value in enumerate(node.inputs):
        if entry.inputs is not None and index not in entry.inputs and context.needs(value):
            raise Undifferentiable(
                f"there is no gradient for its input {index}, which depends on a parameter",
                "train other parameters (option trained)",
            )
