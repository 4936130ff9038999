"""Shapes: binding symbolic dimensions, and inference that leaves no value without a rank.

A dimension of an input may be a number or a symbol (``N``, ``height``). ``--shape`` gives the
numbers; a symbol that several inputs share is bound in all of them. What is not bound stays
symbolic, under a name of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import shape_inference

from intaglio.errors import InputError, RecipeError, Refusal, UnsupportedError
from intaglio.targets.onnx.read_structure import label
from intaglio.targets.onnx.read_upgrade import first_line, without_weights

_MAX_DIMENSION = 2**31 - 1

# Elements of an input that is a vector, up to which its contents are followed by inference.
_LARGEST_VECTOR = 1 << 16


def bind_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Binds dimensions of the inputs, in place, and names those that have no name.

    Args:
        model: The model, its inputs without initializers.
        shapes: Dimensions by input name.

    Raises:
        RecipeError: An unknown input, a wrong rank, a dimension below 1, or one that contradicts
            the file or another binding.
        UnsupportedError: The rank of an input is neither in the file nor given.
    """
    inputs = {value.name: value for value in model.graph.input}
    bound: dict[str, int] = {}
    for name, dims in shapes.items():
        if name not in inputs:
            raise RecipeError(
                f"the model has no input '{name}' to give a shape",
                remedy=f"its inputs are {', '.join(inputs)}",
            )
        _bind_input(inputs[name], list(dims), bound)
    refusals = [
        Refusal(value.name, "input", "its rank is not in the file", "give it with --shape")
        for value in model.graph.input
        if not value.type.tensor_type.HasField("shape")
    ]
    if refusals:
        raise UnsupportedError("the shapes of some inputs are not known", refusals)
    for value in model.graph.input:
        tensor = value.type.tensor_type
        for axis, dim in enumerate(tensor.shape.dim):
            if dim.dim_param in bound:
                dim.dim_value = bound[dim.dim_param]
            elif dim.HasField("dim_value") and dim.dim_value < 1:
                dim.dim_param = f"{value.name}_{axis}"  # old exporters write 0 or -1 for "any"
            elif not dim.HasField("dim_value") and not dim.dim_param:
                dim.dim_param = f"{value.name}_{axis}"


def _bind_input(value: onnx.ValueInfoProto, dims: list[int], bound: dict[str, int]) -> None:
    shown = "x".join(map(str, dims))
    if any(not 1 <= dim <= _MAX_DIMENSION for dim in dims):
        raise RecipeError(
            f"shape {shown} of input '{value.name}' has a dimension that is not positive",
            remedy="give every dimension as a number of at least 1",
        )
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        for dim in dims:
            tensor.shape.dim.add().dim_value = dim
        return
    if len(tensor.shape.dim) != len(dims):
        raise RecipeError(
            f"input '{value.name}' has {len(tensor.shape.dim)} dimensions, "
            f"shape {shown} has {len(dims)}",
            remedy=f"its shape in the file is {_shown(tensor.shape)}",
        )
    in_file = _shown(tensor.shape)
    for dim, wanted in zip(tensor.shape.dim, dims, strict=True):
        fixed = dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
        if dim.dim_param:
            fixed = bound.setdefault(dim.dim_param, wanted)
        if fixed is not None and fixed != wanted:
            raise RecipeError(
                f"input '{value.name}' cannot have shape {shown}: "
                f"{dim.dim_param or 'a dimension'} is {fixed}",
                remedy=f"its shape in the file is {in_file}",
            )
        dim.dim_value = wanted


def _shown(shape: onnx.TensorShapeProto) -> str:
    dims = (d.dim_param or (str(d.dim_value) if d.dim_value > 0 else "?") for d in shape.dim)
    return "x".join(dims)


def _has_small_vectors(graph: onnx.GraphProto) -> bool:
    """Whether following the contents of vectors costs little: onnx keeps an object an element."""
    return all(
        value.type.tensor_type.shape.dim[0].dim_value <= _LARGEST_VECTOR
        for value in graph.input
        if len(value.type.tensor_type.shape.dim) == 1
    )


def infer_shapes(model: onnx.ModelProto, path: str) -> None:
    """Infers element type and shape of every value, in place.

    What the file says about inner values is dropped first: after binding it may be stale, and
    exporters are often wrong about it. Declared output shapes stay where inference knows less.

    Args:
        model: A model in opset 21 with bound inputs.
        path: File name for messages.

    Raises:
        InputError: Shapes or types contradict each other.
        UnsupportedError: A value's element type or rank cannot be told.
    """
    graph = model.graph
    del graph.value_info[:]
    declared = _forget_outputs(graph)
    with without_weights(model):
        try:
            inferred = shape_inference.infer_shapes(
                model, check_type=True, strict_mode=True, data_prop=_has_small_vectors(graph)
            )
        except Exception as error:  # InferenceError, or a plain C++ assertion
            raise InputError(
                f"shapes in {path} do not fit together: {first_line(error)}",
                remedy="check --shape, or export the model again",
            ) from error
    graph.value_info.extend(inferred.graph.value_info)
    for value, found in zip(graph.output, inferred.graph.output, strict=True):
        value.type.CopyFrom(found.type)
        if not value.type.tensor_type.HasField("shape") and value.name in declared:
            value.type.tensor_type.shape.CopyFrom(declared[value.name])
    _require_ranks(graph)


def _forget_outputs(graph: onnx.GraphProto) -> dict[str, onnx.TensorShapeProto]:
    declared: dict[str, onnx.TensorShapeProto] = {}
    for value in graph.output:
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            declared[value.name] = onnx.TensorShapeProto()
            for dim in tensor.shape.dim:
                copy = declared[value.name].dim.add()
                if dim.dim_value > 0:
                    copy.dim_value = dim.dim_value
                elif dim.dim_param:
                    copy.dim_param = dim.dim_param
        tensor.ClearField("shape")
    return declared


def _require_ranks(graph: onnx.GraphProto) -> None:
    known = {
        value.name
        for value in [*graph.input, *graph.output, *graph.value_info]
        if value.type.tensor_type.elem_type and value.type.tensor_type.HasField("shape")
    } | {tensor.name for tensor in graph.initializer}
    refusals = [
        Refusal(
            label(node),
            node.op_type,
            f"the rank of its output '{name}' cannot be told",
            "fix the input shapes with --shape",
        )
        for node in graph.node
        for name in node.output
        if name and name not in known
    ]
    if refusals:
        raise UnsupportedError("some shapes depend on what is not known", refusals)
