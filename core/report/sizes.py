"""Bytes of constants, layer by layer: the float source beside an artifact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from intaglio.errors import InputError
from intaglio.passes.provenance import source_name
from intaglio.verification.inner_tensors import load_graph

_SMALLEST = 32


@dataclass(frozen=True)
class LayerSize:
    """Bytes of the constants of one source node.

    Attributes:
        node: Name of the source node.
        operator: Its operator type.
        source_bytes: In the float model.
        artifact_bytes: In the artifact.
    """

    node: str
    operator: str
    source_bytes: int
    artifact_bytes: int


def layer_sizes(source: Path, artifact: Path) -> list[LayerSize]:
    """Sizes of all nodes that have constants worth naming, in the order of the source.

    Returns:
        Nodes with at least 32 bytes on one of the two sides (shapes and axes are smaller); empty
        where a file cannot be read.
    """
    try:
        before, after = load_graph(source), load_graph(artifact)
    except InputError:
        return []
    operators = {source_name(node): node.op_type for node in before.graph}
    old, new = _bytes_by_source(before), _bytes_by_source(after)
    names = [name for name in operators if name in old or name in new]
    sizes = [LayerSize(n, operators[n], old.get(n, 0), new.get(n, 0)) for n in names]
    return [size for size in sizes if max(size.source_bytes, size.artifact_bytes) >= _SMALLEST]


def _bytes_by_source(model: ir.Model) -> dict[str, int]:
    """Bytes of initializers by the source node of their first reader."""
    found: dict[str, int] = {}
    for value in model.graph.initializers.values():
        readers = value.consumers()
        if value.const_value is not None and readers:
            name = source_name(readers[0])
            found[name] = found.get(name, 0) + value.const_value.nbytes
    return found
