"""Which rule an operator follows."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from intaglio.passes.dialect.specification import DOMAIN
from intaglio.passes.layout import rules_axes, rules_elementwise, rules_products, rules_reshape
from intaglio.passes.layout.rules import Rule

#: Rules of standard operators; one that is not here runs in the graph's own order only.
STANDARD: Mapping[str, Rule] = {
    **rules_elementwise.STANDARD,
    **rules_axes.STANDARD,
    **rules_reshape.STANDARD,
    **rules_products.STANDARD,
}

#: Rules of the functions of the dialect.
FUNCTIONS: Mapping[str, Rule] = {
    **rules_elementwise.FUNCTIONS,
    **rules_axes.FUNCTIONS,
    **rules_products.FUNCTIONS,
}


def rule_of(node: ir.Node) -> Rule | None:
    """The rule of ``node``, None where it has none."""
    if any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for attribute in node.attributes.values()
    ):
        return None
    if node.domain == DOMAIN:
        return FUNCTIONS.get(node.op_type)
    return STANDARD.get(node.op_type) if node.domain in ("", "ai.onnx") else None
