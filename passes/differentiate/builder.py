"""Adds nodes to a graph, but only once all of them are known.

New nodes wait in a list until :meth:`Builder.attach`, so a model that is refused halfway stays as
it was. Sizes that are numbers become constants; a size that is known only at run time is read by
a Shape node, which stands right behind what it measures: it must not keep a tensor alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import constant_value, dims, static_dims
from intaglio.passes.differentiate.marking import LOSS, PHASE_KEY
from intaglio.passes.differentiate.refusing import Undifferentiable
from intaglio.passes.provenance import inherit_sources, source_name

#: A size: a number, or the dimension of a value on an axis.
Size = int | tuple[ir.Value, int]


class Builder:
    """Builds nodes of the standard domain.

    Args:
        graph: Where they will go.
        dtype: Float type of the model.
    """

    def __init__(self, graph: ir.Graph, dtype: ir.DataType) -> None:
        self.graph = graph
        self.dtype = dtype
        self.phase = LOSS
        self.origin: ir.Node | None = None
        self.nodes: list[ir.Node] = []
        self._extended: list[ir.Node] = []
        self._measures: list[tuple[ir.Value, ir.Node]] = []
        self._shapes: dict[tuple[ir.Value, int, int], ir.Value] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self.taken = {str(value.name) for value in graph.inputs} | set(graph.initializers)
        for node in graph:
            self.taken.update(str(output.name) for output in node.outputs)

    def op(
        self, op_type: str, *inputs: ir.Value | None, outputs: int = 1, **attributes: Any
    ) -> ir.Value:
        """Adds a node; returns its first output.

        Args:
            op_type: Operator.
            *inputs: Its inputs, None for one left out.
            outputs: How many outputs it has.
            **attributes: Its attributes as Python values.
        """
        node = self._node(op_type, inputs, outputs, attributes)
        self.nodes.append(node)
        return node.outputs[0]

    def _node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        outputs: int,
        attributes: dict[str, Any],
    ) -> ir.Node:
        origin = source_name(self.origin) if self.origin is not None else ""
        name = self.fresh(".".join(part for part in (self.phase, origin, op_type) if part))
        listed = [ir.convenience.convert_attribute(k, v) for k, v in attributes.items()]
        node = ir.Node("", op_type, inputs, listed, num_outputs=outputs, name=name)
        node.metadata_props[PHASE_KEY] = self.phase
        for index, output in enumerate(node.outputs):
            output.name = name if index == 0 else self.fresh(f"{name}.{index}")
        if self.origin is not None:
            inherit_sources([node], [self.origin])
        return node

    def fresh(self, base: str) -> str:
        """``base``, with a number if it is taken; taken from now on."""
        name, count = base, 1
        while name in self.taken:
            count += 1
            name = f"{base}.{count}"
        self.taken.add(name)
        return name

    def constant(self, array: NDArray[Any]) -> ir.Value:
        """An initializer that holds ``array``; the same one for the same array."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self.fresh("training.constant")
            self._constants[key] = constant_value(name, array)
        return self._constants[key]

    def number(self, number: float) -> ir.Value:
        """A scalar of the model's float type."""
        return self.constant(np.array(number, self.dtype.numpy()))

    def floats(self, array: NDArray[Any]) -> ir.Value:
        """An array in the model's float type."""
        return self.constant(np.asarray(array).astype(self.dtype.numpy()))

    def integers(self, numbers: Sequence[int]) -> ir.Value:
        """A list of int64."""
        return self.constant(np.array(list(numbers), np.int64))

    def to_float(self, value: ir.Value) -> ir.Value:
        """``value`` cast to the model's float type."""
        return self.op("Cast", value, to=int(self.dtype))

    def shape_of(self, value: ir.Value) -> ir.Value:
        """The dimensions of ``value`` as a list of int64."""
        known = static_dims(value)
        if known is not None:
            return self.integers(known)
        return self._measure(value, 0, len(dimensions(value)))

    def _measure(self, value: ir.Value, start: int, end: int) -> ir.Value:
        key = (value, start, end)
        if key not in self._shapes:
            attributes: dict[str, Any] = {"start": start, "end": end}
            if (start, end) == (0, len(dimensions(value))):
                attributes = {}
            node = self._node("Shape", [value], 1, attributes)
            self._measures.append((value, node))
            self._shapes[key] = node.outputs[0]
        return self._shapes[key]

    def sizes(self, parts: Sequence[Size]) -> ir.Value:
        """A list of int64 put together of numbers and dimensions."""
        pieces: list[ir.Value] = []
        numbers: list[int] = []
        for part in parts:
            known = self.size(part)
            if known is not None:
                numbers.append(known)
                continue
            assert not isinstance(part, int)  # a number is known
            if numbers:
                pieces.append(self.integers(numbers))
                numbers = []
            pieces.append(self._measure(part[0], part[1], part[1] + 1))
        if numbers or not pieces:
            pieces.append(self.integers(numbers))
        return pieces[0] if len(pieces) == 1 else self.op("Concat", *pieces, axis=0)

    def size(self, part: Size) -> int | None:
        """``part`` as a number, None when it is known only at run time."""
        if isinstance(part, int):
            return part
        found = dimensions(part[0])[part[1]]
        return found if isinstance(found, int) else None

    def count(self, value: ir.Value, axes: Sequence[int]) -> ir.Value:
        """The number of elements of ``value`` over ``axes``, as a float scalar."""
        parts: list[Size] = [(value, axis) for axis in axes]
        known = [self.size(part) for part in parts]
        numbers = [number for number in known if number is not None]
        if len(numbers) == len(known):
            return self.number(float(np.prod(numbers, dtype=np.float64)))
        product = self.op("ReduceProd", self.sizes(parts), keepdims=0)
        return self.to_float(product)

    def reshape_like(self, value: ir.Value, target: ir.Value) -> ir.Value:
        """``value`` in the shape of ``target``, which has as many elements."""
        known = dimensions(target)
        unknown = [axis for axis, dim in enumerate(known) if not isinstance(dim, int)]
        if len(unknown) == 1 and 0 not in known:
            free = [dim if isinstance(dim, int) else -1 for dim in known]
            return self.op("Reshape", value, self.integers(free))
        return self.op("Reshape", value, self.shape_of(target))

    def expand_like(self, value: ir.Value, target: ir.Value) -> ir.Value:
        """``value`` broadcast to the shape of ``target``."""
        return self.op("Expand", value, self.shape_of(target))

    def zeros_like(self, target: ir.Value) -> ir.Value:
        """Zeros in the shape of ``target``."""
        return self.expand_like(self.number(0.0), target)

    def indices_of(self, pool: ir.Node) -> ir.Value:
        """The second output of a MaxPool of the model: which elements it took."""
        if len(pool.outputs) < 2:
            pool.resize_outputs(2)
            self._extended.append(pool)
        indices = pool.outputs[1]
        if not indices.name:
            indices.name = self.fresh(f"{pool.outputs[0].name}.indices")
        indices.type = ir.TensorType(ir.DataType.INT64)
        indices.shape = pool.outputs[0].shape
        return indices

    def attach(self) -> None:
        """Puts everything into the graph."""
        for value in self._constants.values():
            if value.uses():
                self.graph.register_initializer(value)
        for value, node in self._measures:
            producer = value.producer()
            if producer is None:
                self.graph.insert_before(self.graph.node(0), [node])
            elif producer.graph is self.graph:
                self.graph.insert_after(producer, [node])
            else:
                self.nodes.insert(self.nodes.index(producer) + 1, node)
        self.graph.extend(self.nodes)

    def discard(self) -> None:
        """Lets go of everything, so that the graph is as if nothing had been built."""
        for node in [*self.nodes, *(node for _, node in self._measures)]:
            for index in range(len(node.inputs)):
                node.replace_input_with(index, None)
        for pool in self._extended:
            pool.resize_outputs(1)


def dimensions(value: ir.Value) -> list[int | str | None]:
    """Dimensions of ``value``.

    Raises:
        Undifferentiable: Not even their number is known.
    """
    found = dims(value)
    if found is None:
        raise Undifferentiable(f"the shape of '{value.name}' is not known")
    return found
