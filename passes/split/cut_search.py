"""Looks for the sets of one or two values through which all data goes.

**One value.** Number the values in an order that can be run. A value separates the inputs from the
outputs exactly when no edge jumps over it: everything else lies on a path through it, so is its
ancestor or its descendant, and an edge over it would be a way around it. One sweep finds them all
(they are the dominators of the outputs).

**Two values**, of which neither separates alone. Both lie between the same two neighbours among the
values that separate alone: else each of them could be avoided on its own part of the way, and so
both on one path. So for every value of such a stretch, the sweep is done again with that value
taken out. What it finds is a cut if no node is needed on both sides of it.

Two long parallel branches of ``k`` values each have ``k^2`` such pairs. Where a stretch has many,
those are kept that cross after some node when the graph runs in its own order, and those that no
other pair with one value in common beats in both size and place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from intaglio.passes.split.cut_flow import Flow

#: A stretch with at most so many pairs keeps all of them.
MOST_PAIRS = 64
#: Stretches of more values are only looked at in the graph's own order.
LONGEST_STRETCH = 1000

Pair = tuple[int, int]


def separators(flow: Flow) -> list[int]:
    """Numbers of the values that separate all inputs from all outputs alone, in order."""
    return _sweep(flow, -1, len(flow.values), removed=None)


def pairs(flow: Flow, alone: Sequence[int], sizes: Sequence[int]) -> Iterator[Pair]:
    """Pairs of values that separate inputs from outputs together, and not alone.

    Args:
        flow: The graph.
        alone: What :func:`separators` found.
        sizes: Elements of each value.

    Yields:
        The numbers of a pair, the first in order first.
    """
    ends = [-1, *alone, len(flow.values)]
    running = list(_crossing_in_order(flow, set(alone)))
    for start, stop in pairwise(ends):
        own = [p for p in running if start < p[0] and p[1] < stop]
        if stop - start > LONGEST_STRETCH:
            yield from own
            continue
        found = [
            (first, second)
            for first in range(start + 1, stop)
            if flow.cuttable[first]
            for second in _sweep(flow, start, stop, removed=first)
            if second > first and flow.cuttable[second]
        ]
        if len(found) <= MOST_PAIRS:
            yield from (pair for pair in found if is_cut(flow, pair))
            continue
        useful = _unbeaten(flow, found, sizes)
        yield from sorted({*useful, *own})


def both_work(flow: Flow, values: tuple[int, ...]) -> bool:
    """Whether there is something to do in front of ``values``, and behind them."""
    device = flow.before(values)
    return bool(flow.work & device) and bool(flow.work & ~device)


def is_cut(flow: Flow, values: tuple[int, ...]) -> bool:
    """Whether both sides work, and ``values`` are all that crosses."""
    return both_work(flow, values) and flow.crossing(flow.before(values)) == sorted(values)


def _sweep(flow: Flow, start: int, stop: int, removed: int | None) -> list[int]:
    """Values between two that separate alone, through each of which all ways go.

    Args:
        flow: The graph.
        start: Number of the value that all ways come from, -1 for the graph's inputs.
        stop: Number of the value that all ways lead to, the number of values for the outputs.
        removed: A value that no way may use.
    """
    children = flow.children
    if start >= 0 and flow.leaves[start]:
        return []
    entries = flow.sources if start < 0 else children[start]
    reached = [False] * (stop - start)
    for value in entries:
        if value < stop:
            reached[value - start] = True
    for value in range(start + 1, stop):
        if value == removed:
            reached[value - start] = False
        elif reached[value - start]:
            for child in children[value]:
                if child < stop:
                    reached[child - start] = True
    leads = [False] * (stop - start) + [True]
    last = stop == len(flow.values)
    for value in range(stop - 1, start, -1):
        if reached[value - start]:
            leads[value - start] = (last and flow.leaves[value]) or any(
                leads[min(child, stop) - start] for child in children[value]
            )
    # The furthest value that an edge from an earlier one leads to.
    furthest = max((v for v in entries if v >= stop or leads[v - start]), default=start)
    found = []
    for value in range(start + 1, stop):
        if not leads[value - start]:
            continue
        if furthest <= value:
            found.append(value)
        if last and flow.leaves[value]:
            furthest = stop
        onward = (c for c in children[value] if c >= stop or leads[c - start])
        furthest = max(furthest, max(onward, default=start))
    return found


def _crossing_in_order(flow: Flow, alone: set[int]) -> Iterator[Pair]:
    """Pairs that cross after some node when the graph runs in its own order."""
    left = [
        bin(mask).count("1") + leaves
        for mask, leaves in zip(flow.readers, flow.leaves, strict=True)
    ]
    alive = set(flow.sources)
    seen: set[Pair] = set()
    for read, made in zip(flow.reads, flow.makes, strict=True):
        for value in read:
            left[value] -= 1
            if not left[value]:
                alive.discard(value)
        alive.update(made)
        if len(alive) != 2 or alive & alone:
            continue
        first, second = sorted(alive)
        pair = (first, second)
        if flow.cuttable[first] and flow.cuttable[second] and pair not in seen:
            seen.add(pair)
            if is_cut(flow, pair):
                yield pair


def _unbeaten(flow: Flow, found: Sequence[Pair], sizes: Sequence[int]) -> set[Pair]:
    """Pairs that are no larger than all earlier ones with the same first, or second, value."""
    by_second = sorted(found, key=lambda pair: (pair[1], pair[0]))
    return set(_records(flow, found, 0, sizes)) & set(_records(flow, by_second, 1, sizes))


def _records(
    flow: Flow, ordered: Iterable[Pair], fixed: int, sizes: Sequence[int]
) -> Iterator[Pair]:
    """Pairs smaller than all before them with the same value in place ``fixed``."""
    least: dict[int, int] = {}
    for pair in ordered:
        size = sizes[pair[1 - fixed]]
        if pair[fixed] in least and size >= least[pair[fixed]]:
            continue
        if is_cut(flow, pair):
            least[pair[fixed]] = size
            yield pair
