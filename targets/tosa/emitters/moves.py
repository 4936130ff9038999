"""RESHAPE, TRANSPOSE, CONCAT, SLICE, PAD, TILE and constant GATHER: values that only move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.integer_graph import required
from intaglio.targets.move_operands import pad_operands, slice_operands
from intaglio.targets.nearest_resize import nearest_places as places_of
from intaglio.targets.nearest_resize import require_same_ends
from intaglio.targets.tflite.emitters.attributes import integers
from intaglio.targets.tosa.emitters.common import cut
from intaglio.targets.tosa.scope import MOST_PARTS, Emitter, Scope
from intaglio.targets.tosa.writer import Field


def _ends(scope: Scope, node: ir.Node) -> tuple[ir.Value, ir.Value]:
    return required(node.inputs[0]), scope.narrowed(node.outputs[0])


def _reshape(scope: Scope, node: ir.Node) -> None:
    source, value = _ends(scope, node)
    scope.reshape(scope.name(source), scope.shape(value), scope.result(value))


def _transpose(scope: Scope, node: ir.Node) -> None:
    source, value = _ends(scope, node)
    order = integers(node, "perm", list(range(len(scope.shape(source))))[::-1])
    transpose(scope, scope.name(source), order, scope.result(value))


def transpose(scope: Scope, data: str, order: Sequence[int], target: str) -> str:
    """Appends a TRANSPOSE."""
    return scope.operator("TRANSPOSE", [data], target, [Field(0, "ints", list(order))])


def _concat(scope: Scope, node: ir.Node) -> None:
    value = scope.narrowed(node.outputs[0])
    axis = node.attributes.get_int("axis", 0) % len(scope.shape(value))
    parts = [scope.name(part) for part in node.inputs]
    if len(parts) > MOST_PARTS:
        raise RefusedError(
            f"it joins {len(parts)} tensors, and CONCAT takes {MOST_PARTS}",
            "join some of them by a Concat of their own",
        )
    scope.operator("CONCAT", parts, scope.result(value), [Field(0, "int", axis)])


def _slice(scope: Scope, node: ir.Node) -> None:
    source, value = _ends(scope, node)
    shape = scope.shape(source)
    cuts = slice_operands(scope, node, len(shape))
    places = [np.arange(size) for size in shape]
    for axis, start, end, step in cuts:
        last = None if step < 0 and end + shape[axis] < 0 else end
        places[axis] = np.arange(shape[axis])[slice(start, last, step)]
    data, size = scope.name(source), list(shape)
    if all(step == 1 for *_, step in cuts):
        cut(scope, data, [int(p[0]) for p in places], scope.shape(value), scope.result(value))
        return
    changing = [axis for axis, _, _, step in cuts if step != 1 or len(places[axis]) != shape[axis]]
    for axis in changing:
        size[axis] = len(places[axis])
        last_one = axis == changing[-1]
        target = (
            scope.result(value)
            if last_one
            else scope.intermediate(f"{value.name}_axis", size, scope.dtype(value))
        )
        before = [*size[:axis], shape[axis], *shape[axis + 1 :]]
        gather(scope, data, before, places[axis], axis, target)
        data = target


def _split(scope: Scope, node: ir.Node) -> None:
    source = required(node.inputs[0])
    shape = scope.shape(source)
    axis = node.attributes.get_int("axis", 0) % len(shape)
    first = 0
    for output in node.outputs:
        value = scope.narrowed(output)
        start = [first if place == axis else 0 for place in range(len(shape))]
        cut(scope, scope.name(source), start, scope.shape(value), scope.result(value))
        first += scope.shape(value)[axis]


def _pad(scope: Scope, node: ir.Node) -> None:
    source, value = _ends(scope, node)
    shape = scope.shape(source)
    amounts, fill = pad_operands(scope, node, len(shape))
    mode = node.attributes.get_string("mode", "constant")
    data = scope.name(source)
    if mode != "constant":
        _padded_by_gather(scope, data, shape, value, amounts, mode)
        return
    crop = -np.minimum(amounts, 0)
    if crop.any():
        size = [d - int(c.sum()) for d, c in zip(shape, crop, strict=True)]
        target = scope.intermediate(f"{value.name}_cropped", size, scope.dtype(value))
        data = cut(scope, data, crop[:, 0].tolist(), size, target)
        amounts = np.maximum(amounts, 0)
    inputs = [
        data,
        scope.sizes("padding", amounts.reshape(-1).tolist()),
        scope.constant("fill", [fill], scope.dtype(value)),
    ]
    scope.operator("PAD", inputs, scope.result(value))


def _padded_by_gather(
    scope: Scope,
    data: str,
    shape: Sequence[int],
    value: ir.Value,
    amounts: NDArray[np.int64],
    mode: str,
) -> None:
    if mode not in ("reflect", "edge", "wrap") or (amounts < 0).any():
        raise RefusedError(
            f"padding of mode '{mode}' that also cuts off has no TOSA operator",
            "cut by a Slice in front of it",
        )
    changing = [axis for axis, pair in enumerate(amounts) if pair.any()]
    if not changing:
        scope.reshape(data, shape, scope.result(value))
    size = list(shape)
    for axis in changing:
        places = np.pad(np.arange(size[axis]), tuple(amounts[axis]), mode=mode)  # type: ignore[call-overload]
        before = list(size)
        size[axis] = len(places)
        target = (
            scope.result(value)
            if axis == changing[-1]
            else scope.intermediate(f"{value.name}_axis", size, scope.dtype(value))
        )
        gather(scope, data, before, places, axis, target)
        data = target


def _gather(scope: Scope, node: ir.Node) -> None:
    source, value = _ends(scope, node)
    shape = scope.shape(source)
    axis = node.attributes.get_int("axis", 0) % len(shape)
    places = scope.array(node.inputs[1])
    if places is None:
        raise RefusedError("its indices are computed", "make them constant")
    flat = np.where(places < 0, places + shape[axis], places).reshape(-1)
    grown = (*shape[:axis], flat.size, *shape[axis + 1 :])
    if grown == scope.shape(value):
        gather(scope, scope.name(source), shape, flat, axis, scope.result(value))
        return
    moved = scope.intermediate(f"{value.name}_gathered", grown, scope.dtype(value))
    gather(scope, scope.name(source), shape, flat, axis, moved)
    scope.reshape(moved, scope.shape(value), scope.result(value))


def gather(
    scope: Scope,
    data: str,
    shape: Sequence[int],
    places: NDArray[np.int64],
    axis: int,
    target: str,
) -> str:
    """Appends the ``places`` of an axis: runs of them cut out where these are few, else GATHER."""
    runs = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
    parts = []
    if len(runs) <= _MOST_RUNS:
        for run in runs:
            start = [int(run[0]) if place == axis else 0 for place in range(len(shape))]
            size = [len(run) if place == axis else d for place, d in enumerate(shape)]
            last = len(runs) == 1
            own = target if last else scope.intermediate(f"{target}_run", size, "int8")
            parts.append(cut(scope, data, start, size, own))
        if len(parts) > 1:
            scope.operator("CONCAT", parts, target, [Field(0, "int", axis)])
        return target
    front, back = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
    flat = (front, shape[axis], back)
    values = scope.reshape(data, flat, scope.intermediate(f"{target}_values", flat, "int8"))
    indices = scope.constant("places", np.tile(places, (front, 1)), "int32")
    size3 = (front, len(places), back)
    found = scope.intermediate(f"{target}_found", size3, "int8")
    scope.operator("GATHER", [values, indices], found)
    size = [len(places) if place == axis else d for place, d in enumerate(shape)]
    return scope.reshape(found, size, target)


#: Runs of neighboring places that are cut out one by one: SLICE runs on every NPU.
_MOST_RUNS = 8


def _tile(scope: Scope, node: ir.Node) -> None:
    source, value = _ends(scope, node)
    before, after = scope.shape(source), scope.shape(value)
    full = (1,) * (len(after) - len(before)) + before
    data = scope.name(source)
    if full != before:
        data = scope.reshape(
            data, full, scope.intermediate(f"{value.name}_rank", full, scope.dtype(value))
        )
    times = [new // old for old, new in zip(full, after, strict=True)]
    scope.operator("TILE", [data, scope.sizes("multiples", times)], scope.result(value))


def _nearest(scope: Scope, node: ir.Node) -> None:
    source, value = scope.outside(node.inputs[0]), scope.behind(node.outputs[0])
    shape, result = scope.shape(source), scope.shape(value)
    require_same_ends(shape, result)
    rows, columns = (
        places_of(node, size, target) for size, target in zip(shape[1:3], result[1:3], strict=True)
    )
    size = [shape[0], result[1], *shape[2:]]
    middle = scope.intermediate(f"{value.name}_rows", size, scope.dtype(value))
    gather(scope, scope.name(source), shape, rows, 1, middle)
    gather(scope, middle, size, columns, 2, scope.result(value))


def _blocks(scope: Scope, node: ir.Node) -> None:
    """DepthToSpace and SpaceToDepth: RESHAPE, TRANSPOSE, RESHAPE.

    Axes that stay side by side are one: few NPUs transpose six axes as fast as four.
    """
    source, value = scope.outside(node.inputs[0]), scope.behind(node.outputs[0])
    shape, result = scope.shape(source), scope.shape(value)
    side = node.attributes.get_int("blocksize", 1)
    count, rows, columns, channels = shape
    apart: tuple[int, ...]
    order: tuple[int, ...] = (0, 2, 1, 3)
    if node.op_type == "SpaceToDepth":
        apart = (count * rows // side, side, columns // side, side * channels)
    elif node.attributes.get_string("mode", "DCR") == "DCR":
        apart = (count * rows, columns, side, channels // side)
    else:
        apart = (count * rows, columns, channels // side**2, side, side)
        order = (0, 3, 1, 4, 2)
    dtype = scope.dtype(value)
    first = scope.reshape(
        scope.name(source), apart, scope.intermediate(f"{value.name}_apart", apart, dtype)
    )
    moved = [apart[axis] for axis in order]
    second = transpose(scope, first, order, scope.intermediate(f"{value.name}_moved", moved, dtype))
    scope.reshape(second, result, scope.result(value))


EMITTERS: dict[str, Emitter] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"), _reshape),
    **dict.fromkeys(("Tile", "Expand"), _tile),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _blocks),
    "Concat": _concat,
    "Gather": _gather,
    "Pad": _pad,
    "Resize": _nearest,
    "Slice": _slice,
    "Split": _split,
    "Transpose": _transpose,
}
