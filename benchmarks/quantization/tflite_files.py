"""Small edits of ``.tflite`` files that measuring needs; none changes what a model computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from intaglio.targets.tflite.schema import IDENTIFIER, OPERATOR_NAMES, schema

SIGNATURE = "serving_default"


def modernized(model: bytes) -> tuple[bytes, str]:
    """The model as AI Edge Quantizer wants it, which old files are not.

    It asks for a signature, and reads the operators' codes from a field that files written before
    2020 leave at zero: it takes every operator of theirs for an addition.

    Args:
        model: The file, with one input and any number of outputs.

    Returns:
        The file, and the name of the input in its signature.
    """
    opened = _open(model)
    graph = opened.subgraphs[0]
    for code in opened.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    if not opened.signatureDefs:
        signature = schema.SignatureDefT()
        signature.signatureKey = SIGNATURE
        signature.subgraphIndex = 0
        signature.inputs = [_entry("input", graph.inputs[0])]
        signature.outputs = [_entry(f"output_{i}", index) for i, index in enumerate(graph.outputs)]
        opened.signatureDefs = [signature]
    name = opened.signatureDefs[0].inputs[0].name
    return _pack(opened), name if isinstance(name, str) else name.decode()


def before_softmax(model: bytes) -> bytes | None:
    """The model without its last Softmax, or None where its only output is not that of one.

    What stands behind the Softmax (DEQUANTIZE, RESHAPE) goes with it: the output is the tensor that
    the Softmax reads.
    """
    opened = _open(model)
    graph = opened.subgraphs[0]
    if len(graph.outputs) != 1:
        return None
    makers = {int(index): op for op in graph.operators for index in op.outputs}
    behind: list[Any] = []
    node = makers.get(int(graph.outputs[0]))
    while node is not None and _name(opened, node) in ("DEQUANTIZE", "QUANTIZE", "RESHAPE"):
        behind.append(node)
        node = makers.get(int(node.inputs[0]))
    if node is None or _name(opened, node) != "SOFTMAX":
        return None
    gone = {id(op) for op in (*behind, node)}
    graph.operators = [op for op in graph.operators if id(op) not in gone]
    graph.outputs = np.array([node.inputs[0]], np.int32)
    opened.signatureDefs = []
    return _pack(opened)


def _entry(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(index)
    return entry


def _name(model: Any, operator: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    return OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _open(model: bytes) -> Any:
    opened = schema.ModelT.InitFromPackedBuf(bytearray(model), 0)
    for buffer in opened.buffers:
        # Constants may lie behind the flatbuffer; packing would leave them there.
        if buffer.offset > 1:
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return opened


def _pack(model: Any) -> bytes:
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def is_tflite(path: Path) -> bool:
    """Whether a model is measured as a ``.tflite`` file."""
    return path.suffix == ".tflite"
