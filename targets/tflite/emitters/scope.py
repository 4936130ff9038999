"""What an emitter gets: the graph's values on one side, the file that grows on the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, NDArray

from intaglio.errors import InternalError
from intaglio.passes.annotations import get_quantization
from intaglio.targets.integer_graph import IntegerGraph, required
from intaglio.targets.tflite.resolver import MICRO_PROFILE, require_micro
from intaglio.targets.tflite.writer import FileBuilder
from intaglio.transforms.profiles import get_profile
from intaglio.transforms.scales import TensorQuantization

__all__ = ["Emitter", "Scope", "required"]

_NARROW = ("int8", "int16")


class Scope(IntegerGraph):
    """One file being emitted from one graph.

    Args:
        model: Integer form, channels last.
        profile: Name of its arithmetic profile.
        description: What the file says of its origin.

    Attributes:
        profile: The arithmetic profile.
        operators: Names of the operators emitted so far, in order.
        reordered: Results whose channels are in another order than the graph's.
        blocks_by_transpose: Whether DEPTH_TO_SPACE and SPACE_TO_DEPTH are written as TRANSPOSE
            between RESHAPEs, for devices that lack them.
    """

    def __init__(self, model: ir.Model, profile: str, description: str) -> None:
        super().__init__(model)
        self.profile = get_profile(profile)
        self.file = FileBuilder(description)
        self.operators: list[str] = []
        self.reordered: set[ir.Value] = set()
        self.blocks_by_transpose = False
        self._tensors: dict[ir.Value, int] = {}
        self._constants: dict[Any, int] = {}
        self._types: dict[int, str] = {}
        self._names: set[str] = {
            str(value.name) for value in (*model.graph.inputs, *model.graph.outputs)
        }
        self._names.update(str(v.name) for node in model.graph for v in node.outputs)

    def index(self, value: ir.Value | None) -> int:
        """The file's tensor of a value; constants get theirs when first asked for.

        Raises:
            RefusedError: It is computed from data by something that was not emitted.
        """
        if value is None:
            raise InternalError("an operand is missing")
        value = self._narrow(value)
        if value in self._tensors:
            return self._tensors[value]
        array = self.array(value)
        if array is None:
            raise InternalError(f"'{value.name}' is read before it is made")
        meaning = get_quantization(value)
        self._tensors[value] = self.constant(str(value.name), array, meaning)
        return self._tensors[value]

    def _narrow(self, value: ir.Value) -> ir.Value:
        """The int16 tensor in front of a Cast to int32."""
        node = value.producer()
        while value not in self._tensors and node is not None and node.op_type == "Cast":
            source = node.inputs[0]
            if source is None or self.dtype(source) not in _NARROW:
                break
            self.claim(node)
            value, node = source, source.producer()
        return value

    def border(self, value: ir.Value) -> int:
        """The tensor of a graph input."""
        return self._register(value, self.dtype(value))

    def result(self, value: ir.Value) -> int:
        """A new tensor for what an operator computes; it has the value's name.

        Args:
            value: int8 or int16 with a quantization, or float at the border.
        """
        return self._register(value, self.dtype(value))

    def _register(self, value: ir.Value, dtype: str) -> int:
        if value in self._tensors:
            raise InternalError(f"'{value.name}' is made twice")
        meaning = self.quantization(value) if dtype in _NARROW else None
        # A name stands for the values that it has in the source.
        name = str(value.name)
        if value in self.reordered:
            name = self._fresh(f"{name}_reordered")
        index = self._tensor(name, self.shape(value), dtype, meaning)
        self._tensors[value] = index
        return index

    def give(self, value: ir.Value, index: int) -> None:
        """Says which tensor holds a value."""
        self._tensors[value] = index

    def intermediate(
        self, name: str, shape: Sequence[int], quantization: TensorQuantization | None, dtype: str
    ) -> int:
        """A new tensor that the graph has no value for."""
        return self._tensor(self._fresh(name), shape, dtype, quantization)

    def constant(
        self, name: str, array: NDArray[Any], quantization: TensorQuantization | None = None
    ) -> int:
        """A constant tensor; equal ones of equal meaning are one."""
        key = (array.tobytes(), array.dtype.name, array.shape, quantization)
        if key not in self._constants:
            self._constants[key] = self._tensor(
                self._fresh(name), array.shape, array.dtype.name, quantization, array
            )
        return self._constants[key]

    def parameter(self, name: str, numbers: ArrayLike) -> int:
        """A constant int32 vector: a shape, axes, amounts of padding."""
        return self.constant(name, np.asarray(numbers, np.int32))

    def _tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        quantization: TensorQuantization | None,
        data: NDArray[Any] | None = None,
    ) -> int:
        if quantization is None:
            index = self.file.tensor(name, shape, dtype, data=data)
        else:
            index = self._quantized(name, shape, quantization, data)
        self._types[index] = dtype
        return index

    def _quantized(
        self,
        name: str,
        shape: Sequence[int],
        quantization: TensorQuantization,
        data: NDArray[Any] | None,
    ) -> int:
        return self.file.tensor(
            name,
            shape,
            quantization.dtype,
            data=data,
            scale=quantization.scale,
            zero_point=quantization.zero_point,
            axis=quantization.axis or 0,
        )

    def _fresh(self, name: str) -> str:
        chosen, number = name, 2
        while chosen in self._names:
            chosen, number = f"{name}_{number}", number + 1
        self._names.add(chosen)
        return chosen

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        version: int = 1,
    ) -> None:
        """Appends an operator to the file.

        Raises:
            RefusedError: TFLite Micro, for which the graph is rounded, lacks it.
        """
        if self.profile.name == MICRO_PROFILE:
            require_micro(name, self._types[outputs[0]])
        self.operators.append(name)
        self.file.operator(name, inputs, outputs, options, version)


Emitter = Callable[[Scope, ir.Node], None]
