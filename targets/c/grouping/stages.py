"""The output stage of a node, and what attributes and constants of nodes say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from intaglio.errors import InternalError
from intaglio.targets.c.network import Rescale
from intaglio.targets.integer_graph import IntegerGraph
from intaglio.transforms.fixed_point import Rounding

_ROUNDINGS = {
    "Double": Rounding.DOUBLE,
    "Single": Rounding.SINGLE,
    "Wide": Rounding.WIDE,
    "Real": Rounding.REAL,
}

#: Names of functions of the dialect, one for each rounding.
VARIANTS = tuple(_ROUNDINGS)


def rounding_of(node: ir.Node) -> Rounding:
    """The rounding that the name of a function of the dialect ends in."""
    for suffix, rounding in _ROUNDINGS.items():
        if node.op_type.endswith(suffix):
            return rounding
    raise InternalError(f"{node.op_type} names no rounding")


def plain_stage(graph: IntegerGraph, node: ir.Node, at: int) -> Rescale:
    """A rescale to 32 bits: multiplier and shift are inputs ``at`` and ``at + 1``."""
    multiplier = graph.numbers(node.inputs[at]).reshape(-1).astype(np.int64)
    shift = graph.numbers(node.inputs[at + 1]).reshape(-1).astype(np.int64)
    if len(set(zip(multiplier.tolist(), shift.tolist(), strict=True))) == 1:
        multiplier, shift = multiplier[:1], shift[:1]
    return Rescale(rounding_of(node), multiplier, shift)


def output_stage(graph: IntegerGraph, node: ir.Node, at: int) -> Rescale:
    """The last rescale of a node; zero point and limits are its last three inputs."""
    plain = plain_stage(graph, node, at)
    zero_point, minimum, maximum = (graph.number(value) for value in node.inputs[-3:])
    return Rescale(plain.rounding, plain.multiplier, plain.shift, zero_point, minimum, maximum)


def integers(node: ir.Node, name: str, default: Sequence[int]) -> list[int]:
    """A list attribute of integers, or ``default``."""
    found = node.attributes.get(name)
    return list(default) if found is None else [int(v) for v in found.as_ints()]
