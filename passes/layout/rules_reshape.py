"""Reshape and its kin: groups of axes that become groups of axes.

``[N, C, H, W]`` to ``[N, C*H*W]`` has the groups N to N and C, H, W to one axis. A group moves as
a whole. Inside a group the order may change where one side is a single axis, which then is
shuffled. Axes of size 1 belong to no group; they stand wherever they are wanted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from intaglio.passes.layout.layouts import (
    Dims,
    Layout,
    Shuffle,
    full,
    normalize,
    reshape_target,
    stored_dims,
)
from intaglio.passes.layout.rules import Assignment, Constants, Rule, dims_of

#: Axes of the one side and of the other that hold the same elements in the same order.
Groups = list[tuple[tuple[int, ...], tuple[int, ...]]]


class Regroup(Rule):
    """Reshape, Flatten, Squeeze, Unsqueeze."""

    def by_input(
        self, node: ir.Node, index: int, layout: Layout | None, current: Assignment
    ) -> Assignment | None:
        """The result in the order that the groups of the input have."""
        sides = _sides(node)
        if index != 0 or sides is None:
            return None
        start, target = sides
        groups = match_groups(start, target)
        found = None if groups is None else carry(groups, start, target, layout)
        return None if found is None else self._assignment(node, layout, found)

    def by_output(
        self, node: ir.Node, index: int, layout: Layout | None, current: Assignment
    ) -> Assignment | None:
        """The input in the order that the groups of the result have."""
        sides = _sides(node)
        if sides is None:
            return None
        start, target = sides
        groups = match_groups(start, target)
        if groups is None:
            return None
        found = carry([(b, a) for a, b in groups], target, start, layout)
        return None if found is None else self._assignment(node, found, layout)

    def _assignment(
        self, node: ir.Node, first: Layout | None, second: Layout | None
    ) -> Assignment | None:
        sides = _sides(node)
        if sides is None:
            return None
        start, target = sides
        if normalize(first, start) is None and normalize(second, target) is None:
            first = second = None
        elif reshape_target(stored_dims(start, first), stored_dims(target, second)) is None:
            return None
        parameters = (None,) * (len(node.inputs) - 1)
        return Assignment((first, *parameters), (second,))

    def rewrite(self, node: ir.Node, chosen: Assignment, constants: Constants) -> None:
        """Writes a Reshape to the new sizes."""
        sides = _sides(node)
        if sides is None or (chosen.inputs[0] is None and chosen.outputs[0] is None):
            return
        start, target = sides
        sizes = reshape_target(
            stored_dims(start, chosen.inputs[0]), stored_dims(target, chosen.outputs[0])
        )
        if sizes is not None:
            make_reshape(node, sizes, constants)


def make_reshape(node: ir.Node, sizes: Sequence[int], constants: Constants) -> None:
    """Turns any of these operators into a Reshape to ``sizes``."""
    if node.op_type != "Reshape":
        node.op_type = "Reshape"
        node.resize_inputs(1)
    node.attributes.clear()
    constants.set(node, 1, np.asarray(sizes, np.int64), f"{node.name}_shape")


def _sides(node: ir.Node) -> tuple[Dims, Dims] | None:
    start, target = dims_of(node.inputs[0]), dims_of(node.outputs[0])
    if start is None or target is None or None in start or None in target:
        return None
    return start, target


def match_groups(start: Dims, target: Dims) -> Groups | None:
    """The smallest groups of axes that hold the same elements; None where sizes are 0.

    Where open dimensions hide how the middle is divided, it is one group.
    """
    if 0 in start or 0 in target:
        return None
    first = [axis for axis, dim in enumerate(start) if dim != 1]
    second = [axis for axis, dim in enumerate(target) if dim != 1]
    front, first, second = _match_front(start, first, target, second)
    back, first, second = _match_front(start, first[::-1], target, second[::-1])
    middle: Groups = []
    if first or second:
        middle = [(tuple(reversed(first)), tuple(reversed(second)))]
        if not first or not second:
            return None
    return front + middle + [(a[::-1], b[::-1]) for a, b in reversed(back)]


def _match_front(
    start: Dims, first: list[int], target: Dims, second: list[int]
) -> tuple[Groups, list[int], list[int]]:
    """Groups from the front on, and the axes of both sides that are left."""
    groups: Groups = []
    while first and second:
        taken = _first_group(start, first, target, second)
        if taken is None:
            break
        i, j = taken
        groups.append((tuple(first[:i]), tuple(second[:j])))
        first, second = first[i:], second[j:]
    return groups, first, second


def _first_group(
    start: Dims, first: list[int], target: Dims, second: list[int]
) -> tuple[int, int] | None:
    """How many axes of either side make up the first group."""
    if isinstance(start[first[0]], str) or isinstance(target[second[0]], str):
        return (1, 1) if start[first[0]] == target[second[0]] else None
    i, j = 1, 1
    left, right = start[first[0]], target[second[0]]
    while left != right:
        if not isinstance(left, int) or not isinstance(right, int):
            return None
        if left < right and i < len(first):
            dim, i = start[first[i]], i + 1
            left = left * dim if isinstance(dim, int) else None
        elif right < left and j < len(second):
            dim, j = target[second[j]], j + 1
            right = right * dim if isinstance(dim, int) else None
        else:
            return None
    return i, j


def carry(groups: Groups, start: Dims, target: Dims, layout: Layout | None) -> Layout | None:
    """The layout behind a reshape from ``start`` to ``target`` of data in ``layout``.

    Args:
        groups: Axes of start and target that belong together.
        start: Sizes in front.
        target: Sizes behind.
        layout: Of the data in front.

    Returns:
        The layout behind, or None where the stored elements are no such tensor.
    """
    given = full(layout, len(start))
    order = [axis for axis in given.perm if start[axis] != 1]
    perm: list[int] = []
    shuffles: list[Shuffle] = []
    while order:
        found = next((g for g in groups if order[0] in g[0]), None)
        if found is None:
            return None
        before, after = found
        mine, order = order[: len(before)], order[len(before) :]
        if set(mine) != set(before):
            return None
        carried = _carry_group(before, mine, after, start, target, given)
        if carried is None:
            return None
        places, shuffle = carried
        perm += places
        shuffles += shuffle
    for axis, dim in enumerate(target):
        if dim == 1:
            perm.insert(axis, axis)
    return Layout(tuple(perm), tuple(shuffles))


def _carry_group(
    before: tuple[int, ...],
    mine: list[int],
    after: tuple[int, ...],
    start: Dims,
    target: Dims,
    given: Layout,
) -> tuple[list[int], list[Shuffle]] | None:
    """Order of the axes behind of one group, and the shuffle of its only axis."""
    shuffled = [given.shuffle(axis) for axis in before]
    if mine == list(before) and not any(shuffled):
        return list(after), []
    factors = _factors(before, mine, start, given)
    if factors is None:
        return None
    sizes, order = factors
    if len(after) == 1:
        return list(after), [Shuffle(after[0], tuple(sizes), tuple(order))]
    return _split_factors(sizes, order, [target[axis] for axis in after], after)


def _factors(
    before: tuple[int, ...], mine: list[int], start: Dims, given: Layout
) -> tuple[list[int], list[int]] | None:
    """A group's elements as a box in its old order, and the new order of the box's axes."""
    sizes: list[int] = []
    of_axis: dict[int, list[int]] = {}
    for axis in before:
        dim, shuffle = start[axis], given.shuffle(axis)
        if not isinstance(dim, int):
            return None
        own = (dim,) if shuffle is None else shuffle.sizes
        order = (0,) if shuffle is None else shuffle.order
        of_axis[axis] = [len(sizes) + place for place in order]
        sizes += own
    return sizes, [factor for axis in mine for factor in of_axis[axis]]


def _split_factors(
    sizes: list[int], order: list[int], wanted: list[int | str | None], after: tuple[int, ...]
) -> tuple[list[int], list[Shuffle]] | None:
    """Gives each factor of a shuffled axis the axes behind that it is made of."""
    parts: list[list[int]] = []
    rest = list(zip(wanted, after, strict=True))
    for size in sizes:
        part: list[int] = []
        left = size
        while left != 1:
            if not rest or not isinstance(rest[0][0], int) or left % rest[0][0]:
                return None
            dim, axis = rest.pop(0)
            left //= int(dim or 1)
            part.append(axis)
        parts.append(part)
    if rest or math.prod(sizes) == 0:
        return None
    return [axis for factor in order for axis in parts[factor]], []


STANDARD: Mapping[str, Rule] = dict.fromkeys(
    ("Flatten", "Reshape", "Squeeze", "Unsqueeze"), Regroup()
)
