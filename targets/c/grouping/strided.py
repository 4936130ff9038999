"""Moves as strided copies: from positions along each axis to few blocks with few axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.network import Block

#: A position that nothing is copied to.
NOTHING = -1


class Run(NamedTuple):
    """Part of an axis: ``y[to + sum i*to_step] = x[start + sum i*step]``, in elements of the axis.

    Attributes:
        start: First element of the input.
        to: First element of the output.
        steps: Count, step in the input and step in the output, outer loops first.
    """

    start: int
    to: int
    steps: tuple[tuple[int, int, int], ...]


def contiguous(shape: Sequence[int]) -> list[int]:
    """Elements from one step to the next along each axis."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def runs(places: Sequence[int] | NDArray[np.int64]) -> list[Run]:
    """Positions along an axis as loops: whole, of two nested loops, or piece by piece.

    Args:
        places: Element of the input for each element of the output; ``NOTHING`` for none.
    """
    positions = np.asarray(places, np.int64)
    found: list[Run] = []
    edges = np.flatnonzero(np.diff(positions == NOTHING)) + 1
    for first, last in itertools.pairwise([0, *edges.tolist(), len(positions)]):
        if last > first and positions[first] != NOTHING:
            found += _pieces(positions[first:last], first)
    return found


def _pieces(places: NDArray[np.int64], to: int) -> list[Run]:
    nested = _nested(places)
    if nested is not None:
        return [Run(int(places[0]), to, nested)]
    found: list[Run] = []
    first = 0
    while first < len(places):
        last = first + 1
        step = int(places[last] - places[first]) if last < len(places) else 1
        while last < len(places) and places[last] - places[last - 1] == step:
            last += 1
        found.append(Run(int(places[first]), to + first, ((last - first, step, 1),)))
        first = last
    return found


def _nested(places: NDArray[np.int64]) -> tuple[tuple[int, int, int], ...] | None:
    """One loop or two that give just these positions, or None."""
    count = len(places)
    if count == 1:
        return ((1, 0, 1),)
    steps = np.diff(places)
    if (steps == steps[0]).all():
        return ((count, int(steps[0]), 1),)
    for inner in range(2, count // 2 + 1):
        if count % inner:
            continue
        rows = places.reshape(-1, inner)
        across, along = np.diff(rows, axis=1), np.diff(rows[:, 0])
        if (across == across[0, 0]).all() and (along == along[0]).all():
            outer = (count // inner, int(along[0]), inner)
            return outer, (inner, int(across[0, 0]), 1)
    return None


def blocks_of(
    operand: int, before: Sequence[int], after: Sequence[int], axes: Sequence[Sequence[Run]]
) -> list[Block]:
    """Copies for every combination of the runs of each axis.

    Args:
        operand: Index of the input.
        before: Shape of the input.
        after: Shape of the output.
        axes: Runs along each axis.
    """
    units, to_units = contiguous(before), contiguous(after)
    found: list[Block] = []
    for choice in itertools.product(*axes):
        loops = [
            (count, step * unit, to_step * to_unit)
            for run, unit, to_unit in zip(choice, units, to_units, strict=True)
            for count, step, to_step in run.steps
        ]
        start = sum(run.start * unit for run, unit in zip(choice, units, strict=True))
        to = sum(run.to * unit for run, unit in zip(choice, to_units, strict=True))
        found.append(merged(operand, loops, start, to))
    return found


def merged(operand: int, loops: Sequence[tuple[int, int, int]], start: int, to: int) -> Block:
    """A block with as few loops as possible, the output's largest steps first.

    Args:
        operand: Index of the input.
        loops: Count, step in the input and step in the output, in elements.
        start: First element of the input.
        to: First element of the output.
    """
    joined: list[tuple[int, int, int]] = []
    for count, step, to_step in sorted(loops, key=lambda loop: -loop[2]):
        if count == 1:
            continue
        if joined:
            outer, outer_step, outer_to = joined[-1]
            if outer_step == step * count and outer_to == to_step * count:
                joined[-1] = (outer * count, step, to_step)
                continue
        joined.append((count, step, to_step))
    return Block(
        operand,
        tuple(count for count, _, _ in joined),
        tuple(step for _, step, _ in joined),
        start,
        tuple(to_step for _, _, to_step in joined),
        to,
    )


def transposition(shape: Sequence[int], order: Sequence[int]) -> Block:
    """A Transpose as one block.

    Args:
        shape: Sizes before.
        order: Permutation of the axes.
    """
    units = contiguous(shape)
    to_units = contiguous([shape[axis] for axis in order])
    loops = [(shape[a], units[a], unit) for a, unit in zip(order, to_units, strict=True)]
    return merged(0, loops, 0, 0)


def is_whole(blocks: Sequence[Block], before: int, after: int) -> bool:
    """Whether blocks copy all of an input of ``before`` elements as it is."""
    if len(blocks) != 1 or before != after:
        return False
    [block] = blocks
    stays = block.strides == block.to_strides and block.start == 0 and block.to == 0
    return stays and math.prod(block.sizes) == after
