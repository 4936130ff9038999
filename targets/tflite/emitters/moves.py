"""Operators that move values: one scale in and out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.multipliers import expect_equal
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.products import reshape
from intaglio.targets.tflite.emitters.scope import Emitter, Scope, required
from intaglio.targets.tflite.emitters.transposes import is_reshape, transpose
from intaglio.targets.tflite.emitters.windows import integers, pad, pad_version

#: Inputs that TFLite Micro's CONCATENATION takes.
MOST_PARTS = 10


def _ends(scope: Scope, node: ir.Node) -> tuple[ir.Value, ir.Value]:
    """What a move reads and makes."""
    source, value = required(node.inputs[0]), scope.behind(node.outputs[0])
    expect_equal(scope.quantization(source), scope.quantization(value))
    return source, value


def _reshape(scope: Scope, node: ir.Node) -> None:
    source, value = _ends(scope, node)
    reshape(scope, scope.index(source), scope.result(value), scope.shape(value))


def _transpose(scope: Scope, node: ir.Node) -> None:
    source, value = _ends(scope, node)
    shape = scope.shape(source)
    order = integers(node, "perm", list(range(len(shape)))[::-1])
    data, target = scope.index(source), scope.result(value)
    if is_reshape(order, shape):
        reshape(scope, data, target, scope.shape(value))
    else:
        transpose(scope, data, target, order, scope.quantization(value).dtype)


def _concat(scope: Scope, node: ir.Node) -> None:
    value = scope.behind(node.outputs[0])
    meaning = scope.quantization(value)
    for part in node.inputs:
        expect_equal(scope.quantization(required(part)), meaning)
    axis = node.attributes.get_int("axis", 0) % len(scope.shape(value))
    parts = [(scope.index(required(v)), scope.shape(required(v))) for v in node.inputs]
    concatenate(scope, parts, axis, value)


def concatenate(
    scope: Scope, parts: Sequence[tuple[int, tuple[int, ...]]], axis: int, value: ir.Value
) -> None:
    """Appends CONCATENATION, in groups where there are many parts.

    Args:
        scope: The file.
        parts: Tensors and their shapes.
        axis: Axis to join along, not negative.
        value: The result.
    """
    meaning = scope.quantization(value)
    version = 3 if meaning.dtype == "int16" else 2
    chosen = options("ConcatenationOptions", axis=axis)
    while len(parts) > MOST_PARTS:
        joined = []
        for start in range(0, len(parts), MOST_PARTS):
            group = parts[start : start + MOST_PARTS]
            if len(group) == 1:
                joined += group
                continue
            shape = list(group[0][1])
            shape[axis] = sum(size[axis] for _, size in group)
            name = f"{value.name}_part"
            target = scope.intermediate(name, shape, meaning, meaning.dtype)
            scope.operator("CONCATENATION", [t for t, _ in group], [target], chosen, version)
            joined.append((target, tuple(shape)))
        parts = joined
    scope.operator("CONCATENATION", [t for t, _ in parts], [scope.result(value)], chosen, version)


def _split(scope: Scope, node: ir.Node) -> None:
    source = required(node.inputs[0])
    results = [scope.behind(v) for v in node.outputs]
    for value in results:
        expect_equal(scope.quantization(source), scope.quantization(value))
    shape = scope.shape(source)
    axis = node.attributes.get_int("axis", 0) % len(shape)
    sizes = [scope.shape(value)[axis] for value in results]
    place = scope.constant("axis", np.array(axis, np.int32))
    wide = scope.quantization(source).dtype == "int16"
    targets = [scope.result(value) for value in results]
    data = scope.index(source)
    if len(set(sizes)) == 1:
        chosen = options("SplitOptions", numSplits=len(sizes))
        scope.operator("SPLIT", [place, data], targets, chosen, 4 if wide else 2)
        return
    inputs = [data, scope.parameter("sizes", sizes), place]
    chosen = options("SplitVOptions", numSplits=len(sizes))
    scope.operator("SPLIT_V", inputs, targets, chosen, 1 if wide else 2)


def _slice(scope: Scope, node: ir.Node) -> None:
    """SLICE for steps of one, else STRIDED_SLICE."""
    source, value = _ends(scope, node)
    shape = scope.shape(source)
    rank = len(shape)
    starts, ends = (scope.numbers(node.inputs[i]).reshape(-1).tolist() for i in (1, 2))
    rest = [*node.inputs[3:], None, None]
    axes = list(range(len(starts)))
    if rest[0] is not None:
        axes = [int(a) % rank for a in scope.numbers(rest[0]).reshape(-1)]
    steps = [1] * len(starts)
    if rest[1] is not None:
        steps = [int(s) for s in scope.numbers(rest[1]).reshape(-1)]
    cuts = [slice(0, size, 1) for size in shape]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cuts[axis] = _cut(shape[axis], int(start), int(end), step)
    _append_slice(scope, source, value, cuts)


def _cut(size: int, start: int, end: int, step: int) -> slice:
    """ONNX's start and end within the axis; an end of -1 means before the first element."""
    first, last = (start + size if start < 0 else start), (end + size if end < 0 else end)
    if step > 0:
        return slice(min(max(first, 0), size), min(max(last, 0), size), step)
    return slice(min(max(first, 0), size - 1), min(max(last, -1), size - 1), step)


