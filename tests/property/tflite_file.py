"""Writes TFLite files of one operator, as small as the runtimes accept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

from intaglio.targets.tflite.schema import IDENTIFIER, OPERATOR_CODES, TENSOR_DTYPES, schema

_TYPES = {name: number for number, name in TENSOR_DTYPES.items()}


@dataclasses.dataclass
class Tensor:
    """A tensor of the file; without data it is computed or an input."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    axis: int = 0
    data: np.ndarray | None = None


def write(
    operator: str,
    options: tuple[str, Mapping[str, Any]] | None,
    inputs: Sequence[Tensor | None],
    outputs: Sequence[Tensor],
    version: int = 1,
) -> bytes:
    """The bytes of a model of one operator; its inputs are the tensors without data.

    Args:
        operator: Builtin name, such as ``CONV_2D``.
        options: Name of the options table without ``T``, and its fields.
        inputs: Operands; None where an optional one is missing.
        outputs: Results.
        version: Of the operator.
    """
    model = schema.ModelT()
    model.version, model.description = 3, b"one operator"
    code = schema.OperatorCodeT()
    code.builtinCode = OPERATOR_CODES[operator]
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = version
    model.operatorCodes = [code]
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.name, graph.tensors = b"main", []
    places: dict[str, int] = {}
    for tensor in (*inputs, *outputs):
        if tensor is not None and tensor.name not in places:
            places[tensor.name] = len(graph.tensors)
            graph.tensors.append(_tensor(tensor, model.buffers))
    node = schema.OperatorT()
    node.inputs = [-1 if t is None else places[t.name] for t in inputs]
    node.outputs = [places[t.name] for t in outputs]
    if options is not None:
        kind, fields = options
        node.builtinOptions = getattr(schema, f"{kind}T")()
        node.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        for field, value in fields.items():
            setattr(node.builtinOptions, field, value)
    graph.operators = [node]
    graph.inputs = [
        places[n] for n in dict.fromkeys(t.name for t in inputs if t is not None and t.data is None)
    ]
    graph.outputs = list(node.outputs)
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _tensor(tensor: Tensor, buffers: list[Any]) -> Any:
    made = schema.TensorT()
    made.name, made.shape = tensor.name.encode(), list(tensor.shape)
    made.type = _TYPES[tensor.dtype]
    made.buffer = 0
    if tensor.data is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(
            np.ascontiguousarray(tensor.data, tensor.dtype).tobytes(), np.uint8
        )
        buffers.append(buffer)
        made.buffer = len(buffers) - 1
    if tensor.scale:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = list(tensor.scale)
        made.quantization.zeroPoint = list(tensor.zero_point)
        made.quantization.quantizedDimension = tensor.axis
    return made
