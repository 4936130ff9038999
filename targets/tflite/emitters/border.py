"""QUANTIZE and DEQUANTIZE at a border of real numbers (``io=float``)."""

from __future__ import annotations

import onnx_ir as ir

from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Emitter, Scope, required


def _quantize(scope: Scope, node: ir.Node) -> None:
    value = node.outputs[0]
    version = 2 if scope.quantization(value).dtype == "int16" else 1
    inputs, outputs = [scope.index(required(node.inputs[0]))], [scope.result(value)]
    scope.operator("QUANTIZE", inputs, outputs, options("QuantizeOptions"), version)


def _dequantize(scope: Scope, node: ir.Node) -> None:
    source = required(node.inputs[0])
    version = 3 if scope.quantization(source).dtype == "int16" else 2
    inputs, outputs = [scope.index(source)], [scope.result(node.outputs[0])]
    scope.operator("DEQUANTIZE", inputs, outputs, options("DequantizeOptions"), version)


EMITTERS: dict[str, Emitter] = {"QuantizeLinear": _quantize, "DequantizeLinear": _dequantize}
