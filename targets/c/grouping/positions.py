"""Moves that pick positions along axes: slices, padding, Gather, Tile, nearest resizing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.layout.problem import is_inside
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.c.grouping.moves import move
from intaglio.targets.c.grouping.reader import Grouping, Reader
from intaglio.targets.c.grouping.strided import NOTHING, blocks_of, runs
from intaglio.targets.c.network import Take, Tensor
from intaglio.targets.integer_graph import required
from intaglio.targets.nearest_resize import nearest_places

#: A layer has at most so many copies; positions that need more are stored as a list.
_MOST_BLOCKS = 16
_INDEX_BYTES = 4

Places = NDArray[np.int64]


def pick(
    reader: Reader,
    node: ir.Node,
    source: ir.Value,
    value: ir.Value,
    shape: Sequence[int],
    places: Sequence[Places],
    fill: int | None = None,
) -> None:
    """Appends ``y[i, j, ...] = x[places[0][i], places[1][j], ...]``.

    Args:
        reader: The reader.
        node: The node.
        source: What is read.
        value: What is made.
        shape: Sizes that the elements of ``source`` are seen in.
        places: Positions along each axis; ``NOTHING`` where ``fill`` is to be.
        fill: What stands where nothing is copied to.
    """
    tensor = reader.tensor(source)
    found = [runs(axis) for axis in places]
    if math.prod(map(len, found)) > _MOST_BLOCKS:
        lists = [axis for axis, parts in enumerate(found) if len(parts) > 1]
        _pick_from_lists(reader, node, tensor, value, list(shape), list(places), lists)
        return
    complete = not any((axis == NOTHING).any() for axis in places)
    blocks = blocks_of(0, shape, [len(axis) for axis in places], found)
    move(reader, node, value, [tensor], blocks, None if complete else fill)


def _pick_from_lists(
    reader: Reader,
    node: ir.Node,
    tensor: Tensor,
    value: ir.Value,
    shape: list[int],
    places: list[Places],
    lists: list[int],
) -> None:
    """Appends what picks from a list of positions along some axes, and by a move along the others.

    Args:
        reader: The reader.
        node: The node.
        tensor: What is read.
        value: What is made.
        shape: Sizes that the elements of ``tensor`` are seen in.
        places: Positions along each axis.
        lists: Axes whose positions have no order.
    """
    if any((axis == NOTHING).any() for axis in places):
        raise RefusedError("it pads and picks at once")
    # What shrinks or grows least comes first: the tensors between stay small.
    lists = sorted(lists, key=lambda axis: len(places[axis]) / shape[axis])
    groups = [range(axis, axis + 1) for axis in lists]
    whole = range(min(lists), max(lists) + 1)
    between = math.prod(shape) // shape[lists[0]] * len(places[lists[0]]) * tensor.itemsize
    if _INDEX_BYTES * math.prod(len(places[axis]) for axis in whole) <= between:
        groups = [whole]
    for axes in groups:
        indices = np.zeros(1, np.int64)
        for axis in axes:
            indices = (indices[:, None] * shape[axis] + places[axis]).reshape(-1)
        before = list(shape)
        for axis in axes:
            shape[axis] = len(places[axis])
            places[axis] = np.arange(shape[axis])
        complete = all(
            np.array_equal(axis, np.arange(size)) for axis, size in zip(places, shape, strict=True)
        )
        name = f"{value.name}_axis_{axes.start}"
        target = reader.new(value, tensor.dtype) if complete else reader.part(tensor, name, shape)
        layer = Take(
            *reader.begin([tensor], target, node),
            outer=math.prod(before[: axes.start]),
            length=math.prod(before[axis] for axis in axes),
            inner=math.prod(before[axes.stop :]),
            indices=indices.astype(np.int32),
        )
        reader.layers.append(layer)
        tensor = target
        if complete:
            return
    blocks = blocks_of(0, shape, [len(axis) for axis in places], [runs(axis) for axis in places])
    move(reader, node, value, [tensor], blocks)


def _all(shape: Sequence[int]) -> list[Places]:
    return [np.arange(size) for size in shape]


def _slice(reader: Reader, node: ir.Node) -> None:
    source = required(node.inputs[0])
    shape = reader.shape(source)
    starts, ends = (reader.numbers(node.inputs[i]).reshape(-1).tolist() for i in (1, 2))
    rest = [*node.inputs[3:], None, None]
    axes, steps = list(range(len(starts))), [1] * len(starts)
    if rest[0] is not None:
        axes = [int(a) % len(shape) for a in reader.numbers(rest[0]).reshape(-1)]
    if rest[1] is not None:
        steps = [int(s) for s in reader.numbers(rest[1]).reshape(-1)]
    places = _all(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        places[axis] = _cut(shape[axis], int(start), int(end), step)
    pick(reader, node, source, node.outputs[0], shape, places)


def _cut(size: int, start: int, end: int, step: int) -> Places:
    """ONNX's start and end, which count from the end where they are negative."""
    first, last = (start + size if start < 0 else start), (end + size if end < 0 else end)
    if step > 0:
        return np.arange(min(max(first, 0), size), min(max(last, 0), size), step)
    return np.arange(min(max(first, 0), size - 1), min(max(last, -1), size - 1), step)


