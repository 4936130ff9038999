"""An order of a tensor's elements: its axes permuted, and the elements along an axis shuffled.

A shuffle along an axis is what a permutation becomes behind a Reshape that flattens: with
``[N, C, H, W]`` stored as ``[N, H, W, C]``, the flat axis of ``C*H*W`` elements is made of the
factors C, H, W in the order H, W, C. The constant weight behind it can take that order for free.

None stands for the order that a tensor has in the graph as it is.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Sizes: a number, the name of an open dimension, or None where nothing is known.
Dims = tuple[int | str | None, ...]
Permutation = tuple[int, ...]

CHANNELS_LAST: Permutation = (0, 2, 3, 1)
CHANNELS_FIRST: Permutation = (0, 3, 1, 2)


@dataclasses.dataclass(frozen=True)
class Shuffle:
    """The elements along one axis, seen as a box of ``sizes`` whose axes are put in ``order``.

    Attributes:
        axis: The axis, in the graph's own order.
        sizes: Its factors.
        order: New factor i is old factor ``order[i]``.
    """

    axis: int
    sizes: tuple[int, ...]
    order: Permutation

    @property
    def size(self) -> int:
        """Number of elements along the axis."""
        return math.prod(self.sizes)

    def indices(self) -> NDArray[np.int64]:
        """For each new place, the old one."""
        box = np.arange(self.size, dtype=np.int64).reshape(self.sizes)
        return np.asarray(box.transpose(self.order).reshape(-1))


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a tensor is stored.

    Attributes:
        perm: New axis i is axis ``perm[i]`` of the graph's own order.
        shuffles: Shuffled axes, by axis; each is shuffled before the axes are permuted.
    """

    perm: Permutation
    shuffles: tuple[Shuffle, ...] = ()

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.perm)

    def shuffle(self, axis: int) -> Shuffle | None:
        """The shuffle of ``axis``, counted in the graph's own order."""
        return next((s for s in self.shuffles if s.axis == axis), None)

    def place(self, axis: int) -> int:
        """Where axis ``axis`` of the graph's own order is stored."""
        return self.perm.index(axis)


def identity(rank: int) -> Layout:
    """The order that a tensor of ``rank`` axes has anyway."""
    return Layout(tuple(range(rank)))


def full(layout: Layout | None, rank: int) -> Layout:
    """``layout``, spelled out where it is None."""
    return identity(rank) if layout is None else layout


def inverse(perm: Sequence[int]) -> Permutation:
    """The permutation that undoes ``perm``."""
    return tuple(int(i) for i in np.argsort(perm))


@functools.lru_cache(maxsize=65536)
def normalize(layout: Layout | None, dims: Dims) -> Layout | None:
    """One form for all layouts that store a tensor of these sizes alike.

    Axes of size 1 are interchangeable, and factors that stay together are one factor.
    """
    if layout is None:
        return None
    ones = iter([axis for axis, dim in enumerate(dims) if dim == 1])
    perm = tuple(next(ones) if dims[axis] == 1 else axis for axis in layout.perm)
    shuffles = [s for s in map(_merge_factors, layout.shuffles) if s is not None]
    shuffles.sort(key=lambda s: s.axis)
    if perm == tuple(range(len(dims))) and not shuffles:
        return None
    return Layout(perm, tuple(shuffles))


def _merge_factors(shuffle: Shuffle) -> Shuffle | None:
    """The shuffle in as few factors as possible; None when it does nothing."""
    order = [i for i in shuffle.order if shuffle.sizes[i] != 1]
    runs: list[list[int]] = []
    kept = sorted(order)
    after = dict(itertools.pairwise(kept))
    for factor in order:
        if runs and after.get(runs[-1][-1]) == factor:
            runs[-1].append(factor)
        else:
            runs.append([factor])
    if len(runs) <= 1:
        return None
    by_place = sorted(runs)
    sizes = tuple(math.prod(shuffle.sizes[i] for i in run) for run in by_place)
    return Shuffle(shuffle.axis, sizes, tuple(by_place.index(run) for run in runs))


def memory_order(layout: Layout | None, dims: Dims) -> Layout:
    """What layouts have in common that differ in the places of axes of size 1 only."""
    whole = full(layout, len(dims))
    return Layout(tuple(axis for axis in whole.perm if dims[axis] != 1), whole.shuffles)


def through(layout: Layout | None, perm: Permutation) -> Layout | None:
    """The layout of a tensor, given that of its transpose.

    Args:
        layout: Of ``transpose(x, perm)``.
        perm: The permutation between them.

    Returns:
        The layout of ``x`` that stores the same array.
    """
    outer = full(layout, len(perm))
    shuffles = tuple(dataclasses.replace(s, axis=perm[s.axis]) for s in outer.shuffles)
    return Layout(tuple(perm[axis] for axis in outer.perm), shuffles)


def stored_dims(dims: Dims, layout: Layout | None) -> Dims:
    """The sizes of the stored array."""
    return dims if layout is None else tuple(dims[axis] for axis in layout.perm)


def stored_array(array: NDArray[Any], layout: Layout | None) -> NDArray[Any]:
    """A constant in the order of ``layout``."""
    if layout is None:
        return array
    for shuffle in layout.shuffles:
        array = np.take(array, shuffle.indices(), axis=shuffle.axis)
    return np.ascontiguousarray(array.transpose(layout.perm))


def step_between(stored: Layout | None, needed: Layout | None, rank: int) -> Permutation | None:
    """The transpose that turns one stored array into another; None where shuffles differ."""
    first, second = full(stored, rank), full(needed, rank)
    if first.shuffles != second.shuffles:
        return None
    return tuple(first.place(axis) for axis in second.perm)


def moves_data(perm: Sequence[int], dims: Dims) -> bool:
    """Whether a Transpose by ``perm`` of a tensor of these sizes changes the order in memory."""
    real = [axis for axis in perm if dims[axis] != 1]
    return real != sorted(real)


def moves_of_ones(start: Dims, target: Dims) -> Permutation | None:
    """The Transpose that a reshape is when all but dimensions of size 1 keep their order."""
    if len(start) != len(target) or None in start or None in target or 0 in start:
        return None
    real = [axis for axis, dim in enumerate(start) if dim != 1]
    if [start[axis] for axis in real] != [dim for dim in target if dim != 1]:
        return None
    ones = iter([axis for axis, dim in enumerate(start) if dim == 1])
    rest = iter(real)
    return tuple(next(ones) if dim == 1 else next(rest) for dim in target)


def reshape_target(start: Dims, target: Dims) -> list[int] | None:
    """What a Reshape says to get from sizes ``start`` to ``target``; None where it cannot.

    -1 stands for one open dimension, 0 copies one; a dimension that is 0 cannot be written then.
    """
    if 0 in start or 0 in target:
        return None
    result: list[int] = []
    for place, dim in enumerate(target):
        if isinstance(dim, int):
            result.append(dim)
        elif dim is not None and place < len(start) and start[place] == dim:
            result.append(0)
        else:
            result.append(-1)
    return result if result.count(-1) <= 1 else None
