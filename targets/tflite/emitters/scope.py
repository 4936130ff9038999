"""What an emitter gets: the graph's values on one side, the file that grows on the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, NDArray

from intaglio.errors import InternalError
from intaglio.passes.annotations import get_quantization
from intaglio.passes.dialect.specification import DOMAIN
from intaglio.passes.layout.problem import is_inside
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.operators import sole_consumer
from intaglio.targets.tflite.emitters.measured import Measured
from intaglio.targets.tflite.resolver import MICRO_PROFILE, require_micro
from intaglio.targets.tflite.writer import FileBuilder
from intaglio.transforms.profiles import get_profile
from intaglio.transforms.scales import TensorQuantization

_NARROW = ("int8", "int16")


class Scope:
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
        self.profile = get_profile(profile)
        self.file = FileBuilder(description)
        self.operators: list[str] = []
        self.reordered: set[ir.Value] = set()
        self.blocks_by_transpose = False
        self.measured = Measured(model)
        self._tensors: dict[ir.Value, int] = {}
        self._constants: dict[Any, int] = {}
        self._claimed: set[ir.Node] = set()
        self._types: dict[int, str] = {}
        self._names: set[str] = {
            str(value.name) for value in (*model.graph.inputs, *model.graph.outputs)
        }
        self._names.update(str(v.name) for node in model.graph for v in node.outputs)

    # -- the graph -----------------------------------------------------------------------------

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        """The static shape of a value."""
        return self.measured.shape(value)

    def dtype(self, value: ir.Value) -> str:
        """Numpy name of a value's element type."""
        if value.dtype is None:
            raise InternalError(f"'{value.name}' has no type")
        return str(np.dtype(value.dtype.numpy()).name)

    def array(self, value: ir.Value | None) -> NDArray[Any] | None:
        """The numbers of a constant, None where the value is computed from data."""
        return self.measured.constant(value)

    def numbers(self, value: ir.Value | None) -> NDArray[Any]:
        """The numbers of what must be a constant.

        Raises:
            RefusedError: It is computed from data.
        """
        found = self.array(value)
        if found is None:
            name = "(none)" if value is None else value.name
            raise RefusedError(f"its parameter '{name}' is computed from data")
        return found

    def number(self, value: ir.Value | None) -> int:
        """The one number of a constant."""
        return int(self.numbers(value).reshape(-1)[0])

    def quantization(self, value: ir.Value) -> TensorQuantization:
        """What the integers of a value mean; moved values mean what they did before.

        Raises:
            InternalError: Lowering left no note.
        """
        current: ir.Value | None = value
        while current is not None:
            found = get_quantization(current)
            if found is not None:
                return found
            node = current.producer()
            current = None if node is None or node.domain == DOMAIN else node.inputs[0]
        raise InternalError(f"no quantization is noted for '{value.name}'")

    def claim(self, node: ir.Node) -> None:
        """Says that ``node`` is part of an operator that is being emitted."""
        self._claimed.add(node)

    def is_claimed(self, node: ir.Node) -> bool:
        """Whether ``node`` is part of an operator."""
        return node in self._claimed

    def outside(self, value: ir.Value | None) -> ir.Value:
        """What a spatial node reads, in front of the Transpose that belongs to it.

        Raises:
            RefusedError: There is no such Transpose: the operator is not four-dimensional.
        """
        node = None if value is None else value.producer()
        if node is None or not is_inside(node):
            raise RefusedError(
                "only two-dimensional spatial operators have TFLite kernels",
                "lift one-dimensional ones to two (canonicalize.normalize_operators does)",
            )
        self.claim(node)
        source = node.inputs[0]
        if source is None:
            raise InternalError(f"Transpose '{node.name}' reads nothing")
        return source

    def behind(self, value: ir.Value) -> ir.Value:
        """The result of a spatial node, behind the Transpose that belongs to it."""
        node = sole_consumer(self.narrowed(value))
        if node is None or not is_inside(node):
            raise RefusedError("only two-dimensional spatial operators have TFLite kernels")
        self.claim(node)
        return self.narrowed(node.outputs[0])

    def narrowed(self, value: ir.Value) -> ir.Value:
        """The result of a move, behind a Cast from int32.

        Moves without an int16 kernel in onnxruntime run on int32; TFLite's take int16.
        """
        node = sole_consumer(value)
        wide = self.dtype(value) == "int32"
        if not wide or node is None or node.op_type != "Cast":
            return value
        self.claim(node)
        return node.outputs[0]

    # -- the file ------------------------------------------------------------------------------

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


def required(value: ir.Value | None) -> ir.Value:
    """An input that must be there.

    Raises:
        InternalError: It is left out.
    """
    if value is None:
        raise InternalError("an operand is missing")
    return value
