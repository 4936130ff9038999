"""Selecting nodes by source name or operator type."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

import onnx_ir as ir

from intaglio.errors import RecipeError
from intaglio.passes.provenance import sources


def select_nodes(nodes: Iterable[ir.Node], selectors: Sequence[str], option: str) -> set[str]:
    """Names of the nodes that any selector matches.

    A selector is a shell pattern on a source name (``/conv*``) or ``op:Conv`` for a type.

    Args:
        nodes: Candidates.
        selectors: The patterns.
        option: Name of the option they came from, for the message.

    Raises:
        RecipeError: A selector matches nothing.
    """
    listed = list(nodes)
    chosen: set[str] = set()
    for selector in selectors:
        if selector.startswith("op:"):
            hits = [node for node in listed if node.op_type == selector[3:]]
        else:
            hits = [
                node
                for node in listed
                if any(fnmatch.fnmatchcase(name, selector) for name in sources(node))
            ]
        if not hits:
            raise RecipeError(
                f"selector '{selector}' of {option} matches no node",
                remedy="`intaglio inspect MODEL` lists the node names",
            )
        chosen.update(str(node.name) for node in hits)
    return chosen
