"""Applies the plan: puts QuantizeLinear/DequantizeLinear where values carry a quantization.

Knows no statistics; it edits what the notes say. Weights and biases become integer initializers
behind a DequantizeLinear. For every operator with a weight the accumulator is proved to fit int32
from the integers at hand (``sum |w| * |q - z| + |bias| < 2^31``; int16 inputs and int16 weights
use int64).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import Refusal, UnsupportedError
from intaglio.passes.annotations import (
    all_values,
    clear_annotations,
    copy_layout,
    get_quantization,
    set_source_value,
)
from intaglio.passes.base import APPROXIMATE, Change, Outcome, Pass, Skip, outcome
from intaglio.passes.operators import (
    WEIGHTED,
    constant_array,
    find_units,
    is_constant,
    required_array,
)
from intaglio.passes.provenance import inherit_sources, source_name
from intaglio.transforms.scales import TensorQuantization, accumulator_bound

INT32_LIMIT = 2**31


class InsertQdq(Pass):
    """Turns the planned float graph into the quantized form."""

    name = "quantize.insert_qdq"
    semantics = APPROXIMATE

    def call(self, model: ir.Model) -> Outcome:
        """Edits ``model`` in place.

        Raises:
            UnsupportedError: An accumulator could overflow int32.
        """
        graph = model.graph
        planned = [(v, q) for v in all_values(model) if (q := get_quantization(v)) is not None]
        if not planned:
            return outcome(model, [], [Skip("", "no tensor has a plan (quantized already)")])
        bits = _prove_accumulators(graph)
        editor = _Editor(graph)
        changes = []
        for value, quantization in planned:
            if is_constant(value):
                editor.quantize_constant(value, quantization)
                kind = "quantize-constant"
            else:
                editor.quantize_activation(value, quantization)
                kind = "quantize"
            changes.append(Change(kind, str(value.name), "float32", _describe(quantization)))
        graph.sort()
        clear_annotations(model)
        return outcome(model, changes, facts={"largest_accumulator_bits": bits})


def _describe(quantization: TensorQuantization) -> str:
    if quantization.per_channel:
        return f"{quantization.dtype}, {len(quantization.scale)} scales"
    return (
        f"{quantization.dtype}, scale {quantization.scale[0]:.6g}, "
        f"zero point {quantization.zero_point[0]}"
    )


def _prove_accumulators(graph: ir.Graph) -> int:
    """Checks every weighted operator; returns the bits of the largest accumulator seen."""
    refusals: list[Refusal] = []
    largest = 1
    for node in graph:
        if node.op_type not in WEIGHTED:
            continue
        data, weight = node.inputs[0], node.inputs[1]
        source = get_quantization(data) if data is not None else None
        scheme = get_quantization(weight) if weight is not None else None
        array = constant_array(weight)
        if source is None or scheme is None or array is None:
            continue
        if "int16" in (source.dtype, scheme.dtype):
            continue
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        planned = get_quantization(bias) if bias is not None else None
        codes: NDArray[Any] | None = None
        if bias is not None and planned is not None:
            codes = planned.quantize(required_array(bias))
        bound = accumulator_bound(
            _rows(node, scheme.quantize(array)),
            source.minimum,
            source.maximum,
            source.zero_point[0],
            codes,
        )
        worst = int(bound.max(initial=0))
        largest = max(largest, worst.bit_length() + 1)
        if worst >= INT32_LIMIT:
            refusals.append(
                Refusal(
                    source_name(node),
                    node.op_type,
                    f"its accumulator can reach {worst}, which int32 cannot hold",
                    f"keep its input at 16 bit (int64 accumulator): "
                    f"--set quantize.sixteen_bit='[\"{_producer_name(data)}\"]'",
                )
            )
    if refusals:
        raise UnsupportedError("an int32 accumulator could overflow", refusals)
    return largest


def _rows(node: ir.Node, weights: NDArray[Any]) -> NDArray[Any]:
    """The weights with one row for each output channel."""
    if node.op_type != "ConvTranspose":
        return weights.reshape(weights.shape[0], -1)
    group = node.attributes.get_int("group", 1)
    split = weights.reshape(group, weights.shape[0] // group, weights.shape[1], -1)
    return np.asarray(split.swapaxes(1, 2).reshape(group * weights.shape[1], -1))


def _producer_name(value: ir.Value | None) -> str:
    producer = value.producer() if value is not None else None
    return source_name(producer) if producer is not None else str(value and value.name)


class _Editor:
    """Edits a float graph; new values and nodes get names that nothing else has."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        # Read before anything is edited: regions are found on the float graph.
        self.roots = find_units(graph).roots
        values = [
            *graph.inputs,
            *graph.initializers.values(),
            *(v for n in graph for v in n.outputs),
        ]
        self.taken = {str(v.name) for v in values} | {str(n.name) for n in graph}

    def fresh(self, base: str) -> str:
        name, number = base, 2
        while name in self.taken:
            name, number = f"{base}_{number}", number + 1
        self.taken.add(name)
        return name

    def quantize_constant(self, value: ir.Value, quantization: TensorQuantization) -> None:
        array = required_array(value)
        name = str(value.name)
        users = [use.node for use in value.uses()]
        codes = self.initializer(f"{name}_quantized", quantization.quantize(array))
        axis = [] if quantization.axis is None else [ir.AttrInt64("axis", quantization.axis)]
        node = self.node(
            "DequantizeLinear", [codes, *self.parameters(name, quantization)], axis, name
        )
        self.name_output(node, f"{name}_dequantized", value)
        inherit_sources([node], users[:1])
        if users:
            self.graph.insert_before(users[0], node)
        else:
            self.graph.append(node)
        ir.convenience.replace_all_uses_with(value, node.outputs[0])
        self.graph.initializers.pop(name)

    def quantize_activation(self, value: ir.Value, quantization: TensorQuantization) -> None:
        graph, name = self.graph, str(value.name)
        parameters = self.parameters(name, quantization)
        quantize = self.node("QuantizeLinear", [value, *parameters], [], name)
        codes = quantize.outputs[0]
        codes.name, codes.shape = self.fresh(f"{name}_quantized"), value.shape
        codes.type = ir.TensorType(ir.DataType.from_numpy(quantization.numpy_dtype))
        dequantize = self.node("DequantizeLinear", [codes, *parameters], [], name)
        result = dequantize.outputs[0]
        producer = value.producer()
        inherit_sources([quantize, dequantize], [producer] if producer is not None else [])
        for node, index in self._readers(value):
            if node is not quantize:
                node.replace_input_with(index, result)
        if value.is_graph_output() and not value.is_graph_input():
            for index, output in enumerate(graph.outputs):
                if output is value:
                    graph.outputs[index] = result
            value.name = self.fresh(f"{name}_float")
            result.name, result.shape, result.type = name, value.shape, value.type
            copy_layout(value, result)
        else:
            self.name_output(dequantize, f"{name}_dequantized", value)
        set_source_value(result, name)
        graph.extend([quantize, dequantize])

    def _readers(self, value: ir.Value) -> list[tuple[ir.Node, int]]:
        """Who is to read the dequantized value: not the rest of a region that the value lies in.

        A region is one function of its root, and stays so when a value inside is read elsewhere
        as well: going through that value's integers would only add a rounding.
        """
        root = self.roots.get(value)
        return [
            (use.node, use.idx)
            for use in value.uses()
            if root is None or self.roots.get(use.node.outputs[0]) is not root
        ]

    def parameters(self, name: str, quantization: TensorQuantization) -> list[ir.Value]:
        shape = (-1,) if quantization.per_channel else ()
        scale = np.array(quantization.scale, np.float32).reshape(shape)
        zero_point = np.array(quantization.zero_point, quantization.numpy_dtype).reshape(shape)
        return [
            self.initializer(f"{name}_scale", scale),
            self.initializer(f"{name}_zero_point", zero_point),
        ]

    def initializer(self, base: str, array: NDArray[Any]) -> ir.Value:
        name = self.fresh(base)
        tensor = ir.tensor(array, name=name)
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        self.graph.register_initializer(value)
        return value

    def node(
        self, kind: str, inputs: list[ir.Value], attributes: list[ir.Attr], stem: str
    ) -> ir.Node:
        return ir.Node("", kind, inputs, attributes, name=self.fresh(f"{stem}_{kind}"))

    def name_output(self, node: ir.Node, base: str, like: ir.Value) -> None:
        result = node.outputs[0]
        result.name, result.shape, result.type = self.fresh(base), like.shape, like.type
