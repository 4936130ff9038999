"""GATHER, GATHER_ND and EMBEDDING_LOOKUP.

ONNX has no Gather with batch dimensions. They are folded into the axis that is gathered from:
``y[b, i] = x[b, index[b, i]]`` takes element ``b * n + index[b, i]`` of ``x`` reshaped to
``[B * n]``. So a quantized table stays a move of integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.targets.tflite.operators.arguments import (
    LARGEST_FOLD,
    cast,
    given,
    known_integers,
    moving,
    one_axis,
    static_dims,
    vector,
)
from intaglio.targets.tflite.scope import Operator, Reader, Scope, Tensor


def read_gather(scope: Scope, operator: Operator) -> None:
    """GATHER along one axis, with or without batch dimensions."""
    data, places = operator.inputs[0], given(operator, 1)
    rank, places_rank = len(scope.shape(data)), len(scope.shape(places))
    axis = one_axis(scope, int(operator.options.axis), rank)
    batch = int(operator.options.batchDims)
    batch += places_rank if batch < 0 else 0
    if not 0 <= batch <= min(axis, places_rank):
        raise scope.damaged(f"has {batch} batch dimensions and axis {axis}")
    if batch == 0:
        inputs = [moving(scope, operator, data), _places(scope, places)]
        scope.give(operator.outputs[0], scope.node("Gather", inputs, {"axis": axis}))
        return
    _gather_batches(scope, operator, axis, batch)


def _gather_batches(scope: Scope, operator: Operator, axis: int, batch: int) -> None:
    data, places = operator.inputs[0], given(operator, 1)
    value = moving(scope, operator, data)
    dims = static_dims(scope, operator, value, "GATHER with batch dimensions")
    place_dims = [d for d in scope.shape(places) if isinstance(d, int)]
    if len(place_dims) != len(scope.shape(places)) or dims[:batch] != place_dims[:batch]:
        raise scope.damaged(f"gathers from {dims} with indices of {list(scope.shape(places))}")
    order = [*range(batch), axis, *(a for a in range(batch, len(dims)) if a != axis)]
    if order != list(range(len(dims))):
        value = scope.node("Transpose", [value], {"perm": order})
    count, size = math.prod(dims[:batch]), dims[axis]
    if count > LARGEST_FOLD:
        scope.refuse(operator, f"it has a batch of {dims[:batch]}", "use a smaller one")
    rest = [dims[a] for a in order[batch + 1 :]]
    flat = scope.node("Reshape", [value, vector([count * size, *rest])])
    offsets = (np.arange(count, dtype=np.int64) * size).reshape(
        [*place_dims[:batch], *[1] * (len(place_dims) - batch)]
    )
    taken = _shifted(scope, _places(scope, places), offsets)
    found = scope.node("Gather", [flat, taken], {"axis": 0})
    # Now: batch, indices, outer, inner. Wanted: batch, outer, indices, inner.
    outer, inner = axis - batch, len(rest) - (axis - batch)
    chosen = len(place_dims) - batch
    back = [
        *range(batch),
        *range(batch + chosen, batch + chosen + outer),
        *range(batch, batch + chosen),
        *range(batch + chosen + outer, batch + chosen + outer + inner),
    ]
    if back != list(range(len(back))):
        found = scope.node("Transpose", [found], {"perm": back})
    scope.give(operator.outputs[0], found)


def _places(scope: Scope, tensor: Tensor | None) -> ir.Value | NDArray[np.int64]:
    """Indices: int64 where they are known, else as they are (ONNX takes int32 and int64)."""
    array = known_integers(scope, tensor)
    if array is not None:
        return array.astype(np.int64)
    value = scope.value(tensor)
    return value if value.dtype == ir.DataType.INT32 else cast(scope, value, "int64")


def _shifted(
    scope: Scope, places: ir.Value | NDArray[np.int64], offsets: NDArray[np.int64]
) -> ir.Value | NDArray[np.int64]:
    if isinstance(places, np.ndarray):
        return places + offsets
    kind = places.dtype.numpy() if places.dtype is not None else np.int64
    total: ir.Value = scope.node("Add", [places, offsets.astype(kind)], dtype=np.dtype(kind).name)
    return total


def read_gather_nd(scope: Scope, operator: Operator) -> None:
    """GATHER_ND; known indices become one Gather from the flattened front dimensions."""
    data, places = operator.inputs[0], given(operator, 1)
    value = moving(scope, operator, data)
    array = known_integers(scope, places)
    dims = scope.shape(value)
    depth = scope.shape(places)[-1] if scope.shape(places) else None
    if not isinstance(depth, int) or depth > len(dims):
        raise scope.damaged(f"has indices of {list(scope.shape(places))} for {list(dims)}")
    front = [d for d in dims[:depth] if isinstance(d, int)]
    if array is None or depth == 0 or len(front) < depth:
        indices = _places(scope, places)
        if isinstance(indices, ir.Value):
            indices = cast(scope, indices, "int64")
        scope.give(operator.outputs[0], scope.node("GatherND", [value, indices]))
        return
    if np.any(array < 0) or np.any(array >= np.array(front)):
        raise scope.damaged(f"takes elements outside of {list(dims)}")
    weights = [math.prod(front[k + 1 :]) for k in range(depth)]
    flat_places = np.asarray((array.astype(np.int64) * np.array(weights, np.int64)).sum(-1))
    if depth > 1:
        rest = [0 if not isinstance(d, int) else d for d in dims[depth:]]
        rest = static_dims(scope, operator, value, "GATHER_ND")[depth:] if 0 in rest else rest
        value = scope.node("Reshape", [value, vector([-1, *rest])])
    scope.give(operator.outputs[0], scope.node("Gather", [value, flat_places], {"axis": 0}))


def read_embedding_lookup(scope: Scope, operator: Operator) -> None:
    """EMBEDDING_LOOKUP: rows of a table, which may be quantized where the result is not."""
    places, table = operator.inputs[0], given(operator, 1)
    inputs = [scope.value(table), _places(scope, places)]
    scope.give(operator.outputs[0], scope.node("Gather", inputs, {"axis": 0}))


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "EMBEDDING_LOOKUP": read_embedding_lookup,
        "GATHER": read_gather,
        "GATHER_ND": read_gather_nd,
    }
)
