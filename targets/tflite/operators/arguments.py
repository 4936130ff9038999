"""Arguments of operators: constants that a file keeps in tensors, axes, sizes.

TFLite keeps begins, sizes, axes and shapes in tensors. ONNX does, too, but a reader has to know
most of them; what is only known while the model runs is refused with a remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.targets.tflite.graph import Parameters
from intaglio.targets.tflite.scope import Operator, Scope, Tensor

#: An element of a vector of sizes: its number, the name of an open dimension, or None (computed).
Size: TypeAlias = "int | str | None"

#: The most elements that a folded constant may have.
LARGEST_FOLD = 1 << 24

#: The remedy where an open dimension must be a number.
BIND = "bind open dimensions with --shape NAME=1,96,96,3"

_STATIC = f"export the model with a static shape, or {BIND}"
# A vector of sizes has few elements, and few operators compute it.
_LONGEST = 4096
_DEEPEST = 100


def vector(numbers: Iterable[int]) -> NDArray[np.int64]:
    """An int64 array of one dimension, as ONNX takes axes, shapes and pads."""
    return np.array(list(numbers), np.int64)


def given(operator: Operator, index: int) -> Tensor | None:
    """Input ``index``, None where it is left out."""
    return operator.inputs[index] if index < len(operator.inputs) else None


def integers(scope: Scope, operator: Operator, index: int, what: str) -> list[int]:
    """The numbers of input ``index``, which must be known.

    Args:
        scope: Where they are looked up.
        operator: Whose input it is.
        index: Which input.
        what: What it is, for the message (``paddings``).

    Raises:
        InputError: It is left out.
        UnsupportedError: It is computed from data.
    """
    numbers = sizes(scope, given(operator, index))
    if any(not isinstance(n, int) for n in numbers):
        scope.refuse(operator, f"its {what} depend on data or on an open dimension", _STATIC)
    return [n for n in numbers if isinstance(n, int)]


def sizes(scope: Scope, tensor: Tensor | None) -> list[Size]:
    """The elements of an integer tensor as far as they are known, flat.

    Raises:
        InputError: It is left out or holds no integers.
    """
    array = known_elements(scope, tensor)
    if array is None:
        shape = scope.shape(tensor)
        count = int(np.prod([d for d in shape if isinstance(d, int)])) if shape else 1
        return [None] * min(count, _LONGEST)
    return list(array.reshape(-1))


def known_integers(scope: Scope, tensor: Tensor | None) -> NDArray[Any] | None:
    """The elements of an integer or bool tensor if all are known, in its shape and dtype."""
    if tensor is None or tensor.is_quantized or tensor.dtype.startswith("float"):
        return None
    constant = scope.constant(tensor)
    if constant is not None:
        return constant.astype(tensor.dtype)
    array = known_elements(scope, tensor)
    if array is None or any(not isinstance(n, int) for n in array.reshape(-1)):
        return None
    return array.astype(tensor.dtype)


def known_elements(scope: Scope, tensor: Tensor | None) -> NDArray[np.object_] | None:
    """The elements of an integer tensor, each a :data:`Size`; None where nothing is known.

    Raises:
        InputError: It is left out or holds no integers.
    """
    constant = scope.constant(tensor)
    if constant is None:
        if tensor is not None and 0 in tensor.shape and scope.producer(tensor) is None:
            # A constant without elements has no data in the file.
            return np.empty(tensor.shape, object)
        return trace(scope.value(tensor))
    if constant.dtype.kind not in "iub":
        raise scope.damaged("has real numbers where integers belong")
    if constant.size > _LONGEST:
        raise scope.damaged(f"has {constant.size} numbers where a few belong")
    return _objects(constant)


def trace(value: ir.Value) -> NDArray[np.object_] | None:
    """What is known of a small integer tensor that the new graph computes from shapes.

    Open dimensions keep their names, so that ``Reshape(x, [Shape(x)[0], -1])`` can be read as
    "keep the first dimension".
    """
    return _trace(value, {}, 0)


def _trace(
    value: ir.Value | None, seen: dict[ir.Value, NDArray[np.object_] | None], depth: int
) -> NDArray[np.object_] | None:
    if value is None or depth > _DEEPEST:
        return None
    if value in seen:
        return seen[value]
    found: NDArray[np.object_] | None = None
    constant, node = value.const_value, value.producer()
    if constant is not None:
        if constant.size <= _LONGEST and constant.dtype.is_integer():
            found = _objects(constant.numpy())
    elif node is not None and node.op_type == "Shape" and node.inputs[0] is not None:
        shape = node.inputs[0].shape
        if shape is not None:
            found = _objects([d if isinstance(d, int) else d.value for d in shape])
    elif node is not None and node.op_type in _TRACED:
        inputs = [_trace(v, seen, depth + 1) for v in node.inputs]
        known = [v for v in inputs if v is not None]
        if len(known) == len(inputs):
            found = _TRACED[node.op_type](node, known)
    seen[value] = found
    return found


def _objects(numbers: Any) -> NDArray[np.object_]:
    array = np.asarray(numbers)
    if array.dtype.kind in "iub":
        array = array.astype(np.int64)
    found = np.empty(array.shape, object)
    for place, number in np.ndenumerate(array):
        found[place] = int(number) if isinstance(number, (int, np.integer)) else number
    return found


def _numbers(array: NDArray[np.object_]) -> list[int] | None:
    flat = list(array.reshape(-1))
    return [int(n) for n in flat] if all(isinstance(n, int) for n in flat) else None


def _trace_slice(_: ir.Node, inputs: Sequence[NDArray[np.object_]]) -> NDArray[np.object_] | None:
    data, parameters = inputs[0], [_numbers(v) for v in inputs[1:]]
    if len(parameters) < 4 or any(p is None for p in parameters):
        return None
    starts, ends, axes, steps = (p or [] for p in parameters)
    return cut(data, axes, starts, ends, steps)


def cut(
    data: NDArray[Any],
    axes: Sequence[int],
    starts: Sequence[int],
    ends: Sequence[int],
    steps: Sequence[int],
) -> NDArray[Any]:
    """What ONNX's Slice makes of ``data``: an end before the first element is one, too."""
    index: list[slice] = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        before = step < 0 and end < -data.shape[axis]
        index[axis] = slice(start, None if before else end, step)
    return data[tuple(index)]


