"""How data flows through a graph: what cuts are looked for in.

Only the active part counts: values that depend on an input of the graph and on which an output
depends. Constants, and what is computed from them alone, may stand on either side of a cut.
Sets of nodes are the bits of an integer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import onnx_ir as ir

from intaglio.passes.operators import find_units

#: Operators that leave the bytes of a tensor as they are.
RELABELS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
#: Operators that are no work of their own: a side of a cut that has no others does nothing.
IDLE = RELABELS | {"Cast", "DequantizeLinear", "QuantizeLinear", "Transpose"}

_BYTES = (ir.DataType.INT8, ir.DataType.UINT8)


@dataclasses.dataclass(frozen=True)
class Flow:
    """The active part of a graph, its values numbered in graph order.

    Attributes:
        nodes: Active nodes.
        values: Active values: inputs of the graph, then what the nodes make.
        number: Place of each value in ``values``.
        maker: For each value the place of its node in ``nodes``, -1 for inputs of the graph.
        reads: For each node the values that it reads.
        makes: For each node the values that it makes.
        children: For each value those that are made from it, in order.
        readers: For each value the set of nodes that read it.
        behind: For each value the set of nodes that it depends on, its maker among them.
        leaves: For each value whether it is an output of the graph.
        cuttable: For each value whether it may cross a cut: a quantized tensor of samples and
            channels, with at most two more axes, and no output of the graph.
        work: The set of nodes that do something.
    """

    nodes: list[ir.Node]
    values: list[ir.Value]
    number: dict[ir.Value, int]
    maker: list[int]
    reads: list[list[int]]
    makes: list[list[int]]
    children: list[list[int]]
    readers: list[int]
    behind: list[int]
    leaves: list[bool]
    cuttable: list[bool]
    work: int

    @property
    def sources(self) -> list[int]:
        """Numbers of the graph's inputs."""
        return [number for number, maker in enumerate(self.maker) if maker < 0]

    def before(self, values: tuple[int, ...]) -> int:
        """The set of nodes that make ``values``."""
        found = 0
        for value in values:
            found |= self.behind[value]
        return found

    def crossing(self, device: int) -> list[int]:
        """Values known in front of a cut and wanted behind it.

        Args:
            device: The set of nodes in front.

        Returns:
            Their numbers, in order.
        """
        inside, behind = self.members(device), ~device
        return [
            value
            for value, maker in enumerate(self.maker)
            if (maker < 0 or inside[maker]) and (self.leaves[value] or self.readers[value] & behind)
        ]

    def members(self, nodes: int) -> list[bool]:
        """For each node whether it is in the set ``nodes``."""
        return [bit == "1" for bit in reversed(f"{nodes:0{len(self.nodes)}b}")]


def trace(graph: ir.Graph) -> Flow:
    """The active part of ``graph``, whose nodes stand in an order that can be run."""
    inputs = [v for v in graph.inputs if v.name not in graph.initializers]
    reached: set[ir.Value] = set(inputs)
    fed: list[tuple[ir.Node, list[ir.Value]]] = []
    for node in graph:
        data = [v for v in dict.fromkeys(read_values(node)) if v in reached]
        if data:
            fed.append((node, data))
            reached.update(node.outputs)
    wanted: set[ir.Value] = set(graph.outputs)
    active: list[tuple[ir.Node, list[ir.Value]]] = []
    for node, data in reversed(fed):
        if wanted.intersection(node.outputs):
            wanted.update(data)
            active.append((node, data))
    active.reverse()
    values = [v for v in inputs if v in wanted]
    values += [v for node, _ in active for v in node.outputs if v in wanted]
    return _numbered(graph, active, values)


def read_values(node: ir.Node) -> Iterator[ir.Value]:
    """What ``node`` reads, from within its sub-graphs too."""
    for value in node.inputs:
        if value is not None:
            yield value
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            bodies = [attribute.as_graph()]
        elif attribute.type == ir.AttributeType.GRAPHS:
            bodies = list(attribute.as_graphs())
        else:
            continue
        for body in bodies:
            for inner in body:
                yield from read_values(inner)
            yield from body.outputs


def _numbered(
    graph: ir.Graph, active: list[tuple[ir.Node, list[ir.Value]]], values: list[ir.Value]
) -> Flow:
    number = {value: index for index, value in enumerate(values)}
    maker = [-1] * len(values)
    children: list[list[int]] = [[] for _ in values]
    readers, behind = [0] * len(values), [0] * len(values)
    reads, makes, work = [], [], 0
    for index, (node, data) in enumerate(active):
        taken = [number[v] for v in data]
        made = [number[v] for v in node.outputs if v in number]
        before = 1 << index
        for value in taken:
            before |= behind[value]
            readers[value] |= 1 << index
            children[value].extend(made)
        for value in made:
            maker[value], behind[value] = index, before
        if node.op_type not in IDLE:
            work |= 1 << index
        reads.append(taken)
        makes.append(made)
    outputs = set(graph.outputs)
    quantized = quantized_values(graph)
    return Flow(
        nodes=[node for node, _ in active],
        values=values,
        number=number,
        maker=maker,
        reads=reads,
        makes=makes,
        children=children,
        readers=readers,
        behind=behind,
        leaves=[value in outputs for value in values],
        cuttable=[v in quantized and v not in outputs and _has_channels(v) for v in values],
        work=work,
    )


def _has_channels(value: ir.Value) -> bool:
    return value.shape is not None and 2 <= len(value.shape) <= 4


def quantized_values(graph: ir.Graph) -> set[ir.Value]:
    """Values that are 8-bit integers, or stand for such.

    In a graph of integers they are what has an 8-bit type. In a float graph with QuantizeLinear
    they are what these read; without, they are what quantization would put a scale on
    (:func:`intaglio.passes.operators.find_units`).
    """
    quantizers = [node for node in graph if node.op_type == "QuantizeLinear"]
    made = [v for node in graph if node.op_type != "QuantizeLinear" for v in node.outputs]
    if any(v.dtype in _BYTES for v in made):
        every = [*graph.inputs, *(v for node in graph for v in node.outputs)]
        return {v for v in every if v.dtype in _BYTES}
    if quantizers:
        return {v for node in quantizers if (v := node.inputs[0]) is not None}
    return set(find_units(graph).points)
