"""What an emitter gets: the graph's values on one side, the TOSA file that grows on the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

from intaglio.errors import InternalError
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.integer_graph import IntegerGraph
from intaglio.targets.tosa.writer import Field, FileBuilder

#: Numbers of ``RoundingMode`` in the schema.
SINGLE_ROUND, DOUBLE_ROUND = 1, 3

#: Number of ``PROPAGATE`` in the schema: what NaN does, which integers do not have.
PROPAGATE = 1

#: Most dimensions of a tensor, and most tensors that a CONCAT joins (TOSA 1.0, level 8K).
MOST_DIMENSIONS, MOST_PARTS = 6, 64

#: A multiplier and a shift that change nothing.
UNIT = (1 << 30, 30)

_OTHER_REMEDY = "compute it outside the model, or convert to onnx-integer, which has this type"
_WIDE_REMEDY = "convert with recipe int8: 16-bit tensors are for targets tflite, c and onnx-integer"


class Scope(IntegerGraph):
    """One file being emitted from one graph.

    Args:
        model: Integer form, channels last.

    Attributes:
        file: The file.
        operators: Names of its operators so far, constants left out.
    """

    def __init__(self, model: ir.Model) -> None:
        super().__init__(model)
        self.file = FileBuilder()
        self.operators: list[str] = []
        self._tensors: dict[ir.Value, str] = {}
        self._constants: dict[Any, str] = {}
        self._names = {str(v.name) for v in (*model.graph.inputs, *model.graph.outputs)}
        self._names.update(str(v.name) for node in model.graph for v in node.outputs)

    def name(self, value: ir.Value | None) -> str:
        """The file's tensor of a value; constants get theirs when first asked for.

        Raises:
            RefusedError: It has an element type that the target has none for.
        """
        if value is None:
            raise InternalError("an operand is missing")
        if value not in self._tensors:
            array = self.array(value)
            if array is None:
                raise InternalError(f"'{value.name}' is read before it is made")
            self._require_narrow(value)
            self._tensors[value] = self.constant(str(value.name), array)
        return self._tensors[value]

    def has(self, value: ir.Value) -> bool:
        """Whether a value has a tensor in the file."""
        return value in self._tensors

    def border(self, value: ir.Value) -> str:
        """The tensor of a graph input."""
        return self.result(value)

    def result(self, value: ir.Value) -> str:
        """A new tensor for what an operator computes; it has the value's name."""
        if value in self._tensors:
            raise InternalError(f"'{value.name}' is made twice")
        self._require_narrow(value)
        name = str(value.name)
        _require_flat(self.shape(value))
        self.file.tensor(name, self.shape(value), self.dtype(value))
        self._tensors[value] = name
        return name

    def intermediate(self, name: str, shape: Sequence[int], dtype: str) -> str:
        """A new tensor that the graph has no value for."""
        _require_flat(shape)
        name = self._fresh(name)
        self.file.tensor(name, shape, dtype)
        return name

    def constant(self, name: str, numbers: ArrayLike, dtype: str | None = None) -> str:
        """A constant tensor; equal ones are one."""
        array = np.asarray(numbers, dtype)
        key = (array.tobytes(), array.dtype.name, array.shape)
        if key not in self._constants:
            name = self._fresh(name)
            self.file.tensor(name, array.shape, array.dtype.name, array)
            self.file.operator("CONST", [], [name])
            self._constants[key] = name
        return self._constants[key]

    def sizes(self, name: str, numbers: Sequence[int]) -> str:
        """A constant list of sizes: a shape, amounts of padding, places."""
        key = ("sizes", tuple(int(n) for n in numbers))
        if key not in self._constants:
            name = self._fresh(name)
            self.file.shape(name, key[1])
            self.file.operator("CONST_SHAPE", [], [name])
            self._constants[key] = name
        return self._constants[key]

    def operator(
        self, name: str, inputs: Sequence[str], output: str, fields: Sequence[Field] = ()
    ) -> str:
        """Appends an operator with one result, and returns that."""
        self.operators.append(name)
        self.file.operator(name, inputs, [output], fields)
        return output

    def reshape(self, data: str, shape: Sequence[int], target: str) -> str:
        """Appends a RESHAPE."""
        return self.operator("RESHAPE", [data, self.sizes("shape", shape)], target)

    def rescale(
        self,
        data: str,
        target: str,
        *,
        dtypes: tuple[str, str],
        zero_points: tuple[int, int] = (0, 0),
        multiplier: ArrayLike = UNIT[0],
        shift: ArrayLike = UNIT[1],
        double: bool = False,
        unsigned: tuple[bool, bool] = (False, False),
    ) -> str:
        """Appends a RESCALE.

        Args:
            data: What is rescaled.
            target: The result.
            dtypes: Element types of both.
            zero_points: Likewise.
            multiplier: One, or one for each index of the last axis: in Q31.
            shift: As many total right shifts.
            double: Whether it rounds twice.
            unsigned: Whether the bytes of both are read as unsigned, as are the zero points.
        """
        factors, places = np.asarray(multiplier).reshape(-1), np.asarray(shift).reshape(-1)
        size = max(factors.size, places.size)
        inputs = [
            data,
            self.constant("multiplier", np.broadcast_to(factors, size), "int32"),
            self.constant("shift", np.broadcast_to(places, size), "int8"),
            self.constant("input_zero_point", [zero_points[0]], dtypes[0]),
            self.constant("output_zero_point", [zero_points[1]], dtypes[1]),
        ]
        fields = [
            Field(0, "bool", True),
            Field(1, "enum", DOUBLE_ROUND if double else SINGLE_ROUND),
            Field(2, "bool", size > 1),
            Field(3, "bool", unsigned[0]),
            Field(4, "bool", unsigned[1]),
        ]
        return self.operator("RESCALE", inputs, target, fields)

    def clamp(self, data: str, target: str, dtype: str, low: int, high: int) -> str:
        """Appends a CLAMP."""
        ends = [np.array(end, np.dtype(dtype).newbyteorder("<")).tobytes() for end in (low, high)]
        fields = [Field(0, "bytes", ends[0]), Field(1, "bytes", ends[1])]
        return self.operator("CLAMP", [data], target, [*fields, Field(2, "enum", PROPAGATE)])

    def _require_narrow(self, value: ir.Value) -> None:
        dtype = self.dtype(value)
        if dtype not in ("int8", "int32"):
            remedy = _WIDE_REMEDY if "16" in dtype else _OTHER_REMEDY
            raise RefusedError(f"'{value.name}' is {dtype}, and this target has int8", remedy)

    def _fresh(self, name: str) -> str:
        chosen, number = name, 2
        while chosen in self._names:
            chosen, number = f"{name}_{number}", number + 1
        self._names.add(chosen)
        return chosen


def _require_flat(shape: Sequence[int]) -> None:
    if len(shape) > MOST_DIMENSIONS:
        raise RefusedError(
            f"a tensor has {len(shape)} dimensions, and TOSA has {MOST_DIMENSIONS}",
            "merge neighboring dimensions by a Reshape in the model",
        )


Emitter = Callable[[Scope, ir.Node], None]
