"""Where the sums come from that a Rescale brings back to 8 or 16 bits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.layout.problem import is_inside
from intaglio.targets.c.grouping.reader import Reader
from intaglio.targets.integer_graph import required

#: Largest magnitude of an int8 activation less its zero point, and of its parts together.
_REACH = {"int8": 256, "int16": 32768}
_INT32 = 1 << 31


class Accumulator(NamedTuple):
    """What lies between a product and its Rescale.

    Attributes:
        value: The product's result, or what the chain begins with.
        bias: Integer bias, or None.
        moving: A bias that training changes, or None.
        nodes: The nodes of the chain, the product among them, in order of execution.
    """

    value: ir.Value
    bias: NDArray[Any] | None
    moving: ir.Value | None
    nodes: tuple[ir.Node, ...]

    @property
    def product(self) -> ir.Node | None:
        """The node that makes the sums."""
        return self.value.producer()


def accumulator(reader: Reader, value: ir.Value | None) -> Accumulator:
    """Looks through the biases and the Transposes that belong to a product."""
    bias: NDArray[Any] | None = None
    moving: ir.Value | None = None
    current = required(value)
    nodes: list[ir.Node] = []
    while not reader.has(current):
        node = current.producer()
        if node is None:
            break
        if is_inside(node):
            source = node.inputs[0]
        elif node.op_type == "Add" and bias is None and reader.array(node.inputs[1]) is not None:
            bias, source = reader.array(node.inputs[1]), node.inputs[0]
        elif node.op_type == "Add" and moving is None and reader.variable(node.inputs[1]):
            moving, source = reader.variable(node.inputs[1]), node.inputs[0]
        else:
            nodes.append(node)
            break
        nodes.append(node)
        current = required(source)
    return Accumulator(current, bias, moving, tuple(nodes[::-1]))


def full_bias(bias: NDArray[Any] | None, channels: int) -> NDArray[np.int64]:
    """One bias for each output channel."""
    codes = np.zeros(1, np.int64) if bias is None else bias.reshape(-1).astype(np.int64)
    return np.ascontiguousarray(np.broadcast_to(codes, (channels,)))


def is_wide(
    dtype: str, weights: NDArray[Any], weight_zero_point: int, bias: NDArray[np.int64]
) -> bool:
    """Whether a sum of products may leave int32.

    Args:
        dtype: Type of the activations.
        weights: ``[O, ...]``.
        weight_zero_point: Their zero point.
        bias: ``[O]``.
    """
    rows = np.abs(weights.astype(np.int64)).reshape(len(bias), -1) + abs(weight_zero_point)
    bound = rows.sum(axis=1) * _REACH[dtype] + np.abs(bias)
    return int(bound.max(initial=0)) >= _INT32
