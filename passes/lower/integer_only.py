"""The post-condition of an integer graph: no float tensor anywhere, with the names if there is."""

from __future__ import annotations

import onnx
import onnx.inliner
import onnx_ir as ir

_FLOATS = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
    }
)


def find_float_tensors(model: ir.Model, *, border: bool = False) -> list[tuple[str, str]]:
    """Float tensors of an integer model, functions included.

    The functions are inlined and types inferred, so a float inside a function's body is found,
    and a tensor whose type cannot be inferred counts as one.

    Args:
        model: The model.
        border: Allow float inputs and outputs with QuantizeLinear/DequantizeLinear at them.

    Returns:
        Pairs of tensor name and the node that makes it.
    """
    proto = onnx.inliner.inline_local_functions(ir.to_proto(model))
    proto = onnx.shape_inference.infer_shapes(proto, check_type=True)
    graph = proto.graph
    types = {i.name: i.data_type for i in graph.initializer}
    for info in [*graph.input, *graph.output, *graph.value_info]:
        types[info.name] = info.type.tensor_type.elem_type
    allowed: set[str] = set()
    if border:
        outputs = {o.name for o in graph.output}
        read = {name for node in graph.node for name in node.input}
        # An input that nothing reads, or that is passed on as it came.
        allowed.update(i.name for i in graph.input if i.name not in read)
        for node in graph.node:
            if node.op_type == "QuantizeLinear" and node.input[0] in {i.name for i in graph.input}:
                allowed.update(node.input[:2])
            if node.op_type == "DequantizeLinear" and node.output[0] in outputs:
                allowed.update((node.input[1], node.output[0]))
    makers = {name: f"{n.op_type} '{n.name}'" for n in graph.node for name in n.output}
    names = [i.name for i in graph.input] + [i.name for i in graph.initializer]
    names += [name for node in graph.node for name in node.output if name]
    return [
        (name, makers.get(name, "input or initializer"))
        for name in names
        if name not in allowed and types.get(name, 0) in (_FLOATS | {0})
    ]
