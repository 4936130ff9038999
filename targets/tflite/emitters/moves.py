"""Operators that move values: one scale in and out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.attributes import integers
from intaglio.targets.tflite.emitters.multipliers import expect_equal
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Emitter, Scope, required
from intaglio.targets.tflite.emitters.transposes import reshape, transpose

#: Inputs that TFLite Micro's CONCATENATION takes.
MOST_PARTS = 10


def move_ends(scope: Scope, node: ir.Node) -> tuple[ir.Value, ir.Value]:
    """What a move reads and makes."""
    source, value = required(node.inputs[0]), scope.narrowed(node.outputs[0])
    expect_equal(scope.quantization(source), scope.quantization(value))
    return source, value


def _reshape(scope: Scope, node: ir.Node) -> None:
    source, value = move_ends(scope, node)
    reshape(scope, scope.index(source), scope.result(value), scope.shape(value))


def _transpose(scope: Scope, node: ir.Node) -> None:
    source, value = move_ends(scope, node)
    shape = scope.shape(source)
    order = integers(node, "perm", list(range(len(shape)))[::-1])
    data, target = scope.index(source), scope.result(value)
    transpose(scope, data, target, shape, order, scope.quantization(value))


def _concat(scope: Scope, node: ir.Node) -> None:
    value = scope.narrowed(node.outputs[0])
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
        joined: list[tuple[int, tuple[int, ...]]] = []
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
    results = [scope.narrowed(v) for v in node.outputs]
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


def _gather(scope: Scope, node: ir.Node) -> None:
    source, value = move_ends(scope, node)
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
    positions: Sequence[int] | NDArray[np.int64],
    axis: int,
    target: int,
    dtype: str,
) -> None:
    """Appends a GATHER of constant positions along one axis."""
    inputs = [data, scope.parameter("positions", positions)]
    version = 4 if dtype == "int16" else 2
    scope.operator("GATHER", inputs, [target], options("GatherOptions", axis=axis), version)


def _tile(scope: Scope, node: ir.Node) -> None:
    """Tile and Expand as CONCATENATION of copies, which every runtime has for every type."""
    source, value = move_ends(scope, node)
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
    "Split": _split,
    "Transpose": _transpose,
}
