"""The ONNX graph that is being built: names, constants, nodes with inferred shapes.

It keeps one promise for the passes behind it: in a quantized file every operator stands between
DequantizeLinear and QuantizeLinear. A reader may chain moves (Transpose, Slice, Reshape); what
moves quantized values has their scale and zero point, and where another operator reads it, a pair
with these is put between, which changes no number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InputError
from intaglio.passes.annotations import set_source_value
from intaglio.passes.canonicalize.editing import needed_nodes
from intaglio.passes.operators import MOVES
from intaglio.passes.provenance import SOURCES_KEY
from intaglio.targets.tflite.node_shapes import infer_node

Input: TypeAlias = "ir.Value | NDArray[Any] | None"

#: The order of dimensions that turns NHWC to NCHW, and back.
TO_CHANNELS_FIRST = (0, 3, 1, 2)
TO_CHANNELS_LAST = (0, 2, 3, 1)


class Parameters:
    """Scale and zero point of a quantized tensor, per tensor or along an axis.

    Args:
        scale: float32, a scalar or one for each index of ``axis``.
        zero_point: Likewise, in the dtype of the integers.
        axis: The axis of per-channel parameters.
    """

    def __init__(
        self, scale: NDArray[np.float32], zero_point: NDArray[Any] | None, axis: int | None = None
    ) -> None:
        self.scale = scale
        self.zero_point = zero_point
        self.axis = axis

    def same(self, other: Parameters | None) -> bool:
        """Whether the same integers mean the same numbers."""
        if other is None or self.zero_point is None or other.zero_point is None:
            return False
        return (
            self.axis == other.axis
            and self.zero_point.dtype == other.zero_point.dtype
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )


class Graph:
    """Nodes and initializers, in order of making.

    Args:
        names: Names that are taken: those of the file's tensors.
        budget: Bytes that all constants together may have.
    """

    def __init__(self, names: Iterable[str], budget: int) -> None:
        self.nodes: list[ir.Node] = []
        self.initializers: dict[str, ir.Value] = {}
        #: Name of the operator of the file that nodes come from, and of which they are the source.
        self.label = "graph"
        self._names = set(names)
        self._claimed: set[str] = set()
        self._counts: dict[str, int] = {}
        self._bytes_left = budget
        self._node_names: dict[str, int] = {}
        self._meaning: dict[ir.Value, Parameters] = {}
        self._moved: dict[ir.Value, Parameters] = {}
        self._settled: dict[ir.Value, ir.Value] = {}
        self._unsettled: dict[ir.Value, ir.Value] = {}
        # The channels-first form of channels-last values.
        self._first: dict[ir.Value, ir.Value] = {}

    def fresh(self, name: str) -> str:
        """``name``, or with a number behind it where it is taken; it is taken from then on."""
        found = name
        while found in self._names:
            self._counts[name] = self._counts.get(name, 1) + 1
            found = f"{name}_{self._counts[name]}"
        self._names.add(found)
        return found

    def claim(self, name: str) -> str:
        """A tensor's own name for its first taker, a fresh one for those who come later."""
        if name in self._claimed:
            return self.fresh(name)
        self._claimed.add(name)
        return name

    def rename(self, value: ir.Value, name: str) -> None:
        """Gives ``value`` a name that belongs to it."""
        self._names.discard(str(value.name))
        self._names.add(name)
        value.name = name

    def meaning(self, value: ir.Value) -> Parameters | None:
        """The quantization of a value behind DequantizeLinear, or of a move of one."""
        return self._meaning.get(value) or self._moved.get(value)

    def constant(self, array: NDArray[Any], name: str, *, exactly: bool = False) -> ir.Value:
        """Adds an initializer; ``exactly`` says that the name is its own.

        Raises:
            InputError: Many operators share a weight, each with a form of its own: more than any
                file calls for that was not made to exhaust the memory.
        """
        self._bytes_left -= array.nbytes
        if self._bytes_left < 0:
            raise InputError(
                f"the constants up to '{self.label}' unpack to far more than the file has",
                remedy="the file is damaged; export it again",
            )
        name = name if exactly else self.fresh(name)
        tensor = ir.Tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        self.initializers[name] = value
        return value

    def node(
        self,
        op_type: str,
        inputs: Sequence[Input],
        attributes: Mapping[str, Any],
        name: str | None = None,
        outputs: int = 1,
        dtype: str = "float32",
        shape: Sequence[int | str | None] | None = None,
    ) -> list[ir.Value]:
        """Adds a node.

        Args:
            op_type: Operator of the standard domain.
            inputs: Values; an array becomes an initializer, None is an input left out.
            attributes: Attributes; those that are None are left out.
            name: Name of the first result.
            outputs: How many results.
            dtype: Their element type, where inference does not tell.
            shape: Their dimensions, likewise.

        Returns:
            The results.

        Raises:
            ValueError: Shapes or types do not fit together.
        """
        stem = name or f"{self.label}_{op_type.lower()}"
        values = [
            self.constant(v, f"{stem}_input{i}") if isinstance(v, np.ndarray) else v
            for i, v in enumerate(inputs)
        ]
        if op_type != "QuantizeLinear":
            values = [None if v is None else self.settled(v) for v in values]
        given = {k: v for k, v in attributes.items() if v is not None}
        node = ir.node(op_type, values, given, num_outputs=outputs)
        node.name = self._node_name(f"{self.label}/{op_type}")
        node.metadata_props[SOURCES_KEY] = json.dumps([self.label])
        for index, output in enumerate(node.outputs):
            output.name = self.fresh(stem if index == 0 else f"{stem}_{index}")
        infer_node(node, dtype, shape)
        self.nodes.append(node)
        self._note_move(node, given)
        return list(node.outputs)

    def settled(self, value: ir.Value) -> ir.Value:
        """``value``, behind a pair of its own where it is a move of quantized values."""
        parameters = self._moved.get(value)
        if parameters is None:
            return value
        if value not in self._settled:
            codes = self.quantize(value, parameters, str(value.name))
            found = self.dequantize(codes, parameters, str(value.name))
            self._settled[value], self._unsettled[found] = found, value
        return self._settled[value]

    def unsettled(self, value: ir.Value) -> ir.Value:
        """The move that :meth:`settled` made ``value`` of, else ``value`` itself."""
        return self._unsettled.get(value, value)

    def quantize(self, value: ir.Value, parameters: Parameters, name: str) -> ir.Value:
        """QuantizeLinear; ``name`` is that of the real tensor."""
        inputs = [value, *self._parameter_values(parameters, name)]
        attributes = {"axis": parameters.axis}
        return self.node("QuantizeLinear", inputs, attributes, f"{name}_quantized")[0]

    def dequantize(self, codes: ir.Value, parameters: Parameters, name: str) -> ir.Value:
        """DequantizeLinear; ``name`` is that of the real tensor."""
        inputs = [codes, *self._parameter_values(parameters, name)]
        attributes = {"axis": parameters.axis}
        [value] = self.node("DequantizeLinear", inputs, attributes, f"{name}_dequantized")
        set_source_value(value, name)
        self._meaning[value] = parameters
        return value

    def channels_first(self, value: ir.Value) -> ir.Value:
        """``value`` (NHWC) as NCHW; the value itself that a Transpose to NHWC was made of."""
        if value not in self._first:
            name = f"{str(value.name).removesuffix('_dequantized')}_nchw"
            attributes = {"perm": list(TO_CHANNELS_FIRST)}
            [self._first[value]] = self.node("Transpose", [value], attributes, name)
        return self._first[value]

    def channels_last(self, value: ir.Value) -> ir.Value:
        """``value`` (NCHW) as NHWC."""
        [result] = self.node("Transpose", [value], {"perm": list(TO_CHANNELS_LAST)})
        return result

    def is_channels_last(self, value: ir.Value, first: ir.Value) -> bool:
        """Whether ``value`` is ``first`` behind a Transpose from NCHW to NHWC."""
        return self._first.get(value) is first

    def note_first(self, value: ir.Value, first: ir.Value) -> None:
        """Says that ``first`` is the channels-first form of ``value``."""
        self._first[value] = first

    def sweep(self, outputs: Sequence[ir.Value]) -> None:
        """Drops the nodes and initializers that no output depends on."""
        self.nodes = needed_nodes(self.nodes, outputs)
        read = {*outputs, *(value for node in self.nodes for value in node.inputs)}
        self.initializers = {n: v for n, v in self.initializers.items() if v in read}

    def _note_move(self, node: ir.Node, attributes: Mapping[str, Any]) -> None:
        source = node.inputs[0] if node.inputs else None
        if node.op_type not in MOVES or source is None:
            return
        parameters = self._meaning.get(source)
        if parameters is not None and parameters.axis is None:
            for output in node.outputs:
                self._moved[output] = parameters
        if node.op_type == "Transpose" and tuple(attributes["perm"]) == TO_CHANNELS_LAST:
            self._first[node.outputs[0]] = source

    def _parameter_values(self, parameters: Parameters, name: str) -> list[Input]:
        values: list[Input] = [self.constant(parameters.scale, f"{name}_scale")]
        if parameters.zero_point is not None:
            values.append(self.constant(parameters.zero_point, f"{name}_zero_point"))
        return values

    def _node_name(self, name: str) -> str:
        count = self._node_names.get(name, 0) + 1
        self._node_names[name] = count
        return name if count == 1 else f"{name}_{count}"
