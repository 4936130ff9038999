"""Writes the nodes of a codec: names, types, shapes and notes kept right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.passes.annotations import get_quantization, set_quantization
from intaglio.passes.canonicalize.editing import add_constant
from intaglio.passes.dialect.functions import DOMAIN, SPECIFICATIONS
from intaglio.transforms.scales import TensorQuantization

#: What the integers of codes and ranges mean: themselves.
PLAIN = TensorQuantization("int8", (1.0,), (0,))

Dim = int | ir.SymbolicDim


class CodecWriter:
    """Collects nodes that are not in the graph yet.

    Args:
        graph: The graph that they are for; constants are put into it at once.
        batch: Its first dimension at the cut.

    Attributes:
        nodes: The nodes so far, in order.
    """

    def __init__(self, graph: ir.Graph, batch: Dim) -> None:
        self.nodes: list[ir.Node] = []
        self._graph = graph
        self._batch = batch
        self._taken = {value.name for value in (*graph.inputs, *graph.initializers.values())}
        self._taken.update(value.name for node in graph for value in node.outputs)

    def constant(self, base: str, array: NDArray[Any]) -> ir.Value:
        """A constant named after ``base``."""
        value = add_constant(self._graph, self._fresh(base), array)
        self._taken.add(value.name)
        return value

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        name: str,
        shape: Sequence[int],
        *,
        attributes: Mapping[str, Any] | None = None,
        dtype: ir.DataType = ir.DataType.INT8,
        quantization: TensorQuantization | None = PLAIN,
    ) -> ir.Value:
        """Adds a node with one result.

        Args:
            op_type: Standard operator, or a function of the dialect.
            inputs: Its inputs.
            name: Name of node and result, if it is free.
            shape: Shape of the result without the batch.
            attributes: Attributes as Python values.
            dtype: Element type of the result.
            quantization: What its integers mean, None for accumulators.
        """
        domain = DOMAIN if op_type in SPECIFICATIONS else ""
        listed = [ir.convenience.convert_attribute(k, v) for k, v in (attributes or {}).items()]
        node = ir.Node(domain, op_type, list(inputs), listed, num_outputs=1, name=self._fresh(name))
        result = node.outputs[0]
        result.name = node.name
        result.type = ir.TensorType(dtype)
        result.shape = ir.Shape([self._batch, *shape])
        if quantization is not None:
            set_quantization(result, quantization)
        self.nodes.append(node)
        return result

    def reshape(self, value: ir.Value, shape: Sequence[int], name: str) -> ir.Value:
        """``value`` in another shape (without the batch); itself where it has that already."""
        if value.shape is not None and list(value.shape)[1:] == list(shape):
            return value
        target = self.vector(f"{name}_shape", [-1, *shape])
        return self.op("Reshape", [value, target], name, shape, quantization=meaning(value))

    def gather(self, value: ir.Value, axis: int, places: Sequence[int], name: str) -> ir.Value:
        """The ``places`` of an axis; the value itself where these are all, in order."""
        sizes = sizes_of(value)
        if list(places) == list(range(sizes[axis - 1])):
            return value
        sizes[axis - 1] = len(places)
        indices = self.vector(f"{name}_places", places)
        return self.op(
            "Gather",
            [value, indices],
            name,
            sizes,
            attributes={"axis": axis},
            quantization=meaning(value),
        )

    def cut(self, value: ir.Value, axis: int, first: int, count: int, name: str) -> ir.Value:
        """A run of an axis; the value itself where that is all of it."""
        sizes = sizes_of(value)
        if (first, count) == (0, sizes[axis - 1]):
            return value
        sizes[axis - 1] = count
        limits = [[first], [first + count], [axis]]
        inputs = [
            self.vector(f"{name}_{what}", numbers)
            for what, numbers in zip(("start", "end", "axis"), limits, strict=True)
        ]
        return self.op("Slice", [value, *inputs], name, sizes, quantization=meaning(value))

    def concat(self, values: Sequence[ir.Value], name: str, axis: int = 1) -> ir.Value:
        """``values`` one behind the other along ``axis``; the only one as it is."""
        if len(values) == 1:
            return values[0]
        sizes = sizes_of(values[0])
        sizes[axis - 1] = sum(sizes_of(value)[axis - 1] for value in values)
        return self.op(
            "Concat",
            values,
            name,
            sizes,
            attributes={"axis": axis},
            quantization=meaning(values[0]),
        )

    def vector(self, base: str, numbers: Sequence[int]) -> ir.Value:
        """A constant vector of int64."""
        return self.constant(base, np.asarray(numbers, np.int64))

    def rename(self, value: ir.Value, name: str) -> ir.Value:
        """Gives a value of these nodes, and its node, another name if that is free."""
        if value.name == name:
            return value
        value.name = self._fresh(name)
        node = value.producer()
        if node is not None:
            node.name = value.name
        return value

    def _fresh(self, base: str) -> str:
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name


def meaning(value: ir.Value) -> TensorQuantization | None:
    """What the integers of ``value`` mean."""
    return get_quantization(value)


def sizes_of(value: ir.Value) -> list[int]:
    """Dimensions behind the batch, of a value whose shape is known."""
    if value.shape is None:
        raise InternalError(f"the shape of '{value.name}' is not known")
    return [int(dim) for dim in list(value.shape)[1:] if isinstance(dim, int)]