def _trace_reshape(
    node: ir.Node, inputs: Sequence[NDArray[np.object_]]
) -> NDArray[np.object_] | None:
    shape = node.outputs[0].shape
    if shape is None or not all(isinstance(d, int) for d in shape):
        return None
    return inputs[0].reshape([int(d) for d in shape if isinstance(d, int)])


def _trace_concat(node: ir.Node, inputs: Sequence[NDArray[np.object_]]) -> NDArray[np.object_]:
    return np.concatenate(list(inputs), node.attributes["axis"].as_int())


def _trace_gather(
    node: ir.Node, inputs: Sequence[NDArray[np.object_]]
) -> NDArray[np.object_] | None:
    indices = _numbers(inputs[1])
    axis = node.attributes.get_int("axis", 0)
    if indices is None:
        return None
    places = np.array(indices, np.int64).reshape(inputs[1].shape)
    return np.asarray(np.take(inputs[0], places, axis), object)


_TRACED: Mapping[
    str, Callable[[ir.Node, Sequence[NDArray[np.object_]]], NDArray[np.object_] | None]
] = {
    "Cast": lambda node, inputs: inputs[0],
    "Concat": _trace_concat,
    "Gather": _trace_gather,
    "Identity": lambda node, inputs: inputs[0],
    "Reshape": _trace_reshape,
    "Slice": _trace_slice,
    "Squeeze": _trace_reshape,
    "Unsqueeze": _trace_reshape,
}


def as_int64(scope: Scope, tensor: Tensor | None) -> ir.Value | NDArray[np.int64]:
    """An integer tensor as int64, which ONNX wants for shapes: a constant where it is known."""
    array = known_integers(scope, tensor)
    if array is not None:
        return array.astype(np.int64)
    value = scope.value(tensor)
    if any(isinstance(d, int) and d > _LONGEST for d in scope.shape(value)):
        raise scope.damaged(f"has a shape of {list(scope.shape(value))} sizes")
    return cast(scope, value, "int64")


def cast(scope: Scope, value: ir.Value, dtype: str) -> ir.Value:
    """``value`` with elements of ``dtype`` (a numpy name), itself where it has them already."""
    kind = ir.DataType.from_numpy(np.dtype(dtype))
    if value.dtype == kind:
        return value
    found: ir.Value = scope.node("Cast", [value], {"to": int(kind)}, dtype=dtype)
    return found


def static_dims(scope: Scope, operator: Operator, value: ir.Value, what: str) -> list[int]:
    """All dimensions of ``value``, which must be numbers.

    Args:
        scope: Where they are looked up.
        operator: Who needs them.
        value: The tensor.
        what: What needs them, for the message.

    Raises:
        UnsupportedError: One is open or unknown.
    """
    dims = scope.shape(value)
    if any(not isinstance(d, int) for d in dims):
        scope.refuse(operator, f"{what} needs static dimensions, not {list(dims)}", _STATIC)
    return [d for d in dims if isinstance(d, int)]


def one_axis(scope: Scope, axis: int, rank: int) -> int:
    """``axis`` counted from the front.

    Raises:
        InputError: It is none of ``rank`` axes.
    """
    if not -rank <= axis < rank:
        raise scope.damaged(f"has axis {axis} for a tensor of {rank} dimensions")
    return axis % rank


def only_axis(scope: Scope, axes: Sequence[int], rank: int) -> int:
    """Like :func:`one_axis`, for a list that must have one element.

    Raises:
        InputError: It has none or several, or the axis is none of ``rank`` axes.
    """
    if len(axes) != 1:
        raise scope.damaged(f"has {len(axes)} axes, not one")
    return one_axis(scope, axes[0], rank)


def moving(scope: Scope, operator: Operator, tensor: Tensor | None) -> ir.Value:
    """The real numbers of a tensor whose integers an operator only moves.

    Kernels that move integers do not look at scales. Where a file states other ones for the result
    than for the tensor, the integers are read with those of the result: they stay what they are,
    and what they mean changes, as it does in the runtimes.

    Args:
        scope: Where the graph is built.
        operator: The operator; its first output says what the integers mean.
        tensor: The tensor that it moves.
    """
    value = scope.value(tensor)
    output, before = operator.outputs[0], scope.graph.meaning(value)
    if tensor is None or before is None or before.axis is not None:
        return value
    if output.scale is None or output.zero_point is None or output.axis is not None:
        return value
    scale = np.asarray(output.scale.reshape(-1)[0], np.float32)
    zero_point = np.asarray(output.zero_point.reshape(-1)[0]).astype(output.dtype)
    if output.dtype != tensor.dtype or before.same(Parameters(scale, zero_point)):
        return value
    codes: ir.Value | NDArray[Any] | None = tensor.data
    if codes is None:
        codes = scope.graph.quantize(value, before, tensor.name)
    return scope.dequantized(codes, scale, zero_point, None, tensor.name)
