"""Which layer of the source model each operator of a file belongs to.

An emitter may write several operators for one node: a convolution in TOSA is a CONV2D and a
RESCALE. The last of them makes a value of the integer graph, under that value's name; those before
it make tensors of their own, which belong to what takes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from intaglio.passes.provenance import source_name
from intaglio.targets.ethos_u.files import FileOperator


def source_nodes(model: ir.Model) -> dict[str, str]:
    """Name of the source node by the name of each value that a node makes.

    Args:
        model: The integer graph that a file was emitted from.
    """
    return {
        value.name: source_name(node)
        for node in model.graph
        for value in node.outputs
        if value.name
    }


def layers_of(operators: Sequence[FileOperator], nodes: Mapping[str, str]) -> tuple[str, ...]:
    """The source node of each operator; empty where none is known.

    Args:
        operators: Operators of the file, in order.
        nodes: As :func:`source_nodes` gives them.
    """
    taken: dict[str, str] = {}
    found: list[str] = []
    for operator in reversed(operators):
        known = [nodes[name] for name in operator.outputs if name in nodes]
        known += [taken[name] for name in operator.outputs if name in taken]
        layer = next((name for name in known if name), "")
        found.append(layer)
        # From the end to the start: the first that takes a tensor has the last word.
        taken.update(dict.fromkeys(operator.inputs, layer))
    return tuple(reversed(found))
