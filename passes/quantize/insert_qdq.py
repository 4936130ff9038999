"""Applies the plan: puts QuantizeLinear/DequantizeLinear where values carry a quantization.

Knows no statistics; it edits what the notes say. Weights and biases become integer initializers
behind a DequantizeLinear. For every operator with a weight the accumulator is proved to fit int32
from the integers at hand (``sum |w| * |q - z| + |bias| < 2^31``; int16 inputs use int64).
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
    get_quantization,
    set_source_value,
)
from intaglio.passes.base import APPROXIMATE, Change, Outcome, Pass, Skip, outcome
from intaglio.passes.operators import WEIGHTED, constant_array, is_constant, required_array
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
        changes = []
        for value, quantization in planned:
            if is_constant(value):
                _quantize_constant(graph, value, quantization)
                kind = "quantize-constant"
            else:
                _quantize_activation(graph, value, quantization)
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
        if source is None or scheme is None or array is None or source.dtype == "int16":
            continue
        weights = scheme.quantize(array)
        if node.op_type == "ConvTranspose":
            weights = np.swapaxes(weights, 0, 1)
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        planned = get_quantization(bias) if bias is not None else None
        codes: NDArray[Any] | None = None
        if bias is not None and planned is not None:
            codes = planned.quantize(required_array(bias))
            if len(codes) != len(weights):  # grouped ConvTranspose: the worst of each group
                codes = np.abs(codes).reshape(-1, len(weights)).max(axis=0)
        bound = accumulator_bound(
            weights, source.minimum, source.maximum, source.zero_point[0], codes
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


def _producer_name(value: ir.Value | None) -> str:
    producer = value.producer() if value is not None else None
    return source_name(producer) if producer is not None else str(value and value.name)


def _scalar_or_channels(quantization: TensorQuantization) -> tuple[NDArray[Any], NDArray[Any]]:
    scale = np.array(quantization.scale, np.float32)
    zero_point = np.array(quantization.zero_point, quantization.numpy_dtype)
    if not quantization.per_channel:
        return scale.reshape(()), zero_point.reshape(())
    return scale, zero_point


def _initializer(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def _quantize_constant(graph: ir.Graph, value: ir.Value, quantization: TensorQuantization) -> None:
    array = required_array(value)
    name = str(value.name)
    users = [use.node for use in value.uses()]
    scale, zero_point = _scalar_or_channels(quantization)
    codes = _initializer(graph, f"{name}_quantized", quantization.quantize(array))
    inputs = [
        codes,
        _initializer(graph, f"{name}_scale", scale),
        _initializer(graph, f"{name}_zero_point", zero_point),
    ]
    attributes = [] if quantization.axis is None else [ir.AttrInt64("axis", quantization.axis)]
    node = ir.Node("", "DequantizeLinear", inputs, attributes, name=f"{name}_DequantizeLinear")
    _name_output(node, f"{name}_dequantized", value)
    inherit_sources([node], users[:1])
    if users:
        graph.insert_before(users[0], node)
    else:
        graph.append(node)
    ir.convenience.replace_all_uses_with(value, node.outputs[0])
    graph.initializers.pop(name)


def _quantize_activation(
    graph: ir.Graph, value: ir.Value, quantization: TensorQuantization
) -> None:
    name = str(value.name)
    scale, zero_point = _scalar_or_channels(quantization)
    parameters = [
        _initializer(graph, f"{name}_scale", scale),
        _initializer(graph, f"{name}_zero_point", zero_point),
    ]
    quantize = ir.Node("", "QuantizeLinear", [value, *parameters], name=f"{name}_QuantizeLinear")
    codes = quantize.outputs[0]
    codes.name, codes.shape = f"{name}_quantized", value.shape
    codes.type = ir.TensorType(ir.DataType.from_numpy(quantization.numpy_dtype))
    dequantize = ir.Node(
        "", "DequantizeLinear", [codes, *parameters], name=f"{name}_DequantizeLinear"
    )
    result = dequantize.outputs[0]
    uses = [(use.node, use.idx) for use in value.uses() if use.node is not quantize]
    producer = value.producer()
    inherit_sources([quantize, dequantize], [producer] if producer is not None else [])
    for node, index in uses:
        node.replace_input_with(index, result)
    if value.is_graph_output() and not value.is_graph_input():
        for index, output in enumerate(graph.outputs):
            if output is value:
                graph.outputs[index] = result
        value.name = f"{name}_float"
        _name_output(dequantize, name, value)
    else:
        _name_output(dequantize, f"{name}_dequantized", value)
    set_source_value(result, name)
    graph.extend([quantize, dequantize])


def _name_output(node: ir.Node, name: str, like: ir.Value) -> None:
    result = node.outputs[0]
    result.name, result.shape, result.type = name, like.shape, like.type
