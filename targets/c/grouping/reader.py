"""What a reading of one graph knows: tensors by graph value, and the layers so far.

A Reshape makes no layer: its result is the same tensor. A tensor has one shape, though, and some
layers (sums that broadcast, softmax, reductions) go by the shape of what they read. Where that is
another than the tensor's, they read a copy. A second reading avoids most copies: it gives a tensor
the shape that most of its readers want, where the layer that makes it does not mind.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from intaglio.errors import InternalError
from intaglio.passes.annotations import get_quantization, get_source_value
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.operators import sole_consumer
from intaglio.passes.provenance import sources
from intaglio.targets.c.grouping.shapes import Freedom, Wish
from intaglio.targets.c.grouping.variables import Variables
from intaglio.targets.c.network import Block, Layer, Move, Tensor, Variable
from intaglio.targets.integer_graph import IntegerGraph, Measured, required

#: Element types of activations.
NARROW = ("int8", "int16")

Begun = tuple[str, tuple[Tensor, ...], Tensor, tuple[str, ...]]


class Reader(IntegerGraph):
    """One graph being read.

    Args:
        model: Integer form, channels last.
        measured: Its shapes, where an earlier reading has them.
        wishes: What an earlier reading found better, by the name of the graph value.

    Attributes:
        layers: The layers so far.
        aliases: Graph values that are a tensor of another name: name to tensor.
        inputs: Tensors of the graph's inputs.
        variables: Weights that training changes, by name, once a layer reads them.
    """

    def __init__(
        self,
        model: ir.Model,
        measured: Measured | None = None,
        wishes: Mapping[str, Wish] | None = None,
    ) -> None:
        super().__init__(model)
        self.measured = measured or self.measured
        self.layers: list[Layer] = []
        self.aliases: dict[str, Tensor] = {}
        self.inputs: list[Tensor] = []
        self.variables: dict[str, Variable] = {}
        self._training = Variables(model)
        self._tensors: dict[ir.Value, Tensor] = {}
        self._wishes = dict(wishes or {})
        self._keys: dict[Tensor, str] = {}
        self._freedom: dict[Tensor, Freedom] = {}
        self._shapes_read: dict[Tensor, Counter[tuple[int, ...]]] = {}
        self._copies: dict[tuple[Tensor, tuple[int, ...], int], Tensor] = {}
        self._names = {str(v.name) for v in (*model.graph.inputs, *model.graph.outputs)}
        self._names.update(str(v.name) for node in model.graph for v in node.outputs)

    def narrowed(self, value: ir.Value) -> ir.Value:
        """The value itself: a Cast between int16 and int32 is the same tensor here."""
        return value

    # -- training ------------------------------------------------------------------------------

    def variable(self, value: ir.Value | None) -> ir.Value | None:
        """The graph input with weights that training changes, behind casts and views of it."""
        return self._training.behind(value)

    def is_for_loss(self, value: ir.Value) -> bool:
        """Whether only the loss of a training step reads ``value``, in int32."""
        return value in self._training.for_loss

    # -- tensors -------------------------------------------------------------------------------

    def has(self, value: ir.Value) -> bool:
        """Whether there is a tensor for ``value``, made by a layer or the caller."""
        return value in self._tensors

    def tensor(self, value: ir.Value | None) -> Tensor:
        """The tensor of a graph value, in whatever shape.

        Raises:
            RefusedError: It is computed by something that has no layer.
        """
        value = required(value)
        if value not in self._tensors:
            array = self.array(value)
            if array is None:
                raise RefusedError(f"its operand '{value.name}' is no tensor of 8 or 16 bits")
            meaning = get_quantization(value)
            self._tensors[value] = Tensor(
                str(value.name),
                tuple(array.shape),
                array.dtype.name,
                0.0 if meaning is None else meaning.scale[0],
                0 if meaning is None else meaning.zero_point[0],
                get_source_value(value) or "",
                np.ascontiguousarray(array).reshape(array.shape),
            )
        return self._tensors[value]

    def shaped(self, value: ir.Value | None) -> Tensor:
        """The tensor of a graph value in the shape that the graph has; it may lack leading ones.

        Where the tensor has another shape, this is a copy of it.
        """
        value = required(value)
        tensor, shape = self.tensor(value), self.shape(value)
        self._shapes_read.setdefault(tensor, Counter())[shape] += 1
        missing = len(shape) - len(tensor.shape)
        if missing >= 0 and (1,) * missing + tensor.shape == shape:
            return tensor
        return self._copy(tensor, shape, tensor.zero_point, value)

    def in_rows(self, value: ir.Value | None) -> Tensor:
        """The tensor of a graph value with the last axis that the graph has, or a copy of it."""
        value = required(value)
        tensor = self.tensor(value)
        if tensor.shape[-1:] == self.shape(value)[-1:]:
            return tensor
        return self.shaped(value)

    def centered(self, value: ir.Value | None, zero_point: int, *, shaped: bool = False) -> Tensor:
        """A tensor whose integers are read with a certain zero point.

        Readers may take the same integers for other numbers; those that read them with another zero
        point than is noted get a copy that says so.
        """
        value = required(value)
        tensor = self.shaped(value) if shaped else self.tensor(value)
        if tensor.zero_point == zero_point:
            return tensor
        if tensor.data is not None:
            return dataclasses.replace(tensor, scale=0.0, zero_point=zero_point)
        return self._copy(tensor, tensor.shape, zero_point, value)

    def _copy(
        self, tensor: Tensor, shape: tuple[int, ...], zero_point: int, value: ir.Value
    ) -> Tensor:
        key = (tensor, shape, zero_point)
        if key not in self._copies:
            same = zero_point == tensor.zero_point
            copy = dataclasses.replace(
                tensor,
                name=self.fresh(f"{tensor.name}_copy"),
                shape=shape,
                scale=tensor.scale if same else 0.0,
                zero_point=zero_point,
            )
            self.copy(tensor, copy, value)
            self._copies[key] = copy
        return self._copies[key]

    def copy(self, tensor: Tensor, target: Tensor, value: ir.Value) -> None:
        """Appends a copy of a whole tensor, for the sake of graph value ``value``."""
        node = value.producer()
        whole = Block(0, (tensor.size,), (1,), 0, (1,), 0)
        origin = () if node is None else tuple(sources(node))
        self.layers.append(Move(target.name, (tensor,), target, origin, (whole,)))

    def new(self, value: ir.Value, dtype: str = "", freedom: Freedom = Freedom.ANY) -> Tensor:
        """The tensor of what a layer computes.

        Args:
            value: The graph value.
            dtype: Its element type; that of the graph if left out. Moves of int16 run on int32 in
                the graph.
            freedom: Which shapes the layer that makes it does not mind.
        """
        if value in self._tensors:
            raise InternalError(f"'{value.name}' is made twice")
        dtype = dtype or self.dtype(value)
        if dtype not in (*NARROW, "float32") and not self.is_for_loss(value):
            raise RefusedError(f"'{value.name}' is {dtype}", "make it a constant")
        made, value = value, self._named(value)
        key, shape = str(value.name), self.shape(value)
        wish = self._wishes.get(key, Wish(key, shape))
        meaning = self.quantization(value) if dtype in NARROW else None
        tensor = Tensor(
            wish.name,
            wish.shape,
            dtype,
            0.0 if meaning is None else meaning.scale[0],
            0 if meaning is None else meaning.zero_point[0],
            get_source_value(value) or "",
        )
        self._tensors[made] = tensor
        self._keys[tensor] = key
        if wish.name != key:
            self.aliases[key] = tensor
        self._freedom[tensor] = freedom
        return tensor

    def _named(self, value: ir.Value) -> ir.Value:
        """The value behind a Cast from int32, after which the tensor is called."""
        node = sole_consumer(value)
        wide = self.dtype(value) == "int32" and node is not None and node.op_type == "Cast"
        return node.outputs[0] if wide and node is not None else value

    def input(self, value: ir.Value) -> None:
        """Makes the tensor of a graph input.

        Raises:
            RefusedError: It has an element type that no layer reads.
        """
        tensor = self.new(value)
        del self._keys[tensor]
        self.inputs.append(tensor)

    def part(self, tensor: Tensor, wish: str, shape: Sequence[int]) -> Tensor:
        """A tensor like ``tensor`` that the graph has no value for."""
        return dataclasses.replace(
            tensor, name=self.fresh(wish), shape=tuple(shape), source="", data=None
        )

    def alias(self, value: ir.Value, tensor: Tensor) -> None:
        """Says that a graph value is a tensor that exists already, perhaps in another shape."""
        self._tensors[value] = tensor
        name = str(value.name)
        if tensor.data is None and name != tensor.name and self.dtype(value) == tensor.dtype:
            self.aliases[name] = tensor

    def fresh(self, name: str) -> str:
        """A name that nothing has."""
        chosen, number = name, 2
        while chosen in self._names:
            chosen, number = f"{name}_{number}", number + 1
        self._names.add(chosen)
        return chosen

    # -- layers --------------------------------------------------------------------------------

    def begin(self, inputs: Sequence[Tensor], output: Tensor, *nodes: ir.Node) -> Begun:
        """The first fields of a layer that stands for some nodes; the nodes are claimed."""
        names: dict[str, None] = {}
        for node in nodes:
            self.claim(node)
            names.update(dict.fromkeys(sources(node)))
        return output.name, tuple(inputs), output, tuple(names)

    # -- outputs and the next reading ----------------------------------------------------------

    def outputs(self, values: Sequence[ir.Value]) -> tuple[list[Tensor], dict[str, Wish]]:
        """Tensors of the graph's outputs, each made by a layer of its own.

        Args:
            values: The graph's outputs.

        Returns:
            The tensors, and what is better to be done in another reading (empty if nothing).
        """
        found: list[Tensor] = []
        wishes = self._better_shapes()
        for value in values:
            tensor, own = self.tensor(value), Wish(str(value.name), self.shape(value))
            key = self._keys.get(tensor)
            takes = key is not None and tensor not in found
            if takes and Wish(tensor.name, tensor.shape) == own:
                found.append(tensor)
                wishes.pop(str(key), None)
                continue
            if (
                takes
                and self._may_take(tensor, own.shape)
                and key is not None
                and key not in self._wishes
            ):
                wishes[key] = own
            taken = {other.name for other in (*self.inputs, *found)}
            copy = dataclasses.replace(
                tensor,
                name=self.fresh(own.name) if own.name in taken else own.name,
                shape=own.shape,
                source=get_source_value(value) or tensor.source,
                data=None,
            )
            self.copy(tensor, copy, value)
            self.aliases.pop(own.name, None)
            found.append(copy)
        return found, wishes

    def _may_take(self, tensor: Tensor, shape: tuple[int, ...]) -> bool:
        freedom = self._freedom[tensor]
        if freedom is Freedom.ROWS:
            return tensor.shape[-1:] == shape[-1:]
        return freedom is Freedom.ANY or tensor.shape == shape

    def _better_shapes(self) -> dict[str, Wish]:
        wishes: dict[str, Wish] = {}
        for tensor, counts in self._shapes_read.items():
            key = self._keys.get(tensor)
            if key is None or key in self._wishes:
                continue
            best, most = counts.most_common(1)[0]
            if counts[tensor.shape] < most and self._may_take(tensor, best):
                wishes[key] = Wish(tensor.name, best)
        return wishes


#: Makes the layers of a node.
Grouping = Callable[[Reader, ir.Node], None]