def _append_slice(scope: Scope, source: ir.Value, value: ir.Value, cuts: Sequence[slice]) -> None:
    dtype, shape = scope.quantization(value).dtype, scope.shape(value)
    data, target = scope.index(source), scope.result(value)
    rank, wide = len(shape), dtype == "int16"
    begin = scope.parameter("begin", [cut.start for cut in cuts])
    if all(cut.step == 1 for cut in cuts):
        inputs = [data, begin, scope.parameter("size", shape)]
        version = 5 if rank > 4 else 4 if wide else 2
        scope.operator("SLICE", inputs, [target], options("SliceOptions"), version)
        return
    # An end before the first element cannot be written as a number.
    mask = sum(1 << axis for axis, cut in enumerate(cuts) if cut.stop < 0)
    inputs = [
        data,
        begin,
        scope.parameter("end", [cut.stop for cut in cuts]),
        scope.parameter("strides", [cut.step for cut in cuts]),
    ]
    version = 4 if rank > 4 else 1 if wide else 2
    chosen = options("StridedSliceOptions", endMask=mask)
    scope.operator("STRIDED_SLICE", inputs, [target], chosen, version)


def _gather(scope: Scope, node: ir.Node) -> None:
    source, value = _ends(scope, node)
    shape = scope.shape(source)
    axis = node.attributes.get_int("axis", 0) % len(shape)
    places = scope.array(node.inputs[1])
    if places is None:
        raise RefusedError("its indices are computed", "make them constant")
    positions = np.where(places < 0, places + shape[axis], places)
    data, target = scope.index(source), scope.result(value)
    dtype, meaning = scope.quantization(value).dtype, scope.quantization(value)
    flat = positions.reshape(-1)
    grown = (*shape[:axis], flat.size, *shape[axis + 1 :])
    if grown == scope.shape(value):
        gather(scope, data, flat, axis, target, dtype)
        return
    moved = scope.intermediate(f"{value.name}_gathered", grown, meaning, dtype)
    gather(scope, data, flat, axis, moved, dtype)
    reshape(scope, moved, target, scope.shape(value))


def gather(
    scope: Scope,
    data: int,
    positions: Sequence[int] | np.ndarray,
    axis: int,
    target: int,
    dtype: str,
) -> None:
    """Appends a GATHER of constant positions along one axis."""
    inputs = [data, scope.parameter("positions", positions)]
    version = 4 if dtype == "int16" else 2
    scope.operator("GATHER", inputs, [target], options("GatherOptions", axis=axis), version)


