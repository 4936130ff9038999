"""Element type and shape of one new node's results, by ONNX's own inference.

Readers ask for sizes (padding SAME depends on them) while the graph is being built, and after open
dimensions were bound the shapes that the file states for inner tensors are no longer true.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import shape_inference

OPSET = 21

_ERRORS = (
    shape_inference.InferenceError,
    onnx.checker.ValidationError,
    RuntimeError,
    ValueError,
    TypeError,
)

# Constants larger than this are weights, not shapes: inference does not look into them.
_LARGEST_PARAMETER = 1024


def infer_node(node: ir.Node, dtype: str, shape: Sequence[int | str | None] | None) -> None:
    """Sets type and shape of the outputs of ``node``.

    Args:
        node: A node of the standard domain whose inputs have types.
        dtype: Element type where inference does not tell.
        shape: Dimensions where inference does not tell the rank.

    Raises:
        ValueError: The inputs do not fit the operator, or each other.
    """
    if _same_shape(node):
        return
    try:
        schema = onnx.defs.get_schema(node.op_type, OPSET, "")
    except onnx.defs.SchemaError as error:
        raise ValueError(f"opset {OPSET} has no {node.op_type}") from error
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for value in node.inputs:
        if value is None or value.name is None or value.type is None:
            continue
        types[value.name] = _type_proto(value)
        constant = value.const_value
        if constant is not None and constant.size <= _LARGEST_PARAMETER:
            data[value.name] = ir.serde.serialize_tensor(constant)
    try:
        found = shape_inference.infer_node_outputs(
            schema,
            ir.serde.serialize_node(node),
            types,
            data,
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=10,
        )
    except _ERRORS as error:
        raise ValueError(" ".join(str(error).split())) from error
    for output in node.outputs:
        output.type = ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
        output.shape = None if shape is None else ir.Shape(list(shape))
        kind = found.get(str(output.name))
        if kind is not None:
            set_type(output, kind)


def set_type(value: ir.Value, kind: onnx.TypeProto) -> None:
    """Gives ``value`` the element type and the dimensions that ``kind`` knows."""
    tensor = kind.tensor_type
    if tensor.elem_type:
        value.type = ir.TensorType(ir.DataType(tensor.elem_type))
    if tensor.HasField("shape"):
        value.shape = ir.Shape([_dimension(dim) for dim in tensor.shape.dim])


def _same_shape(node: ir.Node) -> bool:
    """Infers the most frequent operators without a detour; says whether it could."""
    source = node.inputs[0] if node.inputs else None
    if source is None or source.type is None:
        return False
    if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.inputs) == 3:
        of = node.inputs[2 if node.op_type == "QuantizeLinear" else 1]
        dtype = None if of is None else of.dtype
    elif node.op_type in ("Relu", "Clip"):
        dtype = source.dtype
    else:
        return False
    if dtype is None:
        return False
    [output] = node.outputs
    output.type = ir.TensorType(dtype)
    output.shape = None if source.shape is None else source.shape.copy()
    return True


def _type_proto(value: ir.Value) -> onnx.TypeProto:
    dims = None
    if value.shape is not None:
        dims = [d if isinstance(d, int) else d.value for d in value.shape]
    number = int(value.dtype) if value.dtype is not None else 0
    return onnx.helper.make_tensor_type_proto(number, dims)


def _dimension(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None
