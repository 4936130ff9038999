"""uint8 activations and weights of a quantized file become int8: ``q - 128``, zero point - 128.

The real values do not change. Our integer kernels take int8 alone: mixed-sign 8-bit products
saturate on x86 CPUs without VNNI.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.base import EXACT, Change, Outcome, Pass, outcome
from intaglio.passes.canonicalize.editing import add_constant
from intaglio.passes.operators import constant_array, is_constant


class ShiftUnsigned(Pass):
    """Rewrites the uint8 QuantizeLinear/DequantizeLinear of a model as int8."""

    name = "lower.shift_unsigned"
    semantics = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Edits ``model`` in place."""
        graph = model.graph
        unsigned = [node for node in graph if _is_unsigned(node)]
        shifted: dict[ir.Value, ir.Value] = {}
        changes: list[Change] = []
        for node in unsigned:
            codes = _codes(node)
            array = constant_array(codes) if is_constant(codes) else None
            if array is None:
                codes.type = ir.TensorType(ir.DataType.INT8)
            else:
                if codes not in shifted:
                    shifted[codes] = _shifted(graph, f"{codes.name}_int8", array)
                node.replace_input_with(0, shifted[codes])
            node.resize_inputs(3)
            node.replace_input_with(2, _zero_point(graph, node, shifted))
            changes.append(Change("shift", str(codes.name), "uint8", "int8"))
        for value in [v for v in graph.initializers.values() if not v.uses()]:
            if value.dtype == ir.DataType.UINT8 and not value.is_graph_output():
                graph.initializers.pop(str(value.name))
        return outcome(model, changes)


def _codes(node: ir.Node) -> ir.Value:
    value = node.inputs[0] if node.op_type == "DequantizeLinear" else node.outputs[0]
    assert value is not None
    return value


def _is_unsigned(node: ir.Node) -> bool:
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        return False
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    if zero_point is not None:
        return zero_point.dtype == ir.DataType.UINT8
    # QuantizeLinear without a zero point makes uint8.
    return _codes(node).dtype in (ir.DataType.UINT8, None)


def _zero_point(graph: ir.Graph, node: ir.Node, shifted: dict[ir.Value, ir.Value]) -> ir.Value:
    """The int8 zero point for ``node``; where there was none, zero was meant."""
    old = node.inputs[2]
    if old is not None and old in shifted:
        return shifted[old]
    array = constant_array(old)
    if array is None:
        scale = constant_array(node.inputs[1])
        array = np.zeros(() if scale is None else scale.shape, np.uint8)
    stem = f"{_codes(node).name}_zero_point" if old is None else old.name
    new = _shifted(graph, f"{stem}_int8", array)
    if old is not None:
        shifted[old] = new
    return new


def _shifted(graph: ir.Graph, base: str, array: NDArray[Any]) -> ir.Value:
    """A new initializer with ``array - 128`` as int8."""
    return add_constant(graph, base, (array.astype(np.int16) - 128).astype(np.int8))
