"""TRANSPOSE, or RESHAPE where only dimensions of size one change their place."""

from __future__ import annotations

import math
from collections.abc import Sequence

from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Scope


def transpose_version(rank: int, dtype: str) -> int:
    """Lowest version of TRANSPOSE for a tensor."""
    if rank > 5:
        return 6
    if dtype == "int16":
        return 5
    return 4 if rank > 4 else 2


def transpose(scope: Scope, source: int, target: int, order: Sequence[int], dtype: str) -> None:
    """Appends a TRANSPOSE."""
    constant = scope.parameter("perm", order)
    version = transpose_version(len(order), dtype)
    scope.operator("TRANSPOSE", [source, constant], [target], options("TransposeOptions"), version)


def is_reshape(order: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether the elements stay in their order, since only dimensions of size one move."""
    kept = [axis for axis in order if shape[axis] != 1]
    return kept == sorted(kept)


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
