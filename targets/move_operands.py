"""What a Slice cuts and a Pad adds, axis by axis, read off the node's constant operands."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.targets.integer_graph import IntegerGraph


def slice_operands(
    graph: IntegerGraph, node: ir.Node, rank: int
) -> list[tuple[int, int, int, int]]:
    """Axis, start, end and step of each cut of a Slice, as ONNX states them.

    Args:
        graph: The graph.
        node: The Slice.
        rank: Dimensions of what it cuts.

    Raises:
        RefusedError: An operand is computed from data.
    """
    starts, ends = (graph.numbers(node.inputs[i]).reshape(-1).tolist() for i in (1, 2))
    rest = [*node.inputs[3:], None, None]
    axes = list(range(len(starts)))
    if rest[0] is not None:
        axes = [int(a) % rank for a in graph.numbers(rest[0]).reshape(-1)]
    steps = [1] * len(starts)
    if rest[1] is not None:
        steps = [int(s) for s in graph.numbers(rest[1]).reshape(-1)]
    return [
        (axis, int(start), int(end), step)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    ]


def pad_operands(graph: IntegerGraph, node: ir.Node, rank: int) -> tuple[NDArray[np.int64], int]:
    """What a Pad adds before and behind each axis, and the integer that it adds.

    Args:
        graph: The graph.
        node: The Pad.
        rank: Dimensions of what it pads.

    Returns:
        [rank, 2], and the integer.

    Raises:
        RefusedError: An operand is computed from data.
    """
    stated = graph.numbers(node.inputs[1]).reshape(2, -1)
    rest = [*node.inputs[2:], None, None]
    axes = list(range(rank))
    if rest[1] is not None:
        axes = [int(a) % rank for a in graph.numbers(rest[1]).reshape(-1)]
    amounts = np.zeros((rank, 2), np.int64)
    amounts[axes] = stated.T
    return amounts, 0 if rest[0] is None else graph.number(rest[0])
