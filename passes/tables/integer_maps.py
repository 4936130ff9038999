"""Element-wise functions of one int8 tensor, as 256 results for each channel."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import constant, is_standard, rank
from intaglio.passes.dialect.specification import DOMAIN
from intaglio.passes.tables.rescaling import by_channel, is_rescale, rescaled

_CODES = np.arange(-128, 128, dtype=np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class IntegerMap:
    """A function from int8 to int8.

    Attributes:
        source: What it reads.
        results: int64 ``[C or 1, 256]``: the result for code ``v`` at ``v + 128``.
        nodes: The nodes that compute it, in order.
    """

    source: ir.Value
    results: NDArray[np.int64]
    nodes: tuple[ir.Node, ...]


def read_map(value: ir.Value) -> IntegerMap | None:
    """The element-wise function of one int8 tensor that makes ``value``, None where there is none.

    A table, a table for each channel, or a tensor rescaled: ``Rescale(Cast(x) - z)``.
    """
    node = value.producer()
    if node is None or value.dtype != ir.DataType.INT8:
        return None
    if node.domain == DOMAIN and node.op_type in ("Table", "TableChannelwise"):
        table, source = constant(node.inputs[1]), node.inputs[0]
        if table is None or source is None or source.dtype != ir.DataType.INT8:
            return None
        return IntegerMap(source, table.reshape(-1, 256).astype(np.int64), (node,))
    return _requantization(node) if is_rescale(node) else None


def _requantization(node: ir.Node) -> IntegerMap | None:
    axes = rank(node.outputs[0])
    current, nodes, zero_point = node.inputs[0], [node], np.zeros(1, np.int64)
    producer = None if current is None else current.producer()
    if is_standard(producer, "Sub") and producer is not None:
        number = by_channel(producer.inputs[1], axes)
        if number is None:
            return None
        zero_point = number
        nodes.append(producer)
        current = producer.inputs[0]
        producer = None if current is None else current.producer()
    if producer is None or not is_standard(producer, "Cast"):
        return None
    source = producer.inputs[0]
    if source is None or source.dtype != ir.DataType.INT8:
        return None
    results = rescaled(node, _CODES[None] - zero_point[:, None], axes)
    if results is None:
        return None
    return IntegerMap(source, results, (*reversed((*nodes, producer)),))
