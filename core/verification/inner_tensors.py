"""Which inner tensors of an artifact stand for which values of the float source.

Passes leave the answer in the ONNX file itself: a value that stands for a source value names it
(:func:`intaglio.passes.annotations.get_source_value`), and an integer value carries its
quantization. Artifacts in other formats have no such notes and give no layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from intaglio.errors import InputError
from intaglio.passes.annotations import all_values, get_quantization, get_source_value
from intaglio.passes.operators import constant_array
from intaglio.passes.provenance import source_name
from intaglio.transforms.scales import TensorQuantization


@dataclass(frozen=True)
class InnerTensor:
    """A tensor of an artifact.

    Attributes:
        name: Its name in the artifact.
        source: The source value it stands for.
        quantization: How it is quantized; per tensor.
        is_integer: Whether the artifact holds the integers, not the dequantized values.
    """

    name: str
    source: str
    quantization: TensorQuantization
    is_integer: bool


@dataclass(frozen=True)
class SourceValue:
    """A value that a node of the float source computes, or an input of it.

    Attributes:
        name: Name of the value.
        node: Name of the source node; empty for an input.
        operator: Its operator type, ``Input`` for an input.
        order: Position in the graph, inputs first.
        inputs: Values that are not constant and that it is computed from.
    """

    name: str
    node: str
    operator: str
    order: int
    inputs: tuple[str, ...] = ()


def load_graph(path: Path) -> ir.Model:
    """Reads a model file of a bundle.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return ir.load(path)
    except Exception as error:
        # The protobuf and onnx-ir errors of a damaged file share no base class.
        raise InputError(
            f"{path} cannot be read: {type(error).__name__}", remedy="convert the model again"
        ) from error


def inner_tensors(model: ir.Model) -> list[InnerTensor]:
    """The tensors of an artifact that stand for source values, one for each, in graph order."""
    found: dict[str, InnerTensor] = {}
    for value in all_values(model):
        source = get_source_value(value)
        if source is None and value.is_graph_output():
            source = value.name  # The border keeps its names.
        if source is None or source in found or not value.name or value.is_initializer():
            continue
        is_integer = value.dtype is not None and value.dtype.is_integer()
        quantization = get_quantization(value) if is_integer else _dequantized_by(value)
        if quantization is not None and not quantization.per_channel:
            found[source] = InnerTensor(value.name, source, quantization, is_integer)
    return list(found.values())


def source_values(model: ir.Model) -> dict[str, SourceValue]:
    """The float values of the source by name, in graph order."""
    graph = model.graph
    inputs = [value for value in graph.inputs if not value.is_initializer()]
    found = {
        str(value.name): SourceValue(str(value.name), "", "Input", index)
        for index, value in enumerate(inputs)
    }
    for index, node in enumerate(graph, start=len(inputs)):
        needed = tuple(
            str(value.name)
            for value in node.inputs
            if value is not None and value.name and not value.is_initializer()
        )
        for output in node.outputs:
            if output.name:
                found[output.name] = SourceValue(
                    output.name, source_name(node), node.op_type, index, needed
                )
    return found


def _dequantized_by(value: ir.Value) -> TensorQuantization | None:
    """The quantization that a DequantizeLinear gives its output."""
    node = value.producer()
    if node is None or node.op_type != "DequantizeLinear" or len(node.inputs) < 2:
        return None
    codes, scale = node.inputs[0], constant_array(node.inputs[1])
    zero = constant_array(node.inputs[2]) if len(node.inputs) > 2 else None
    if codes is None or codes.dtype is None or scale is None or scale.size != 1:
        return None
    dtype = codes.dtype.numpy().name
    zero_point = int(zero.reshape(-1)[0]) if zero is not None else 0
    return TensorQuantization(dtype, (float(scale.reshape(-1)[0]),), (zero_point,))
