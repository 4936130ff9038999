"""Operators that only move values: SPLIT, PACK, CONCATENATION, TRANSPOSE, TILE and the like."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from intaglio.targets.tflite.operators import gathers, slices
from intaglio.targets.tflite.operators.arguments import (
    BIND,
    LARGEST_FOLD,
    as_int64,
    given,
    integers,
    moving,
    one_axis,
    only_axis,
    vector,
)
from intaglio.targets.tflite.scope import Operator, Reader, Scope, Tensor


def read_split(scope: Scope, operator: Operator) -> None:
    """SPLIT into parts of equal size."""
    data = given(operator, 1)
    axis = only_axis(scope, integers(scope, operator, 0, "axis"), len(scope.shape(data)))
    dim, count = scope.shape(data)[axis], len(operator.outputs)
    if isinstance(dim, int) and dim % count:
        raise scope.damaged(f"cuts {dim} elements into {count} equal parts")
    parts = [dim // count] * count if isinstance(dim, int) else None
    _split(scope, operator, data, axis, parts)


def read_split_v(scope: Scope, operator: Operator) -> None:
    """SPLIT_V into parts of stated sizes; one of them may be the rest (-1)."""
    data = operator.inputs[0]
    axis = only_axis(scope, integers(scope, operator, 2, "axis"), len(scope.shape(data)))
    parts = integers(scope, operator, 1, "sizes")
    dim = scope.shape(data)[axis]
    if -1 in parts:
        if not isinstance(dim, int):
            scope.refuse(operator, "one of its parts is the rest of an open dimension", BIND)
        parts[parts.index(-1)] = dim - sum(size for size in parts if size != -1)
    if min(parts, default=0) < 0 or (isinstance(dim, int) and sum(parts) != dim):
        raise scope.damaged(f"cuts {dim} elements into {parts}")
    _split(scope, operator, data, axis, parts)


def _split(
    scope: Scope, operator: Operator, data: Tensor | None, axis: int, parts: Sequence[int] | None
) -> None:
    count = len(operator.outputs)
    if parts is not None and len(parts) != count:
        raise scope.damaged(f"has {len(parts)} parts and {count} outputs")
    value = moving(scope, operator, data)
    results = [value]
    if count > 1:
        # Equal parts of an open dimension are counted, not sized.
        sizes = [] if parts is None else [vector(parts)]
        attributes = {"axis": axis, "num_outputs": count if parts is None else None}
        results = scope.node("Split", [value, *sizes], attributes, outputs=count)
    for tensor, result in zip(operator.outputs, results, strict=True):
        scope.give(tensor, result)


def read_pack(scope: Scope, operator: Operator) -> None:
    """PACK: Unsqueeze of each input, then Concat."""
    rank = len(scope.shape(operator.inputs[0]))
    axis = one_axis(scope, int(operator.options.axis), rank + 1)
    parts = [
        scope.node("Unsqueeze", [scope.value(tensor), vector([axis])]) for tensor in operator.inputs
    ]
    value = parts[0] if len(parts) == 1 else scope.node("Concat", parts, {"axis": axis})
    scope.give(operator.outputs[0], value)


def read_unpack(scope: Scope, operator: Operator) -> None:
    """UNPACK: one Gather of a single index for each output."""
    data = operator.inputs[0]
    dims = scope.shape(data)
    axis = one_axis(scope, int(operator.options.axis), len(dims))
    if isinstance(dims[axis], int) and dims[axis] != len(operator.outputs):
        raise scope.damaged(f"has {len(operator.outputs)} outputs for {dims[axis]} elements")
    value = moving(scope, operator, data)
    for index, tensor in enumerate(operator.outputs):
        place = np.array(index, np.int64)
        scope.give(tensor, scope.node("Gather", [value, place], {"axis": axis}))


def read_concatenation(scope: Scope, operator: Operator) -> None:
    """CONCATENATION with its fused activation.

    Inputs in another scale than the result's are requantized in uint8 alone: the other kernels
    copy integers.
    """
    rank = len(scope.shape(operator.inputs[0]))
    axis = one_axis(scope, int(operator.options.axis), rank)
    unsigned = operator.outputs[0].dtype == "uint8"
    values = [
        scope.value(tensor) if unsigned else moving(scope, operator, tensor)
        for tensor in operator.inputs
    ]
    value = values[0] if len(values) == 1 else scope.node("Concat", values, {"axis": axis})
    scope.give(operator.outputs[0], value, operator.options.fusedActivationFunction)


def read_transpose(scope: Scope, operator: Operator) -> None:
    """TRANSPOSE."""
    value = moving(scope, operator, operator.inputs[0])
    rank = len(scope.shape(value))
    order = [one_axis(scope, a, rank) for a in integers(scope, operator, 1, "permutation")]
    if sorted(order) != list(range(rank)):
        raise scope.damaged(f"has the permutation {order} for {rank} dimensions")
    if order != list(range(rank)):
        value = scope.node("Transpose", [value], {"perm": order})
    scope.give(operator.outputs[0], value)


def read_tile(scope: Scope, operator: Operator) -> None:
    """TILE."""
    value = moving(scope, operator, operator.inputs[0])
    inputs = [value, as_int64(scope, given(operator, 1))]
    scope.give(operator.outputs[0], scope.node("Tile", inputs))


def read_broadcast_to(scope: Scope, operator: Operator) -> None:
    """BROADCAST_TO."""
    inputs = [moving(scope, operator, operator.inputs[0]), as_int64(scope, given(operator, 1))]
    scope.give(operator.outputs[0], scope.node("Expand", inputs))


def read_fill(scope: Scope, operator: Operator) -> None:
    """FILL: a constant where its shape and its number are known."""
    dims, number = given(operator, 0), given(operator, 1)
    shape = as_int64(scope, dims)
    constant = scope.constant(number)
    if constant is not None and isinstance(shape, np.ndarray):
        _small(scope, operator, [int(d) for d in shape])
        filled = np.full([int(d) for d in shape], constant.reshape(-1)[0])
        scope.give_constant(operator.outputs[0], filled)
        return
    scope.give(operator.outputs[0], scope.node("Expand", [scope.value(number), shape]))


def read_zeros_like(scope: Scope, operator: Operator) -> None:
    """ZEROS_LIKE: a constant where the shape is known."""
    data, tensor = operator.inputs[0], operator.outputs[0]
    dims = scope.shape(data)
    known = [d for d in dims if isinstance(d, int)]
    kind = np.dtype("float32" if tensor.is_quantized else tensor.dtype)
    if len(known) == len(dims):
        _small(scope, operator, known)
        scope.give_constant(tensor, np.zeros(known, kind))
        return
    shape: ir.Value = scope.node("Shape", [scope.value(data)], dtype="int64")
    scope.give(tensor, scope.node("Expand", [np.zeros((), kind), shape]))


def read_range(scope: Scope, operator: Operator) -> None:
    """RANGE of known numbers; integers are folded before they come here."""
    numbers = [scope.constant(given(operator, index)) for index in range(3)]
    known = [n.reshape(-1)[0] for n in numbers if n is not None and n.size == 1]
    if len(known) < 3:
        scope.refuse(
            operator,
            "its bounds depend on data or on an open dimension",
            f"export the model with static shapes, or {BIND}",
        )
    start, limit, step = known
    if step == 0 or not np.all(np.isfinite(known)):
        raise scope.damaged(f"counts from {start} to {limit} in steps of {step}")
    count = max(0, math.ceil(abs((float(limit) - float(start)) / float(step))))
    if (limit - start) * step < 0:
        raise scope.damaged(f"counts from {start} to {limit} in steps of {step}")
    _small(scope, operator, [count])
    # The kernel adds the step again and again, in float32.
    steps = np.full(count, step, known[0].dtype)
    steps[:1] = start
    scope.give_constant(operator.outputs[0], np.add.accumulate(steps, dtype=steps.dtype))


def _small(scope: Scope, operator: Operator, dims: Sequence[int]) -> None:
    if math.prod(dims) > LARGEST_FOLD or min(dims, default=0) < 0:
        scope.refuse(operator, f"it makes a constant of shape {list(dims)}", "use a smaller one")


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "BROADCAST_TO": read_broadcast_to,
        "CONCATENATION": read_concatenation,
        "FILL": read_fill,
        "PACK": read_pack,
        "RANGE": read_range,
        "SPLIT": read_split,
        "SPLIT_V": read_split_v,
        "TILE": read_tile,
        "TRANSPOSE": read_transpose,
        "UNPACK": read_unpack,
        "ZEROS_LIKE": read_zeros_like,
        **gathers.READERS,
        **slices.READERS,
    }
)
