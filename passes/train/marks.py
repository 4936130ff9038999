"""Marks of what trains: names of the parameters, on the nodes that use them.

A node keeps its mark from the float model to the quantized form, whatever happens to its weight's
initializer in between.
"""

from __future__ import annotations

import dataclasses
import json

import onnx_ir as ir

MARK_KEY = "intaglio.train"


@dataclasses.dataclass(frozen=True)
class Trained:
    """What of a layer trains.

    Attributes:
        weight: Name of the weight in the float model.
        bias: Name of the bias, None where it stays as it is.
        levels: Largest magnitude on the weight's grid: 32767, or 127.
    """

    weight: str
    bias: str | None = None
    levels: int = 32767

    @property
    def names(self) -> list[str]:
        """All names, the weight's first."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]


def set_trained(node: ir.Node, trained: Trained) -> None:
    """Marks ``node`` as a layer that trains."""
    node.metadata_props[MARK_KEY] = json.dumps(dataclasses.asdict(trained), sort_keys=True)


def get_trained(node: ir.Node) -> Trained | None:
    """What of ``node`` trains, or None."""
    text = node.metadata_props.get(MARK_KEY)
    return None if text is None else Trained(**json.loads(text))


def clear_trained(node: ir.Node) -> None:
    """Removes the mark from ``node``."""
    node.metadata_props.pop(MARK_KEY, None)


def trained_nodes(graph: ir.Graph) -> list[tuple[ir.Node, Trained]]:
    """The layers that train, in graph order."""
    return [(node, found) for node in graph if (found := get_trained(node)) is not None]
