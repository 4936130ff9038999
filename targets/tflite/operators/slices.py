"""SLICE, STRIDED_SLICE and REVERSE_V2: all become ONNX's Slice.

STRIDED_SLICE follows ``BuildStridedSliceParams`` of TensorFlow Lite: the bits of its masks count
entries of ``begin``, an ellipsis stands for at least one dimension, dimensions behind the last
entry are kept whole, and a shrunken dimension is the one element at ``begin``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from intaglio.targets.tflite.operators.arguments import (
    Size,
    integers,
    moving,
    one_axis,
    vector,
)
from intaglio.targets.tflite.scope import Operator, Reader, Scope

#: Ends that ONNX clamps to "behind the last" and "before the first" element.
_BEHIND, _BEFORE = np.iinfo(np.int64).max, np.iinfo(np.int64).min


@dataclasses.dataclass(frozen=True)
class Plan:
    """A strided slice in ONNX's words.

    Attributes:
        axes: Axes of the input that are cut; the others are kept whole.
        starts: For each of them where it starts.
        ends: Where it ends.
        steps: And its step.
        dropped: Axes of the input that are left out of the result; each has one element by then.
        added: Axes of the result that are new.
    """

    axes: Sequence[int]
    starts: Sequence[int]
    ends: Sequence[int]
    steps: Sequence[int]
    dropped: Sequence[int]
    added: Sequence[int]


@dataclasses.dataclass(frozen=True)
class _Entry:
    """What happens to one dimension: of the input, or a new one."""

    new: bool = False
    whole: bool = False
    place: int = 0


def plan_strided_slice(
    scope: Scope,
    operator: Operator,
    dims: Sequence[Size],
    begin: Sequence[int],
    end: Sequence[int],
    strides: Sequence[int],
) -> Plan:
    """What a STRIDED_SLICE does to a tensor of dimensions ``dims``.

    Raises:
        InputError: The parameters do not fit the tensor, or each other.
    """
    options = operator.options
    if not len(begin) == len(end) == len(strides):
        raise scope.damaged("has as many begins, ends and strides as differ from each other")
    if any(s == 0 for s in strides):
        raise scope.damaged("has a stride of 0")
    axes: list[int] = []
    cuts: list[tuple[int, int, int]] = []
    dropped: list[int] = []
    added: list[int] = []
    axis = kept = 0
    for entry in _entries(scope, operator, len(dims), len(begin)):
        if entry.new:
            added.append(kept)
            kept += 1
            continue
        bit = 1 << entry.place
        if not entry.whole:
            masks = (bool(options.beginMask & bit), bool(options.endMask & bit))
            first, last, step = begin[entry.place], end[entry.place], strides[entry.place]
            if options.shrinkAxisMask & bit:
                cuts.append(_element(scope, dims[axis], 0 if masks[0] else first, step))
                axes.append(axis)
                dropped.append(axis)
                axis += 1
                continue
            if getattr(options, "offset", False):
                last = _offset_end(scope, 0 if masks[0] else first, last, dims[axis])
            cut = _cut(dims[axis], first, last, step, masks)
            if not _is_whole(dims[axis], cut):
                cuts.append(cut)
                axes.append(axis)
        axis += 1
        kept += 1
    starts, ends, steps = ([c[k] for c in cuts] for k in range(3))
    return Plan(axes, starts, ends, steps, dropped, added)


def _entries(scope: Scope, operator: Operator, rank: int, count: int) -> list[_Entry]:
    """Which entry of ``begin`` belongs to which dimension of the input and the new ones."""
    options = operator.options
    ellipsis, new_axes = int(options.ellipsisMask), int(options.newAxisMask)
    if bin(ellipsis & ((1 << count) - 1)).count("1") > 1:
        raise scope.damaged("has two ellipses")
    fresh = sum(1 for i in range(count) if new_axes >> i & 1 and not ellipsis >> i & 1)
    total = rank + fresh
    found: list[_Entry] = []
    place = used = 0
    while len(found) < total:
        if place < count and ellipsis >> place & 1:
            width = max(1, min(1 + total - count, total - len(found)))
            found += [_Entry(whole=True)] * width
            used += width
        elif place < count and new_axes >> place & 1:
            found.append(_Entry(new=True))
        else:
            found.append(_Entry(whole=place >= count, place=min(place, max(count - 1, 0))))
            used += 1
        place += 1
    if used != rank:
        raise scope.damaged(f"cuts {used} dimensions of a tensor of {rank}")
    return found


def _element(scope: Scope, dim: Size, place: int, step: int) -> tuple[int, int, int]:
    """The one element at ``place``."""
    if step < 0:
        # What the runtimes make of it is not defined.
        raise scope.damaged(f"takes element {place} with stride {step}")
    if isinstance(dim, int):
        if not -dim <= place < dim:
            raise scope.damaged(f"takes element {place} of {dim}")
        place %= dim
    return place, _BEHIND if place == -1 else place + 1, 1


def _offset_end(scope: Scope, first: int, length: int, dim: Size) -> int:
    """Where a slice of ``length`` elements ends."""
    if first < 0:
        if not isinstance(dim, int):
            raise scope.damaged("counts from the end of an open dimension")
        first += dim
    return first + length


def _cut(
    dim: Size, first: int, last: int, step: int, masks: tuple[bool, bool]
) -> tuple[int, int, int]:
    """Start, end and step; both runtimes clamp in the same way."""
    if step > 0:
        return 0 if masks[0] else first, _BEHIND if masks[1] else last, step
    start = _BEHIND if masks[0] else first
    end = _BEFORE if masks[1] else last
    if isinstance(dim, int):
        if not masks[1] and last < 0:
            # Counted from the end once; what is still negative is before the first element.
            end = last + dim if last + dim >= 0 else _BEFORE
        if not masks[0]:
            # A start before the first element leaves nothing, which ONNX would clamp to it.
            start = first + dim if first < 0 else first
            if start < 0:
                start, end = 0, 0
    return start, end, step


def _is_whole(dim: Size, cut: tuple[int, int, int]) -> bool:
    start, end, step = cut
    return step == 1 and start == 0 and (end == _BEHIND or (isinstance(dim, int) and end >= dim))


def read_strided_slice(scope: Scope, operator: Operator) -> None:
    """STRIDED_SLICE: Slice, then Squeeze and Unsqueeze where its masks ask for them."""
    begin, end, strides = (
        integers(scope, operator, index, what)
        for index, what in ((1, "begins"), (2, "ends"), (3, "strides"))
    )
    data = operator.inputs[0]
    plan = plan_strided_slice(scope, operator, scope.shape(data), begin, end, strides)
    value = moving(scope, operator, data)
    if plan.axes:
        value = _slice(scope, value, plan)
    if plan.dropped:
        value = scope.node("Squeeze", [value, vector(plan.dropped)])
    if plan.added:
        value = scope.node("Unsqueeze", [value, vector(plan.added)])
    scope.give(operator.outputs[0], value)


def _slice(scope: Scope, value: ir.Value, plan: Plan) -> ir.Value:
    parameters = [vector(p) for p in (plan.starts, plan.ends, plan.axes, plan.steps)]
    found: ir.Value = scope.node("Slice", [value, *parameters])
    return found


def read_slice(scope: Scope, operator: Operator) -> None:
    """SLICE: ``size`` elements from ``begin``; a size of -1 takes the rest."""
    begin = integers(scope, operator, 1, "begins")
    size = integers(scope, operator, 2, "sizes")
    dims = scope.shape(operator.inputs[0])
    if not len(begin) == len(size) == len(dims):
        raise scope.damaged(f"has {len(begin)} begins for a tensor of {len(dims)} dimensions")
    plan = plan_slice(scope, dims, begin, size)
    value = moving(scope, operator, operator.inputs[0])
    scope.give(operator.outputs[0], _slice(scope, value, plan) if plan.axes else value)


def plan_slice(
    scope: Scope, dims: Sequence[Size], begin: Sequence[int], size: Sequence[int]
) -> Plan:
    """What a SLICE does to a tensor of dimensions ``dims``.

    Raises:
        InputError: It reads outside of the tensor.
    """
    axes, starts, ends = [], [], []
    for axis, (dim, first, count) in enumerate(zip(dims, begin, size, strict=True)):
        last = _BEHIND if count == -1 else first + count
        known = isinstance(dim, int)
        if first < 0 or count < -1 or (known and (first > dim or (count >= 0 and last > dim))):  # type: ignore[operator]
            raise scope.damaged(f"takes {count} elements from {first} of {dim}")
        if first == 0 and last in (dim, _BEHIND):
            continue
        axes.append(axis)
        starts.append(first)
        ends.append(last)
    return Plan(axes, starts, ends, [1] * len(axes), (), ())


def read_reverse(scope: Scope, operator: Operator) -> None:
    """REVERSE_V2: a Slice with step -1."""
    rank = len(scope.shape(operator.inputs[0]))
    axes = [one_axis(scope, a, rank) for a in integers(scope, operator, 1, "axes")]
    value = moving(scope, operator, operator.inputs[0])
    if axes:
        count = len(axes)
        plan = Plan(axes, [_BEHIND] * count, [_BEFORE] * count, [-1] * count, (), ())
        value = _slice(scope, value, plan)
    scope.give(operator.outputs[0], value)


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "REVERSE_V2": read_reverse,
        "SLICE": read_slice,
        "STRIDED_SLICE": read_strided_slice,
    }
)
