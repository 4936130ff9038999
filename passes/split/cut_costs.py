"""What each side of a cut costs: multiply-accumulates, and activations alive at once."""

from __future__ import annotations

import math

import onnx_ir as ir

from intaglio.errors import UnsupportedError
from intaglio.passes.macs import count_macs, dimensions
from intaglio.passes.provenance import source_name
from intaglio.passes.split.cut_flow import RELABELS, Flow, quantized_values

#: A tensor that is dequantized and quantized again is the same one, too.
_SAME_BYTES = RELABELS | {"DequantizeLinear", "QuantizeLinear"}

_NAME_SIZES = "name the sizes with --shape NAME=1,3,96,96"


class Costs:
    """The costs of cuts of one graph.

    Memory is that of quantized tensors at one byte an element: accumulators and what is fused into
    an operator take none. A tensor is alive from the node that makes it to the last one that makes
    another tensor from it, in graph order; one that crosses stays alive to the end.

    Args:
        graph: The graph.
        flow: Its data flow.

    Raises:
        UnsupportedError: Dimensions other than the batch are not known.
    """

    def __init__(self, graph: ir.Graph, flow: Flow) -> None:
        self._flow = flow
        self._macs = [(1 << i, _macs(node)) for i, node in enumerate(flow.nodes)]
        self._macs = [(bit, macs) for bit, macs in self._macs if macs]
        self.total_macs = sum(macs for _, macs in self._macs)
        self._stored, self._ends = _lifetimes(flow, quantized_values(graph))
        self._sizes = {v: elements(flow.values[v]) for v in set(self._stored) if v >= 0}

    def device_macs(self, device: int) -> int:
        """Multiply-accumulates of the set of nodes ``device``."""
        return sum(macs for bit, macs in self._macs if bit & device)

    def device_peak(self, device: int, crossing: tuple[int, ...]) -> int:
        """Most bytes alive at once while the set of nodes ``device`` runs in graph order.

        Args:
            device: The nodes in front of a cut.
            crossing: The values that cross it.
        """
        inside = self._flow.members(device)
        kept = {self._stored[value] for value in crossing}
        begun: dict[int, int] = {}
        ended: dict[int, int] = {}
        for value, size in self._sizes.items():
            maker = self._flow.maker[value]
            if maker >= 0 and not inside[maker]:
                continue
            begun[maker] = begun.get(maker, 0) + size
            if value not in kept:
                last = max((n for n in self._ends[value] if inside[n]), default=maker)
                ended[last] = ended.get(last, 0) + size
        alive = peak = 0
        for moment in sorted({*begun, *ended}):
            alive += begun.get(moment, 0)
            peak = max(peak, alive)
            alive -= ended.get(moment, 0)
        return peak


def elements(value: ir.Value) -> int:
    """Elements of ``value`` in one sample; a symbolic first dimension counts as 1.

    Raises:
        UnsupportedError: Another dimension is not known.
    """
    dims = dimensions(value)
    if dims is None:
        raise UnsupportedError(
            f"the size of tensor '{value.name}' is not known", remedy=_NAME_SIZES
        )
    return math.prod(dims)


def _macs(node: ir.Node) -> int:
    found = count_macs(node)
    if found is None:
        raise UnsupportedError(
            f"the sizes of {node.op_type} '{source_name(node)}' are not known", remedy=_NAME_SIZES
        )
    return found


def _lifetimes(flow: Flow, quantized: set[ir.Value]) -> tuple[list[int], list[list[int]]]:
    """Where each value is stored, and when that is read for the last time.

    Returns:
        For each value the number of the value whose bytes it has, -1 where it takes none of its
        own; and for each stored value the nodes that make another stored value from it.
    """
    count = len(flow.values)
    stored = [-1] * count
    ends: list[list[int]] = [[] for _ in range(count)]
    # For each value the stored ones that it is made from, itself if it is one.
    origin: list[set[int]] = [set() for _ in range(count)]
    for value in flow.sources:
        if flow.values[value].shape is not None:
            stored[value], origin[value] = value, {value}
    for index, node in enumerate(flow.nodes):
        read = set().union(*(origin[v] for v in flow.reads[index]))
        for value in flow.makes[index]:
            tensor = flow.values[value]
            if tensor not in quantized or tensor.shape is None:
                origin[value] = read
            elif node.op_type in _SAME_BYTES and len(read) == 1:
                [same] = read
                stored[value], origin[value] = same, read
            else:
                stored[value], origin[value] = value, {value}
            if stored[value] == value or flow.leaves[value]:
                for each in read:
                    ends[each].append(index)
    return stored, ends