def _split(reader: Reader, node: ir.Node) -> None:
    source = required(node.inputs[0])
    shape = reader.shape(source)
    axis = node.attributes.get_int("axis", 0) % len(shape)
    start = 0
    for value in node.outputs:
        size = reader.shape(value)[axis]
        if value.uses() or value.is_graph_output():
            places = _all(shape)
            places[axis] = np.arange(start, start + size)
            pick(reader, node, source, value, shape, places)
        start += size
    reader.claim(node)


def _pad(reader: Reader, node: ir.Node) -> None:
    source = required(node.inputs[0])
    shape = reader.shape(source)
    rest = [*node.inputs[2:], None, None]
    axes = list(range(len(shape)))
    if rest[1] is not None:
        axes = [int(a) % len(shape) for a in reader.numbers(rest[1]).reshape(-1)]
    amounts = reader.numbers(node.inputs[1]).reshape(2, -1).T.tolist()
    mode = node.attributes.get_string("mode", "constant")
    places = _all(shape)
    for axis, (before, after) in zip(axes, amounts, strict=True):
        places[axis] = _padded(places[axis], int(before), int(after), mode)
    fill = 0 if rest[0] is None else reader.number(rest[0])
    pick(reader, node, source, node.outputs[0], shape, places, fill)


def _padded(places: Places, before: int, after: int, mode: str) -> Places:
    """Positions with padding at both ends; negative amounts crop."""
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise RefusedError(f"padding of mode '{mode}' has no C function")
    kept = places[max(-before, 0) : len(places) - max(-after, 0)]
    amounts = (max(before, 0), max(after, 0))
    if mode == "constant":
        return np.pad(kept, amounts, constant_values=NOTHING)
    return np.asarray(np.pad(kept, amounts, mode=mode))  # type: ignore[call-overload]


def _gather(reader: Reader, node: ir.Node) -> None:
    source = required(node.inputs[0])
    shape = reader.shape(source)
    axis = node.attributes.get_int("axis", 0) % len(shape)
    stated = reader.numbers(node.inputs[1]).reshape(-1).astype(np.int64)
    places = _all(shape)
    places[axis] = np.where(stated < 0, stated + shape[axis], stated)
    pick(reader, node, source, node.outputs[0], shape, places)


def _tile(reader: Reader, node: ir.Node) -> None:
    """Tile, and Expand, which repeats single elements."""
    source, value = required(node.inputs[0]), node.outputs[0]
    after = reader.shape(value)
    before = reader.shape(source)
    shape = (1,) * (len(after) - len(before)) + before
    places = [np.arange(new) % old for old, new in zip(shape, after, strict=True)]
    pick(reader, node, source, value, shape, places)


def _resize(reader: Reader, node: ir.Node) -> None:
    """Nearest resizing, channels last where the layout pass has it so."""
    source, value = required(node.inputs[0]), node.outputs[0]
    if is_inside(source.producer()):
        source, value = reader.outside(source), reader.behind(value)
    before, after = reader.shape(source), reader.shape(value)
    places = [nearest_places(node, old, new) for old, new in zip(before, after, strict=True)]
    pick(reader, node, source, value, before, places)


GROUPINGS: dict[str, Grouping] = {
    "Expand": _tile,
    "Gather": _gather,
    "Pad": _pad,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _split,
    "Tile": _tile,
}
