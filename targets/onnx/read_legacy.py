"""What files from before IR 3 / opset 7 need before the ordinary upgrade can take them.

* Attributes without a type (IR 1): the type follows from the field that is set.
* No opset import (IR 1): everything is opset 1. IR versions before 4 become 4.
* Broadcasting by attribute (until opset 6): ``Add(A, B, broadcast=1, axis=k)`` lines B's first
  dimension up with A's dimension k. Since opset 7 dimensions line up at the end, so B gets ones
  appended: shape ``[C]`` with axis 1 of a 4-D A becomes ``[C, 1, 1]``. ONNX Changelog, Add-1 and
  Add-7.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper, numpy_helper, shape_inference

from intaglio.errors import Refusal, UnsupportedError
from intaglio.targets.onnx.read_structure import label

_BROADCASTING = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")
_FIELDS = (("f", "FLOAT"), ("i", "INT"), ("s", "STRING"), ("t", "TENSOR"), ("g", "GRAPH"))
_LISTS = (("floats", "FLOATS"), ("ints", "INTS"), ("strings", "STRINGS"), ("tensors", "TENSORS"))


def complete_legacy(model: onnx.ModelProto) -> None:
    """Brings a file of the oldest kinds to the form of opset 7 where it differs in kind.

    Raises:
        UnsupportedError: A broadcast whose meaning cannot be told from the file.
    """
    for node in model.graph.node:
        for attribute in node.attribute:
            _set_type(attribute)
    if not model.opset_import:
        model.opset_import.append(helper.make_opsetid("", 1))
    # IR 4 is the first in which initializers need not be inputs, which they are no longer.
    model.ir_version = min(max(model.ir_version, 4), onnx.IR_VERSION)
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if version is not None and version < 7:
        _align_broadcasts(model)


def _set_type(attribute: onnx.AttributeProto) -> None:
    if attribute.type or attribute.ref_attr_name:
        return
    for field, kind in _FIELDS:
        if attribute.HasField(field):
            attribute.type = getattr(onnx.AttributeProto, kind)
            return
    for field, kind in _LISTS:
        if len(getattr(attribute, field)):
            attribute.type = getattr(onnx.AttributeProto, kind)
            return


def _align_broadcasts(model: onnx.ModelProto) -> None:
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    types: dict[str, onnx.TypeProto] = {value.name: value.type for value in graph.input}
    for tensor in graph.initializer:
        types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    refusals: list[Refusal] = []
    for node in graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type in _BROADCASTING and attributes.get("broadcast"):
            reason = _align(graph, node, attributes, constants, types)
            if reason:
                refusals.append(
                    Refusal(label(node), node.op_type, reason, "export with opset 11 or later")
                )
            kept = [a for a in node.attribute if a.name not in ("broadcast", "axis")]
            del node.attribute[:]
            node.attribute.extend(kept)
        _infer(node, attributes, types)
    # The converter's own adapters ask for shapes, which the schemas of that time do not infer.
    del graph.value_info[:]
    for node in graph.node:
        for name in node.output:
            if name in types:
                graph.value_info.append(helper.make_value_info(name, types[name]))
    if refusals:
        raise UnsupportedError("the model's broadcasting is of a form before opset 7", refusals)


def _align(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    attributes: Mapping[str, object],
    constants: dict[str, onnx.TensorProto],
    types: dict[str, onnx.TypeProto],
) -> str | None:
    """Gives the second input trailing ones; returns the reason when it cannot."""
    axis = attributes.get("axis")
    if not isinstance(axis, int):
        return None  # suffix matching, the meaning it still has
    left, right = (types.get(name) for name in node.input[:2])
    if left is None or right is None or not left.tensor_type.HasField("shape"):
        return "the ranks of its inputs are not known"
    rank, own = len(left.tensor_type.shape.dim), len(right.tensor_type.shape.dim)
    trailing = rank - (axis % rank) - own
    if trailing == 0:
        return None
    if trailing < 0 or node.input[1] not in constants:
        return "it broadcasts a computed tensor along a middle axis"
    tensor = constants[node.input[1]]
    array = numpy_helper.to_array(tensor)
    name = f"{tensor.name}_axis{axis}_rank{rank}"
    if name not in constants:
        aligned = numpy_helper.from_array(array.reshape(array.shape + (1,) * trailing), name)
        graph.initializer.append(aligned)
        constants[name] = aligned
        types[name] = helper.make_tensor_type_proto(aligned.data_type, list(aligned.dims))
    node.input[1] = name
    return None


def _infer(
    node: onnx.NodeProto, attributes: Mapping[str, object], types: dict[str, onnx.TypeProto]
) -> None:
    """Types of the outputs, by the schema of opset 8; unknown ones stay unknown."""
    shape = attributes.get("shape")
    if node.op_type == "Reshape" and isinstance(shape, list):
        source = types.get(node.input[0])
        kind = source.tensor_type.elem_type if source else onnx.TensorProto.FLOAT
        dims = [dim if dim > 0 else None for dim in shape]
        types[node.output[0]] = helper.make_tensor_type_proto(kind, dims)
        return
    try:
        schema = onnx.defs.get_schema(node.op_type, 8, "")
        known = {name: types[name] for name in node.input if name in types}
        found = shape_inference.infer_node_outputs(
            schema, node, known, opset_imports=[helper.make_opsetid("", 8)]
        )
    except Exception:
        return  # whatever it cannot infer, among it a damaged node; the checker tells later
    types.update(found)
