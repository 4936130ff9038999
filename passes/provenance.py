"""Source names: every node keeps the list of nodes of the user's file that it came from."""

from __future__ import annotations

import json
from collections.abc import Iterable

import onnx_ir as ir

SOURCES_KEY = "intaglio.sources"


def stamp_sources(model: ir.Model) -> None:
    """Gives every node without a record its own name as its source; names nameless nodes."""
    taken = {node.name for node in model.graph.all_nodes() if node.name}
    for index, node in enumerate(model.graph.all_nodes()):
        if not node.name:
            name = node.outputs[0].name if node.outputs and node.outputs[0].name else ""
            if not name or name in taken:
                name = f"{node.op_type}_{index}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        if SOURCES_KEY not in node.metadata_props:
            node.metadata_props[SOURCES_KEY] = json.dumps([node.name])


def sources(node: ir.Node) -> list[str]:
    """Names of the source nodes that ``node`` came from (its own name when none is recorded)."""
    text = node.metadata_props.get(SOURCES_KEY)
    if text is None:
        return [node.name] if node.name else []
    return list(json.loads(text))


def source_name(node: ir.Node) -> str:
    """The name to show for ``node``: its first source."""
    found = sources(node)
    return found[0] if found else str(node.name)


def inherit_sources(new_nodes: Iterable[ir.Node], old_nodes: Iterable[ir.Node]) -> None:
    """Records on ``new_nodes`` that they came from the sources of ``old_nodes``."""
    names: list[str] = []
    for node in old_nodes:
        names.extend(name for name in sources(node) if name not in names)
    for node in new_nodes:
        own = [name for name in sources(node) if SOURCES_KEY in node.metadata_props]
        merged = own + [name for name in names if name not in own]
        node.metadata_props[SOURCES_KEY] = json.dumps(merged)