def _pad(scope: Scope, node: ir.Node) -> None:
    """PAD with the zero point, PADV2 with another number; other modes by GATHER."""
    source, value = _ends(scope, node)
    meaning, shape = scope.quantization(value), scope.shape(source)
    rank = len(shape)
    stated = scope.numbers(node.inputs[1]).reshape(2, -1)
    rest = [*node.inputs[2:], None, None]
    axes = list(range(rank))
    if rest[1] is not None:
        axes = [int(a) % rank for a in scope.numbers(rest[1]).reshape(-1)]
    amounts = np.zeros((rank, 2), np.int64)
    amounts[axes] = stated.T
    mode = node.attributes.get_string("mode", "constant")
    if mode != "constant":
        _padded_by_gather(scope, source, value, amounts, mode)
        return
    if (amounts < 0).any():
        raise RefusedError("PAD does not crop", "use a Slice for negative pads")
    fill = 0 if rest[0] is None else scope.number(rest[0])
    data, target = scope.index(source), scope.result(value)
    if fill == meaning.zero_point[0]:
        pad(scope, data, amounts, target, meaning.dtype)
        return
    number = scope.constant("fill", np.array([fill], meaning.numpy_dtype), meaning)
    inputs = [data, scope.parameter("paddings", amounts), number]
    version = pad_version(rank, meaning.dtype)
    scope.operator("PADV2", inputs, [target], options("PadV2Options"), version)


def _padded_by_gather(
    scope: Scope, source: ir.Value, value: ir.Value, amounts: np.ndarray, mode: str
) -> None:
    """reflect, edge and wrap repeat elements: a GATHER along every axis that grows."""
    names = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    if mode not in names or (amounts < 0).any():
        raise RefusedError(f"padding of mode '{mode}' has no TFLite operator")
    meaning, shape = scope.quantization(value), list(scope.shape(source))
    data = scope.index(source)
    changing = [axis for axis, pair in enumerate(amounts) if pair.any()]
    if not changing:
        reshape(scope, data, scope.result(value), tuple(shape))
    for axis in changing:
        places = np.pad(np.arange(shape[axis]), tuple(amounts[axis]), mode=names[mode])  # type: ignore[call-overload]
        shape[axis] = len(places)
        target = (
            scope.result(value)
            if axis == changing[-1]
            else scope.intermediate(f"{value.name}_axis_{axis}", shape, meaning, meaning.dtype)
        )
        gather(scope, data, places, axis, target, meaning.dtype)
        data = target


def _tile(scope: Scope, node: ir.Node) -> None:
    """Tile and Expand as CONCATENATION of copies, which every runtime has for every type."""
    source, value = _ends(scope, node)
    before, after = scope.shape(source), scope.shape(value)
    meaning = scope.quantization(value)
    data, shape = scope.index(source), [1] * (len(after) - len(before)) + list(before)
    grows = [axis for axis, (old, new) in enumerate(zip(shape, after, strict=True)) if old != new]
    if not grows:
        reshape(scope, data, scope.result(value), after)
        return
    if len(shape) != len(before):
        moved = scope.intermediate(f"{value.name}_rank", shape, meaning, meaning.dtype)
        reshape(scope, data, moved, tuple(shape))
        data = moved
    for axis in grows:
        parts = [(data, tuple(shape))] * (after[axis] // shape[axis])
        shape[axis] = after[axis]
        if axis == grows[-1]:
            concatenate(scope, parts, axis, value)
        else:
            data = _joined(scope, parts, axis, shape, value)


def _joined(
    scope: Scope,
    parts: Sequence[tuple[int, tuple[int, ...]]],
    axis: int,
    shape: Sequence[int],
    value: ir.Value,
) -> int:
    """Copies side by side in a tensor that the graph has no value for."""
    if len(parts) > MOST_PARTS:
        raise RefusedError(f"it repeats more than {MOST_PARTS} times along several axes")
    meaning = scope.quantization(value)
    target = scope.intermediate(f"{value.name}_axis_{axis}", shape, meaning, meaning.dtype)
    version = 3 if meaning.dtype == "int16" else 2
    chosen = options("ConcatenationOptions", axis=axis)
    scope.operator("CONCATENATION", [t for t, _ in parts], [target], chosen, version)
    return target


EMITTERS: dict[str, Emitter] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"), _reshape),
    **dict.fromkeys(("Tile", "Expand"), _tile),
    "Concat": _concat,
    "Gather": _gather,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Transpose": _transpose,
}
