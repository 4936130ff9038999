"""Operators on integers that are computed while a file is read: arithmetic on shapes.

Each entry of :data:`FOLDS` takes the operator and its inputs as arrays and gives its outputs.
Integers behave as in TensorFlow Lite's kernels: sums wrap, DIV truncates, FLOOR_DIV does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.tflite.operators.arguments import LARGEST_FOLD, cut
from intaglio.targets.tflite.operators.slices import plan_slice, plan_strided_slice
from intaglio.targets.tflite.scope import RELU, RELU6, RELU_N1_TO_1, Operator, Scope

Array: TypeAlias = NDArray[Any]
Folding: TypeAlias = Callable[[Scope, Operator, Sequence[Array]], Sequence[Array]]

_BOUNDS = {RELU: (0, None), RELU6: (0, 6), RELU_N1_TO_1: (-1, 1)}


def _checked(count: int) -> None:
    if count > LARGEST_FOLD:
        raise ValueError(f"{count} elements are too many")


def _broadcast(arrays: Sequence[Array]) -> list[Array]:
    _checked(math.prod(np.broadcast_shapes(*(a.shape for a in arrays))))
    return [np.asarray(a) for a in np.broadcast_arrays(*arrays)]


def _elementwise(function: Callable[..., Any]) -> Folding:
    def folding(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
        result = np.asarray(function(*_broadcast(inputs)))
        activation = getattr(operator.options, "fusedActivationFunction", 0)
        if activation:
            if activation not in _BOUNDS:
                raise ValueError(f"no activation {activation} on integers")
            result = np.clip(result, *_BOUNDS[activation])
        return [result]

    return folding


def _reduction(function: Callable[..., Any]) -> Folding:
    def folding(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
        data, axes = inputs
        listed = tuple(sorted({int(a) % max(data.ndim, 1) for a in axes.reshape(-1)}))
        keep = bool(operator.options.keepDims)
        if data.ndim == 0:
            return [data]
        return [function(data, axis=listed, keepdims=keep, dtype=data.dtype)]

    return folding


def _extreme(function: Callable[..., Any]) -> Folding:
    return _reduction(
        lambda data, axis, keepdims, dtype: function(data, axis=axis, keepdims=keepdims)
    )


def _not_zero(divisor: Array) -> None:
    if not np.all(divisor):
        raise ValueError("division by zero")


def _divide(first: Array, second: Array) -> Array:
    _not_zero(second)
    quotient = np.abs(first) // np.abs(second)
    return np.asarray(np.where((first < 0) != (second < 0), -quotient, quotient))


def _floor_divide(first: Array, second: Array) -> Array:
    _not_zero(second)
    return np.asarray(first // second)


def _floor_modulo(first: Array, second: Array) -> Array:
    _not_zero(second)
    return np.asarray(first % second)


def _reshape(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    if len(inputs) > 1 and inputs[1].ndim == 1:
        shape = [int(d) for d in inputs[1]]
    else:
        stated = operator.options.newShape
        shape = [] if stated is None else [int(d) for d in stated]
        shape = [] if shape == [0] else shape
    return [inputs[0].reshape(shape)]


def _squeeze(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    stated = operator.options.squeezeDims
    axes = None if stated is None or len(stated) == 0 else tuple(int(a) for a in stated)
    return [np.squeeze(inputs[0], axes)]


def _expand_dims(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    return [np.expand_dims(inputs[0], int(inputs[1].reshape(-1)[0]))]


def _strided_slice(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    data, begin, end, strides = inputs
    bounds = ([int(n) for n in v.reshape(-1)] for v in (begin, end, strides))
    plan = plan_strided_slice(scope, operator, data.shape, *bounds)
    found = cut(data, plan.axes, plan.starts, plan.ends, plan.steps)
    found = np.squeeze(found, tuple(plan.dropped)) if plan.dropped else found
    return [np.expand_dims(found, tuple(plan.added)) if plan.added else found]


def _slice(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    data, begin, size = inputs
    first, count = ([int(n) for n in v.reshape(-1)] for v in (begin, size))
    if not len(first) == len(count) == data.ndim:
        raise ValueError("another number of dimensions")
    plan = plan_slice(scope, data.shape, first, count)
    return [cut(data, plan.axes, plan.starts, plan.ends, plan.steps)]


def _pack(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    return [np.stack(list(inputs), int(operator.options.axis))]


def _unpack(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    return list(np.moveaxis(inputs[0], int(operator.options.axis), 0))


def _concatenate(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    return [np.concatenate(list(inputs), int(operator.options.axis))]


def _gather(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    data, places = inputs
    axis, batch = int(operator.options.axis), int(operator.options.batchDims)
    if batch:
        raise ValueError("batch_dims on constants")
    _checked(places.size * math.prod(data.shape) // max(1, data.shape[axis]))
    return [np.take(data, places, axis)]


def _split(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    axis, data = inputs
    return np.split(data, len(operator.outputs), int(axis.reshape(-1)[0]))


def _split_v(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    data, counts, axis = inputs
    place = int(axis.reshape(-1)[0])
    parts = [int(n) for n in counts.reshape(-1)]
    if -1 in parts:
        parts[parts.index(-1)] = data.shape[place] - sum(n for n in parts if n != -1)
    if sum(parts) != data.shape[place] or min(parts) < 0:
        raise ValueError(f"parts of {parts} elements")
    return np.split(data, np.cumsum(parts)[:-1], place)


def _transpose(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    return [np.transpose(inputs[0], [int(a) for a in inputs[1]])]


def _tile(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    counts = [int(n) for n in inputs[1].reshape(-1)]
    if min(counts, default=0) < 0 or len(counts) != inputs[0].ndim:
        raise ValueError(f"repeats of {counts}")
    _checked(inputs[0].size * math.prod(counts))
    return [np.tile(inputs[0], counts)]


def _broadcast_to(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    shape = tuple(int(n) for n in inputs[1].reshape(-1))
    _checked(math.prod(shape))
    return [np.array(np.broadcast_to(inputs[0], shape))]


def _fill(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    shape = tuple(int(n) for n in inputs[0].reshape(-1))
    _checked(math.prod(shape))
    return [np.full(shape, inputs[1].reshape(-1)[0])]


def _range(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    start, limit, step = (int(v.reshape(-1)[0]) for v in inputs)
    _not_zero(np.array(step))
    _checked(max(0, math.ceil((limit - start) / step)))
    return [np.arange(start, limit, step)]


def _zeros_like(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    return [np.zeros_like(inputs[0])]


def _cast(scope: Scope, operator: Operator, inputs: Sequence[Array]) -> Sequence[Array]:
    return [inputs[0].astype(operator.outputs[0].dtype)]


#: How each operator is folded, by builtin name.
FOLDS: Mapping[str, Folding] = MappingProxyType(
    {
        "ABS": _elementwise(np.abs),
        "ADD": _elementwise(np.add),
        "BROADCAST_TO": _broadcast_to,
        "CAST": _cast,
        "CONCATENATION": _concatenate,
        "DIV": _elementwise(_divide),
        "EQUAL": _elementwise(np.equal),
        "EXPAND_DIMS": _expand_dims,
        "FILL": _fill,
        "FLOOR_DIV": _elementwise(_floor_divide),
        "FLOOR_MOD": _elementwise(_floor_modulo),
        "GATHER": _gather,
        "GREATER": _elementwise(np.greater),
        "GREATER_EQUAL": _elementwise(np.greater_equal),
        "LESS": _elementwise(np.less),
        "LESS_EQUAL": _elementwise(np.less_equal),
        "LOGICAL_AND": _elementwise(np.logical_and),
        "LOGICAL_NOT": _elementwise(np.logical_not),
        "LOGICAL_OR": _elementwise(np.logical_or),
        "MAXIMUM": _elementwise(np.maximum),
        "MINIMUM": _elementwise(np.minimum),
        "MUL": _elementwise(np.multiply),
        "NEG": _elementwise(np.negative),
        "NOT_EQUAL": _elementwise(np.not_equal),
        "PACK": _pack,
        "RANGE": _range,
        "REDUCE_MAX": _extreme(np.max),
        "REDUCE_MIN": _extreme(np.min),
        "REDUCE_PROD": _reduction(np.prod),
        "RESHAPE": _reshape,
        "SELECT": _elementwise(np.where),
        "SELECT_V2": _elementwise(np.where),
        "SLICE": _slice,
        "SPLIT": _split,
        "SPLIT_V": _split_v,
        "SQUEEZE": _squeeze,
        "STRIDED_SLICE": _strided_slice,
        "SUB": _elementwise(np.subtract),
        "SUM": _reduction(np.sum),
        "TILE": _tile,
        "TRANSPOSE": _transpose,
        "UNPACK": _unpack,
        "ZEROS_LIKE": _zeros_like,
    }
)
