"""Sub-graphs whose every result depends on one integer: one channel of one tensor, one position.

Element-wise operators keep that property, and so does a 1x1 convolution as long as each of its
outputs reads channels that come from one channel of the root: networks 1 -> 64 -> 64 -> 16 of
grouped convolutions. A *trace* says it for one tensor and one possible root: which channel of the
root each channel depends on. Where a chain passes several integer tensors, each is a root of what
follows, and the tables can start at any of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import constant, integer, ints, is_standard, operand
from intaglio.passes.tables.element_wise import is_point_wise
from intaglio.passes.tables.ranges import IntegerRange

#: For each tensor, its possible roots, and the channel of the root behind each of its channels.
Traces = Mapping[ir.Value, Mapping[ir.Value, NDArray[np.int64]]]

_Roots = dict[ir.Value, NDArray[np.int64]]
_Find = Callable[[ir.Value], _Roots]


@dataclasses.dataclass(frozen=True, eq=False)
class ScalarRegion:
    """One such sub-graph.

    Attributes:
        root: the integer tensor it starts from.
        output: the tensor it ends in.
        nodes: its nodes, in graph order.
        owners: [J], the channel of the root that each channel of the output depends on.
        products: multiplications at one position.
    """

    root: ir.Value
    output: ir.Value
    nodes: tuple[ir.Node, ...]
    owners: NDArray[np.int64]
    products: int


def channels(value: ir.Value | None) -> int | None:
    """Size of axis 1 of a tensor with image axes, or None."""
    if value is None or value.shape is None or len(value.shape) < 3:
        return None
    size = value.shape[1]
    return size if isinstance(size, int) else None


def index_dtype(known: IntegerRange) -> ir.DataType | None:
    """The 8-bit type that holds a range of integers, or None."""
    if not known.integer or not known.finite:
        return None
    for dtype in (ir.DataType.INT8, ir.DataType.UINT8):
        limits = np.iinfo(dtype.numpy())
        if known.lowest >= limits.min and known.highest <= limits.max:
            return dtype
    return None


def find_traces(graph: ir.Graph, ranges: Mapping[ir.Value, IntegerRange]) -> Traces:
    """The possible roots of every tensor of a graph.

    Args:
        graph: the graph.
        ranges: what its tensors hold, from :func:`integer_ranges`.
    """
    traces: dict[ir.Value, _Roots] = {}

    def of(value: ir.Value) -> _Roots:
        if value not in traces:
            traces[value] = {}
            count = channels(value)
            if count is not None and index_dtype(ranges[value]) is not None:
                traces[value][value] = np.arange(count)
        return traces[value]

    for node in graph:
        if is_point_wise(node):
            found = _through_element_wise(node, of)
        elif is_scalar_convolution(node):
            found = _through_convolution(node, of)
        else:
            continue
        # The tensor itself stands last: its roots are in graph order.
        traces[node.outputs[0]] = {**found, **of(node.outputs[0])}
    return traces


def is_scalar_convolution(node: ir.Node) -> bool:
    """Whether ``node`` is a convolution with constant weights that sees one position."""
    weight = constant(operand(node, 1)) if is_standard(node, "Conv") else None
    if weight is None or any(size != 1 for size in weight.shape[2:]) or weight.ndim < 3:
        return False
    if operand(node, 2) is not None and constant(operand(node, 2)) is None:
        return False
    steps = ints(node, "strides", []) or []
    return all(step == 1 for step in steps) and not any(ints(node, "pads", []) or [])


def _through_element_wise(node: ir.Node, of: _Find) -> _Roots:
    tensors = [v for v in node.inputs if v is not None and constant(v) is None]
    count = channels(node.outputs[0])
    if count is None:
        return {}
    operands = [of(v) for v in tensors]
    found = {}
    for root in operands[0]:
        if not all(root in other for other in operands):
            continue
        owners = [np.broadcast_to(other[root], count) for other in operands]
        if all(np.array_equal(owners[0], other) for other in owners):
            found[root] = owners[0]
    return found


def _through_convolution(node: ir.Node, of: _Find) -> _Roots:
    weight, source = constant(operand(node, 1)), node.inputs[0]
    if weight is None or source is None:
        return {}
    group = integer(node, "group", 1)
    read = weight.reshape(weight.shape[0], -1) != 0
    start = np.arange(weight.shape[0]) // (weight.shape[0] // group) * weight.shape[1]
    found = {}
    for root, owners in of(source).items():
        behind = owners[start[:, None] + np.arange(weight.shape[1])]
        first = np.where(read.any(axis=1), behind[np.arange(len(read)), read.argmax(axis=1)],
                         behind[:, 0])  # fmt: skip
        if ((behind == first[:, None]) | ~read).all():
            found[root] = first
    return found


def region(
    root: ir.Value, output: ir.Value, traces: Traces, order: Mapping[ir.Node, int]
) -> ScalarRegion:
    """The sub-graph from ``root`` to ``output``, which must have it as a root.

    Args:
        root: where it starts.
        output: where it ends.
        traces: of the graph.
        order: the place of each node in the graph.
    """
    inside: dict[ir.Node, None] = {}
    pending = [output]
    while pending:
        value = pending.pop()
        node = value.producer()
        if value is root or node is None or node in inside:
            continue
        inside[node] = None
        pending += [v for v in node.inputs if v is not None and constant(v) is None]
    nodes = tuple(sorted(inside, key=order.__getitem__))
    products = 0
    for node in nodes:
        weight = constant(operand(node, 1)) if node.op_type == "Conv" else None
        products += 0 if weight is None else weight.size
    return ScalarRegion(root, output, nodes, traces[output][root], products)
