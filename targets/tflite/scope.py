"""What an operator's reader gets: the tensors of the TFLite file, and the ONNX graph being built.

A quantized tensor is a float value of the graph: each is written as QuantizeLinear with the file's
own scale and zero point, and read through DequantizeLinear. A reader therefore computes with real
numbers and never sees a scale, unless it asks for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InputError, Refusal, UnsupportedError
from intaglio.targets.tflite.graph import Graph, Input, Parameters
from intaglio.targets.tflite.records import Operator, Tensor, dequantize, quantize

__all__ = [
    "NONE",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "SIGN_BIT",
    "TANH",
    "Operator",
    "Reader",
    "Scope",
    "Tensor",
]

#: Activations fused into an operator: ``ActivationFunctionType`` of the schema.
NONE, RELU, RELU_N1_TO_1, RELU6, TANH, SIGN_BIT = range(6)

_FLOATS = frozenset({"float16", "float32", "float64"})

# Moves that a reader puts behind an operator to bring its result into TFLite's shape: the
# activation and the quantization of the operator belong before them.
_TRAILING = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze"})


class Scope:
    """Builds the ONNX graph from the tensors of a TFLite file.

    Args:
        tensors: All tensors of the subgraph.
        inputs: Indices of the graph's inputs.
        outputs: Indices of the graph's outputs.
        input_shapes: Dimensions of the inputs by index: numbers, or names of open dimensions.
        budget: Bytes that all constants together may have.
    """

    def __init__(
        self,
        tensors: Sequence[Tensor],
        inputs: Sequence[int],
        outputs: Sequence[int],
        input_shapes: Mapping[int, Sequence[int | str]],
        budget: int = 1 << 31,
    ) -> None:
        self.tensors = tuple(tensors)
        self.graph = Graph((tensor.name for tensor in tensors), budget)
        self.inputs: list[ir.Value] = []
        #: What the user should hear about, in plain sentences.
        self.warnings: list[str] = []
        #: Float types of the file that have become float32.
        self.narrowed = {t.dtype for t in tensors if t.dtype in _FLOATS - {"float32"}}
        self._outputs = frozenset(outputs)
        self._operator: Operator | None = None
        self._start = 0
        self._producers: dict[int, Operator] = {}
        # By tensor index: the value with the file's dtype, and the value with real numbers.
        self._codes: dict[int, ir.Value] = {}
        self._values: dict[int, ir.Value] = {}
        self._folded: dict[int, NDArray[Any]] = {}
        # By tensor index: what was computed, before it was moved to the tensor's dimensions, and
        # the name of the moved one.
        self._computed: dict[int, ir.Value] = {}
        self._moved_names: dict[int, str] = {}
        # Values that bear a name that is not to be changed.
        self._given: set[ir.Value] = set()
        for index in dict.fromkeys(inputs):
            self._input(tensors[index], input_shapes[index])

    def begin(self, operator: Operator) -> None:
        """Says which operator is read: its nodes bear its name."""
        self._operator = operator
        self._start = len(self.graph.nodes)
        self.graph.label = operator.label
        self._producers.update((tensor.index, operator) for tensor in operator.outputs)

    def end(self) -> None:
        """Checks that the current operator's reader gave all of its outputs.

        Raises:
            InputError: The operator has more outputs than its kind has.
        """
        for tensor in self._operator.outputs if self._operator is not None else ():
            if not any(tensor.index in made for made in (self._values, self._codes, self._folded)):
                raise self.damaged(f"has an output '{tensor.name}' too many")

    # What is known of a tensor.

    def value(self, tensor: Tensor | None) -> ir.Value:
        """The ONNX value of ``tensor``.

        Args:
            tensor: Any tensor that exists where the current operator stands.

        Returns:
            float32 for float and quantized tensors (these behind DequantizeLinear), plain integers
            or bool else; a constant is an initializer.

        Raises:
            InputError: A tensor that is left out, or that nothing has made yet.
        """
        if tensor is None:
            raise self.damaged("lacks an input")
        if tensor.index not in self._values:
            self._values[tensor.index] = self._make_value(tensor)
        return self._values[tensor.index]

    def codes(self, tensor: Tensor) -> ir.Value:
        """Like :meth:`value`, for the integers of a quantized tensor."""
        if not tensor.is_quantized:
            return self.value(tensor)
        if tensor.index not in self._codes:
            codes = self.integers(tensor)
            if codes is None:
                raise self.damaged(f"reads '{tensor.name}', which nothing has made")
            self._codes[tensor.index] = self.initializer(codes, f"{tensor.name}_quantized")
        return self._codes[tensor.index]

    def constant(self, tensor: Tensor | None) -> NDArray[Any] | None:
        """The numbers of ``tensor`` where they are known at read time, else None.

        Returns:
            Real numbers (float32) of float and quantized tensors; folded ones too.
        """
        if tensor is None:
            return None
        if tensor.index in self._folded:
            return self._folded[tensor.index]
        if tensor.data is None:
            return None
        if tensor.is_quantized:
            return dequantize(tensor)
        if tensor.dtype in _FLOATS:
            return tensor.data.astype(np.float32, copy=False)
        return tensor.data

    def parameters(self, tensor: Tensor) -> Parameters:
        """Scale and zero point of a quantized tensor, scalars where they are per tensor.

        Raises:
            InputError: It is not quantized.
        """
        if tensor.scale is None or tensor.zero_point is None:
            raise self.damaged(f"has '{tensor.name}' without a scale")
        if tensor.axis is None:
            scale, zero_point = tensor.scale.reshape(-1)[0], tensor.zero_point.reshape(-1)[0]
        else:
            scale, zero_point = tensor.scale, tensor.zero_point
        return Parameters(
            np.asarray(scale, np.float32), np.asarray(zero_point).astype(tensor.dtype), tensor.axis
        )

    def integers(self, tensor: Tensor) -> NDArray[Any] | None:
        """The integers of a quantized constant, None where it is computed."""
        folded = self._folded.get(tensor.index)
        return tensor.data if folded is None else quantize(tensor, folded)

    def shape(self, of: Tensor | ir.Value | None) -> tuple[int | str | None, ...]:
        """Dimensions as they are after binding: a number, a name, or None for unknown.

        Raises:
            InputError: As :meth:`value`.
        """
        if not isinstance(of, ir.Value):
            if of is not None:
                array = self._folded.get(of.index, of.data)
                if array is not None:
                    return tuple(array.shape)
            of = self.value(of)
        if of.shape is None:
            return ()
        return tuple(d if isinstance(d, int) else d.value for d in of.shape)

    def producer(self, tensor: Tensor | None) -> Operator | None:
        """The operator that was read as making ``tensor``, None for inputs and constants."""
        return None if tensor is None else self._producers.get(tensor.index)

    # What a reader makes.

    def node(
        self,
        op_type: str,
        inputs: Sequence[Input],
        attributes: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        outputs: int = 1,
        dtype: str = "float32",
        shape: Sequence[int | str | None] | None = None,
    ) -> Any:
        """Adds an ONNX operator of opset 21.

        Args:
            op_type: Operator type.
            inputs: Values; an array becomes an initializer, None is an input left out.
            attributes: Attributes as Python values; those that are None are left out.
            name: Name of the (first) result; the default is made from the current operator's.
            outputs: How many results.
            dtype: Element type of the results, where inference does not tell.
            shape: Dimensions of the results, likewise.

        Returns:
            The result, or a list where there are several.

        Raises:
            InputError: Shapes or types do not fit together.
        """
        try:
            found = self.graph.node(op_type, inputs, attributes or {}, name, outputs, dtype, shape)
        except ValueError as error:
            raise self.damaged(f"has shapes or types that do not fit: {error}") from error
        return found[0] if outputs == 1 else found

    def initializer(self, array: NDArray[Any], name: str) -> ir.Value:
        """Adds a constant; the name is made unique."""
        value = self.graph.constant(array, name)
        self._given.add(value)
        return value

    def weight(self, tensor: Tensor, array: NDArray[Any]) -> ir.Value:
        """Adds the constant ``tensor`` in the form ``array``, under its own name if it is free."""
        value = self.graph.constant(array, self.graph.claim(tensor.name), exactly=True)
        self._given.add(value)
        return value

    def is_output(self, tensor: Tensor) -> bool:
        """Whether ``tensor`` is an output of the graph."""
        return tensor.index in self._outputs

    def give(self, tensor: Tensor, value: ir.Value, activation: int = NONE) -> None:
        """Says that ``value`` is the result for ``tensor``.

        Args:
            tensor: An output of the current operator.
            value: Its real numbers (or plain integers).
            activation: The fused activation that comes behind it.

        Raises:
            UnsupportedError: An activation that no runtime has.
        """
        root, moves = self._trailing(value)
        value = self._activate(root, activation)
        if moves:
            value = self._give_moved(tensor, value, moves)
        if tensor.is_quantized:
            self._give_quantized(tensor, value)
        else:
            self._give_plain(tensor, value)

    def give_constant(self, tensor: Tensor, array: NDArray[Any]) -> None:
        """Says that ``tensor`` is a constant: folded at read time (SHAPE and what follows)."""
        self._folded[tensor.index] = np.asarray(array)

    def channels_first(self, value: ir.Value) -> ir.Value:
        """``value`` (NHWC) as NCHW."""
        return self.graph.channels_first(value)

    def channels_last(self, value: ir.Value) -> ir.Value:
        """``value`` (NCHW) behind a Transpose to NHWC."""
        return self.graph.channels_last(value)

    def dequantized(
        self,
        codes: NDArray[Any] | ir.Value,
        scale: NDArray[np.float32],
        zero_point: NDArray[Any] | None,
        axis: int | None,
        name: str,
    ) -> ir.Value:
        """The real numbers of integers: a DequantizeLinear.

        Args:
            codes: The integers (int8, uint8, int16 or int32).
            scale: One scale, or one for each index of ``axis``.
            zero_point: As many zero points of the dtype of ``codes``, or None for 0.
            axis: The axis of per-channel scales.
            name: Name of the tensor it stands for.
        """
        if isinstance(codes, np.ndarray):
            codes = self.initializer(codes, f"{name}_quantized")
        value = self.graph.dequantize(codes, Parameters(scale, zero_point, axis), name)
        self._given.add(value)
        return value

    def again(self, tensor: Tensor) -> ir.Value:
        """Like :meth:`value` of a computed tensor, as a value of its own that may be renamed."""
        if not tensor.is_quantized:
            found: ir.Value = self.node("Identity", [self.value(tensor)])
            return found
        return self.graph.dequantize(self.codes(tensor), self.parameters(tensor), tensor.name)

    # What goes wrong.

    def refuse(self, operator: Operator, reason: str, remedy: str | None = None) -> NoReturn:
        """Refuses ``operator``.

        Raises:
            UnsupportedError: Names the operator, its version and its first output.
        """
        kind = f"{operator.name} version {operator.version}"
        refusal = Refusal(operator.label, kind, reason, remedy)
        raise UnsupportedError("the model has an operator that cannot be read", [refusal])

    def damaged(self, what: str) -> InputError:
        """An error that says that the current operator is damaged: ``what`` follows its name."""
        operator = self._operator
        name = f"{operator.name} '{operator.label}'" if operator is not None else "the graph"
        return InputError(f"{name} {what}", remedy="the file is damaged; export it again")

    # The end.

    def finish(self, indices: Sequence[int]) -> list[ir.Value]:
        """The outputs of the graph, each a value of its own under its tensor's name.

        Args:
            indices: Tensor indices.

        Raises:
            InputError: One was not made.
        """
        self._operator = None
        found: list[ir.Value] = []
        for index in indices:
            tensor = self.tensors[index]
            value = self.codes(tensor)
            self.graph.label = tensor.name
            if value.name != tensor.name or value in (*self.inputs, *found):
                value = self.node("Identity", [value], dtype=tensor.dtype)
                taken = any(tensor.name == v.name for v in (*self.inputs, *found))
                name = self.graph.fresh(f"{tensor.name}_output") if taken else tensor.name
                self._bear(value, name)
            found.append(value)
        self.graph.sweep(found)
        return found

    # Helpers.

    def _input(self, tensor: Tensor, dims: Sequence[int | str]) -> None:
        dtype = "float32" if tensor.dtype in _FLOATS else tensor.dtype
        kind = ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
        value = ir.Value(name=tensor.name, shape=ir.Shape(dims), type=kind)
        self.inputs.append(value)
        self._given.add(value)
        (self._codes if tensor.is_quantized else self._values)[tensor.index] = value

    def _make_value(self, tensor: Tensor) -> ir.Value:
        if tensor.is_quantized:
            name = self._moved_names.get(tensor.index, tensor.name)
            value = self.graph.dequantize(self.codes(tensor), self.parameters(tensor), name)
            self._given.add(value)
            if tensor.index in self._computed:
                self.graph.note_first(value, self._computed[tensor.index])
            return value
        array = self.constant(tensor)
        if array is None:
            raise self.damaged(f"reads '{tensor.name}', which nothing has made")
        if tensor.dtype not in _FLOATS:
            array = array.astype(tensor.dtype)
        if tensor.index in self._outputs:
            return self.initializer(array, f"{tensor.name}_value")
        return self.weight(tensor, array)

    def _give_moved(self, tensor: Tensor, root: ir.Value, moves: Sequence[ir.Node]) -> ir.Value:
        """Puts the quantization of ``tensor`` before the moves; what is computed has its name."""
        name = tensor.name
        if tensor.index in self._outputs or root in self._given:
            name = self.graph.fresh(f"{tensor.name}_computed")
        else:
            self._moved_names[tensor.index] = self.graph.fresh(f"{tensor.name}_moved")
        if root not in self._given:
            self._bear(root, name)
        value = root
        if tensor.is_quantized:
            parameters = self.parameters(tensor)
            codes = self.graph.quantize(root, parameters, name)
            value = self.graph.dequantize(codes, parameters, name)
        first = value
        for move in moves:
            attributes = {a.name: a.value for a in move.attributes.values()}
            value = self.node(move.op_type, [value, *move.inputs[1:]], attributes)
        if self.graph.is_channels_last(value, first):
            self._computed[tensor.index] = first
        return value

    def _give_quantized(self, tensor: Tensor, value: ir.Value) -> None:
        name = self._moved_names.get(tensor.index, tensor.name)
        border = tensor.index in self._outputs
        if value not in self._given and self.graph.meaning(value) is None:
            self._bear(value, self.graph.fresh(f"{tensor.name}_float") if border else name)
        codes = self.graph.quantize(value, self.parameters(tensor), name)
        if border:
            self._bear(codes, tensor.name)
        self._codes[tensor.index] = codes

    def _give_plain(self, tensor: Tensor, value: ir.Value) -> None:
        if value in self._given and tensor.index in self._outputs:
            value = self.node("Identity", [value])
        if value not in self._given:
            self._bear(value, self._moved_names.get(tensor.index, tensor.name))
        self._values[tensor.index] = value

    def _trailing(self, value: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
        """What the current operator computes, and the moves that its reader put behind that."""
        own = set(self.graph.nodes[self._start :])
        moves: list[ir.Node] = []
        while (node := value.producer()) in own and node is not None:
            source = node.inputs[0] if node.inputs else None
            if node.op_type not in _TRAILING or source is None or value in self._given:
                break
            before = self.graph.unsettled(source)
            known = before is source and self.graph.meaning(source) is not None
            if known or before.producer() not in own:
                break
            moves.append(node)
            value = before
        return value, moves[::-1]

    def _bear(self, value: ir.Value, name: str) -> None:
        self.graph.rename(value, name)
        self._given.add(value)

    def _activate(self, value: ir.Value, activation: int) -> ir.Value:
        if activation == NONE:
            return value
        if activation == RELU:
            found: ir.Value = self.node("Relu", [value])
        elif activation in (RELU6, RELU_N1_TO_1):
            low, high = (0.0, 6.0) if activation == RELU6 else (-1.0, 1.0)
            bounds: list[Input] = [np.array(low, np.float32), np.array(high, np.float32)]
            found = self.node("Clip", [value, *bounds])
        elif activation == TANH:
            found = self.node("Tanh", [value])
        elif activation == SIGN_BIT and self._operator is not None:
            self.refuse(
                self._operator, "its fused activation is SIGN_BIT", "export the model without it"
            )
        else:
            raise self.damaged(f"has the unknown activation {activation}")
        return found


#: Reads one operator: adds nodes to the scope and gives every output.
Reader = Callable[[Scope, Operator], None]
