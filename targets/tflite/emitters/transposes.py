"""TRANSPOSE with as few axes as there must be; RESHAPE where only axes of size one move."""

from __future__ import annotations

import math
from collections.abc import Sequence

from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Scope
from intaglio.transforms.scales import TensorQuantization

#: Axes that every runtime and compiler of TFLite files transposes.
_MOST_AXES = 4


def reshape(scope: Scope, source: int, target: int, shape: Sequence[int]) -> None:
    """Appends a RESHAPE."""
    constant = scope.parameter("shape", shape)
    scope.operator("RESHAPE", [source, constant], [target], options("ReshapeOptions"))


def transpose(
    scope: Scope,
    source: int,
    target: int,
    shape: Sequence[int],
    order: Sequence[int],
    meaning: TensorQuantization,
) -> None:
    """Appends a TRANSPOSE; where it has many axes, between two RESHAPEs that join some.

    Args:
        scope: The file.
        source: Tensor to transpose.
        target: Tensor to write.
        shape: Shape of the source.
        order: Permutation of its axes.
        meaning: Quantization of both.
    """
    result = [shape[axis] for axis in order]
    _, joined = coalesced(shape, order)
    if joined == sorted(joined):
        reshape(scope, source, target, result)
        return
    if len(order) <= _MOST_AXES:
        _append(scope, source, target, order, meaning.dtype)
        return
    transpose_blocks(scope, source, target, shape, order, result, meaning)


def transpose_blocks(
    scope: Scope,
    source: int,
    target: int,
    cut: Sequence[int],
    order: Sequence[int],
    result: Sequence[int],
    meaning: TensorQuantization,
) -> None:
    """Appends RESHAPE, TRANSPOSE, RESHAPE.

    Args:
        scope: The file.
        source: Tensor to read, of any shape.
        target: Tensor to write.
        cut: Sizes that the elements of the source are seen in.
        order: Permutation of these axes.
        result: Shape of the target.
        meaning: Quantization of both.
    """
    sizes, joined = coalesced(cut, order)
    before = scope.intermediate("joined", sizes, meaning, meaning.dtype)
    reshape(scope, source, before, sizes)
    turned = [sizes[axis] for axis in joined]
    after = scope.intermediate("turned", turned, meaning, meaning.dtype)
    _append(scope, before, after, joined, meaning.dtype)
    reshape(scope, after, target, result)


def _append(scope: Scope, source: int, target: int, order: Sequence[int], dtype: str) -> None:
    rank = len(order)
    version = 6 if rank > 5 else 5 if dtype == "int16" else 4 if rank > _MOST_AXES else 2
    inputs = [source, scope.parameter("perm", order)]
    scope.operator("TRANSPOSE", inputs, [target], options("TransposeOptions"), version)


def coalesced(shape: Sequence[int], order: Sequence[int]) -> tuple[list[int], list[int]]:
    """The same Transpose with fewer axes: those of size one left out, neighbors that stay joined.

    Args:
        shape: Sizes before.
        order: Permutation of the axes.

    Returns:
        Sizes and permutation.
    """
    groups: list[list[int]] = []
    for axis in (axis for axis in order if shape[axis] != 1):
        if groups and _follows(shape, groups[-1][-1], axis):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    before = sorted(groups)
    sizes = [math.prod(shape[axis] for axis in group) for group in before]
    return sizes, [before.index(group) for group in groups]


def _follows(shape: Sequence[int], first: int, second: int) -> bool:
    """Whether only axes of size one lie between two."""
    return first < second and all(shape[axis] == 1 for axis in range(first + 1, second))
