"""uint8 activations and weights of a quantized file become int8: ``q - 128``, zero point - 128.

The real values do not change. Our integer kernels take int8 alone: mixed-sign 8-bit products
saturate on x86 CPUs without VNNI.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.passes.base import EXACT, Change, Outcome, Pass, outcome
from intaglio.passes.operators import constant_array, is_constant


class ShiftUnsigned(Pass):
    """Rewrites the uint8 QuantizeLinear/DequantizeLinear of a model as int8."""

    name = "lower.shift_unsigned"
    semantics = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Edits ``model`` in place."""
        changes: list[Change] = []
        graph = model.graph
        for node in graph:
            if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
                continue
            for index in (0, 2):
                value = node.inputs[index] if index < len(node.inputs) else None
                array = constant_array(value) if is_constant(value) else None
                if value is None or array is None or array.dtype != np.uint8:
                    continue
                node.replace_input_with(index, _shifted(graph, value, array))
                changes.append(Change("shift", str(value.name), "uint8", "int8"))
            result = node.outputs[0]
            if node.op_type == "QuantizeLinear" and result.dtype in (ir.DataType.UINT8, None):
                zero_point = node.inputs[2] if len(node.inputs) > 2 else None
                if zero_point is None:
                    scale = constant_array(node.inputs[1])
                    shape = () if scale is None else scale.shape
                    added = _constant(
                        graph, f"{result.name}_zero_point", np.full(shape, -128, np.int8)
                    )
                    node.resize_inputs(3)
                    node.replace_input_with(2, added)
                    changes.append(Change("shift", str(result.name), "uint8", "int8"))
                zero_point = node.inputs[2]
                if zero_point is not None and zero_point.dtype == ir.DataType.INT8:
                    result.type = ir.TensorType(ir.DataType.INT8)
            elif (
                node.op_type == "DequantizeLinear"
                and (len(node.inputs) < 3 or node.inputs[2] is None)
                and node.inputs[0] is not None
                and node.inputs[0].dtype == ir.DataType.INT8
                and any(c.node == str(node.inputs[0].name) for c in changes)
            ):
                added = _constant(
                    graph, f"{result.name}_zero_point", np.array(-128, np.int8)
                )
                node.resize_inputs(3)
                node.replace_input_with(2, added)
        for value in [v for v in graph.initializers.values() if not v.uses()]:
            if value.dtype == ir.DataType.UINT8 and not value.is_graph_output():
                graph.initializers.pop(str(value.name))
        return outcome(model, changes)


def _shifted(graph: ir.Graph, value: ir.Value, array: np.ndarray) -> ir.Value:  # type: ignore[type-arg]
    name = f"{value.name}_int8"
    if name in graph.initializers:
        return graph.initializers[name]
    return _constant(graph, name, (array.astype(np.int16) - 128).astype(np.int8))


def _constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:  # type: ignore[type-arg]
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value
