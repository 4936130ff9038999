"""A small int8 ``.tflite`` file: ADD, an operator that no NPU knows, and ADD again.

Written with the schema's own classes, so that the tests depend on no emitter.
"""

from __future__ import annotations

import flatbuffers

from intaglio.targets.tflite.schema import IDENTIFIER, OPERATOR_CODES, schema

#: Names of the tensors: input, first sum, what the unknown operator makes, second sum.
NAMES = ("x", 'block/add, "first"', "block/mystery", "y")
UNKNOWN = "Mystery"


def write_small_file(names: tuple[str, ...] = NAMES, *, unknown: bool = True) -> bytes:
    """The file's bytes; without ``unknown`` all its operators are for the NPU."""
    graph = schema.SubGraphT()
    graph.name = b"main"
    graph.tensors = [_tensor(name) for name in names]
    graph.inputs, graph.outputs = [0], [3]
    middle = _operator(1, [1], [2]) if unknown else _operator(0, [1, 1], [2])
    graph.operators = [_operator(0, [0, 0], [1]), middle, _operator(0, [2, 2], [3])]
    model = schema.ModelT()
    model.version = 3
    model.description = b""
    model.operatorCodes = [_code("ADD"), _code("CUSTOM", UNKNOWN)]
    model.subgraphs = [graph]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _tensor(name: str) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name = name.encode()
    tensor.shape = [1, 8, 8, 16]
    tensor.type = schema.TensorType.INT8
    tensor.buffer = 0
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = [0.125]
    tensor.quantization.zeroPoint = [0]
    return tensor


def _operator(code: int, inputs: list[int], outputs: list[int]) -> schema.OperatorT:
    operator = schema.OperatorT()
    operator.opcodeIndex = code
    operator.inputs, operator.outputs = inputs, outputs
    if code == 0:
        operator.builtinOptionsType = schema.BuiltinOptions.AddOptions
        operator.builtinOptions = schema.AddOptionsT()
    else:
        operator.customOptions = [0]
    return operator


def _code(name: str, custom: str | None = None) -> schema.OperatorCodeT:
    code = schema.OperatorCodeT()
    code.builtinCode = OPERATOR_CODES[name]
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = 1
    if custom is not None:
        code.customCode = custom.encode()
    return code
