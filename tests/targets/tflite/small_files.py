"""TFLite files of a few operators, good and bad, for running them."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np

from intaglio.targets.tflite.schema import IDENTIFIER, OPERATOR_CODES, schema
from intaglio.targets.tflite.writer import FileBuilder


def dense_file(
    scales: tuple[float, float, float] = (0.1, 0.1, 0.1),
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
) -> bytes:
    """FULLY_CONNECTED, int8: input ``x`` [1, n], output ``y``.

    Args:
        scales: Of input, weight and output.
        weight: int8 [outputs, inputs].
        bias: int32 [outputs].
    """
    weight = np.eye(4, dtype=np.int8) if weight is None else weight
    bias = np.zeros(len(weight), np.int32) if bias is None else bias
    outputs, inputs = weight.shape
    sx, sw, sy = scales
    builder = FileBuilder("test")
    x = builder.tensor("x", (1, inputs), "int8", scale=[sx], zero_point=[0])
    w = builder.tensor("w", weight.shape, "int8", data=weight, scale=[sw], zero_point=[0])
    b = builder.tensor("b", bias.shape, "int32", data=bias, scale=[sx * sw], zero_point=[0])
    y = builder.tensor("y", (1, outputs), "int8", scale=[sy], zero_point=[0])
    options = schema.FullyConnectedOptionsT()
    return _finish(builder, "FULLY_CONNECTED", [x, w, b], [y], options, 4)


def point_convolution_file(scales: tuple[float, float, float], bias: np.ndarray) -> bytes:
    """CONV_2D 1x1, int8, weights zero: output ``y`` is the rescaled bias, one a channel."""
    channels = len(bias)
    sx, sw, sy = scales
    builder = FileBuilder("test")
    x = builder.tensor("x", (1, 1, 1, 1), "int8", scale=[sx], zero_point=[0])
    weight = np.zeros((channels, 1, 1, 1), np.int8)
    each = [0] * channels
    w = builder.tensor(
        "w", weight.shape, "int8", data=weight, scale=[sw] * channels, zero_point=each
    )
    b = builder.tensor(
        "b", bias.shape, "int32", data=bias, scale=[sx * sw] * channels, zero_point=each
    )
    y = builder.tensor("y", (1, 1, 1, channels), "int8", scale=[sy], zero_point=[0])
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    options.dilationHFactor = options.dilationWFactor = 1
    return _finish(builder, "CONV_2D", [x, w, b], [y], options, 3)


def chain_file(open_batch: bool = False) -> bytes:
    """float32: ``doubled = x + x``, ``y = doubled * x``; x is [1, 3] or [-1, 3]."""
    signature = (-1, 3) if open_batch else None
    builder = FileBuilder("test")
    x, doubled, y = (
        builder.tensor(name, (1, 3), "float32", signature=signature)
        for name in ("x", "doubled", "y")
    )
    builder.operator("ADD", [x, x], [doubled], schema.AddOptionsT())
    return _finish(builder, "MUL", [doubled, x], [y], schema.MulOptionsT(), 1, [x])


def scalar_file() -> bytes:
    """float32: ``sum = a + b`` of two inputs of rank 0."""
    builder = FileBuilder("test")
    a, b, total = (builder.tensor(name, (), "float32") for name in ("a", "b", "sum"))
    return _finish(builder, "ADD", [a, b], [total], schema.AddOptionsT(), 1, [a, b])


def missing_weight_file() -> bytes:
    """A weight of 1 GiB of which the file has 16 bytes: TFLite Micro reads beyond them."""
    outputs, inputs = 1 << 14, 1 << 16
    model = unpack(dense_file(weight=np.zeros((1, inputs), np.int8)))
    _, w, b, y = model.subgraphs[0].tensors
    w.shape, b.shape, y.shape = [outputs, inputs], [outputs], [1, outputs]
    model.buffers[w.buffer].data = np.zeros(16, np.uint8)
    model.buffers[b.buffer].data = np.zeros(outputs * 4, np.uint8)
    return pack(model)


def bad_index_file() -> bytes:
    """GATHER of element 2^30 of 4: a file that loads and fails when run."""
    builder = FileBuilder("test")
    x = builder.tensor("x", (1, 4), "int8", scale=[0.1], zero_point=[0])
    where = builder.tensor("where", (1,), "int32", data=np.array([1 << 30], np.int32))
    y = builder.tensor("y", (1, 1), "int8", scale=[0.1], zero_point=[0])
    options = schema.GatherOptionsT()
    options.axis = 1
    return _finish(builder, "GATHER", [x, where], [y], options, 2)


def endless_file() -> bytes:
    """WHILE x >= x: a file that never ends."""
    builder = FileBuilder("test")
    x, y = builder.tensor("x", (1,), "int32"), builder.tensor("y", (1,), "int32")
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    model = unpack(_finish(builder, "WHILE", [x], [y], options, 1))
    kinds = schema.TensorType
    _add_subgraph(model, "GREATER_EQUAL", schema.GreaterEqualOptionsT(), kinds.BOOL)
    _add_subgraph(model, "MAXIMUM", schema.MaximumMinimumOptionsT(), kinds.INT32)
    return pack(model)


def unpack(data: bytes) -> Any:
    """The object form of a file."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


def pack(model: Any) -> bytes:
    """The file of an object form."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _finish(
    builder: FileBuilder,
    operator: str,
    inputs: list[int],
    outputs: list[int],
    options: Any,
    version: int,
    border: list[int] | None = None,
) -> bytes:
    builder.operator(operator, inputs, outputs, options, version=version)
    builder.inputs(inputs[:1] if border is None else border)
    builder.outputs(outputs)
    return builder.to_bytes()


def _add_subgraph(model: Any, operator: str, options: Any, result: int) -> None:
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = OPERATOR_CODES[operator], 1
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    model.operatorCodes.append(code)
    graph = schema.SubGraphT()
    graph.name, graph.tensors = operator.encode(), []
    for name, kind in (("in", schema.TensorType.INT32), ("out", result)):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), [1], kind, 0
        graph.tensors.append(tensor)
    node = schema.OperatorT()
    node.opcodeIndex = len(model.operatorCodes) - 1
    node.inputs, node.outputs = [0, 0], [1]
    node.builtinOptions = options
    kind = type(options).__name__.removesuffix("T")
    node.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    graph.operators, graph.inputs, graph.outputs = [node], [0], [1]
    model.subgraphs.append(graph)


def memory_file(*, bias: bool = True) -> bytes:
    """SVDF, float32: a layer that remembers its last four inputs in a variable.

    Without bias, which is optional, TFLite Micro crashes when it loads the file.
    """
    builder = FileBuilder("test")
    x = builder.tensor("x", (1, 3), "float32")
    feature = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
    time = np.arange(1, 9, dtype=np.float32).reshape(2, 4) / 5
    f = builder.tensor("feature", (2, 3), "float32", data=feature)
    t = builder.tensor("time", (2, 4), "float32", data=time)
    zeros = np.zeros(2, np.float32)
    b = builder.tensor("bias", (2,), "float32", data=zeros) if bias else -1
    state = builder.tensor("state", (1, 8), "float32")
    y = builder.tensor("y", (1, 2), "float32")
    options = schema.SVDFOptionsT()
    options.rank = 1
    model = unpack(_finish(builder, "SVDF", [x, f, t, b, state], [y], options, 1))
    model.subgraphs[0].tensors[state].isVariable = True
    return pack(model)
