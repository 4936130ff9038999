"""Static memory: where each buffer lies in the arena.

Buffers that live at the same time must not overlap. Finding the smallest arena is NP-hard; real
networks are small and nearly chains, so a greedy placement, tried in several orders, reaches the
lower bound (the largest sum of bytes that live at one moment) nearly always, and the search stops
there.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Sequence

ALIGNMENT = 16

_ROUNDS = 400


@dataclasses.dataclass(frozen=True)
class Buffer:
    """A stretch of memory with a lifetime.

    Attributes:
        name: What it holds.
        bytes: Its size.
        first: Step (index of a layer) that writes it.
        last: Last step that reads it; ``first`` or later.
    """

    name: str
    bytes: int
    first: int
    last: int

    @property
    def footprint(self) -> int:
        """Bytes it takes, a multiple of the alignment."""
        return -(-self.bytes // ALIGNMENT) * ALIGNMENT

    def meets(self, other: Buffer) -> bool:
        """Whether both live at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclasses.dataclass(frozen=True)
class Plan:
    """Offsets of buffers in an arena.

    Attributes:
        buffers: The buffers.
        offsets: Offset of each, in bytes, a multiple of the alignment.
        bound: Largest sum of footprints that live at one step: no plan is smaller.
    """

    buffers: tuple[Buffer, ...]
    offsets: tuple[int, ...]
    bound: int

    @property
    def bytes(self) -> int:
        """Size of the arena."""
        ends = (o + b.footprint for b, o in zip(self.buffers, self.offsets, strict=True))
        return max(ends, default=0)


def live_bytes(buffers: Iterable[Buffer], steps: int) -> list[int]:
    """Sum of the footprints that live at each step.

    Args:
        buffers: The buffers.
        steps: Number of steps.

    Returns:
        Bytes, by step.
    """
    changes = [0] * (steps + 1)
    for buffer in buffers:
        changes[buffer.first] += buffer.footprint
        changes[buffer.last + 1] -= buffer.footprint
    live, total = [], 0
    for change in changes[:steps]:
        total += change
        live.append(total)
    return live


def plan_memory(buffers: Sequence[Buffer]) -> Plan:
    """Places buffers; the same buffers give the same plan.

    Args:
        buffers: What to place.

    Returns:
        The best plan found.
    """
    steps = max((buffer.last for buffer in buffers), default=-1) + 1
    bound = max(live_bytes(buffers, steps), default=0)
    neighbours = [
        [j for j, other in enumerate(buffers) if j != i and buffer.meets(other)]
        for i, buffer in enumerate(buffers)
    ]
    best: list[int] = []
    best_size = -1
    for order in _orders(buffers, neighbours, best):
        offsets = _place(buffers, neighbours, order)
        size = _size(buffers, offsets)
        if best_size < 0 or size < best_size:
            best_size = size
            best[:] = offsets
        if best_size <= bound:
            break
    return Plan(tuple(buffers), tuple(best), bound)


def _size(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    return max((o + b.footprint for b, o in zip(buffers, offsets, strict=True)), default=0)


def _orders(
    buffers: Sequence[Buffer], neighbours: Sequence[Sequence[int]], best: list[int]
) -> Iterable[list[int]]:
    """Orders to place in: by size, by time, by crowding, then variations of the best placement."""
    places = range(len(buffers))
    yield sorted(places, key=lambda i: (-buffers[i].footprint, buffers[i].first, i))
    yield sorted(places, key=lambda i: (buffers[i].first, -buffers[i].footprint, i))
    yield sorted(places, key=lambda i: (-len(neighbours[i]), -buffers[i].footprint, i))
    yield sorted(places, key=lambda i: (buffers[i].first - buffers[i].last, -buffers[i].bytes, i))
    chance = random.Random(0)
    for _ in range(_ROUNDS if len(buffers) < 400 else _ROUNDS // 8):
        # What reaches the top decides: it goes first, the others follow by size with noise.
        top = _size(buffers, best)
        high = {i for i in places if best[i] + buffers[i].footprint == top}
        noise = [chance.uniform(0.3, 1.0) for _ in places]
        yield sorted(
            places,
            key=lambda i: (i not in high or noise[i] < 0.5, -buffers[i].footprint * noise[i], i),
        )


def _place(
    buffers: Sequence[Buffer], neighbours: Sequence[Sequence[int]], order: Sequence[int]
) -> list[int]:
    """Puts each buffer into the lowest gap that holds it."""
    offsets = [-1] * len(buffers)
    for index in order:
        taken = sorted(
            (offsets[other], offsets[other] + buffers[other].footprint)
            for other in neighbours[index]
            if offsets[other] >= 0
        )
        offset = 0
        for start, end in taken:
            if start - offset >= buffers[index].footprint:
                break
            offset = max(offset, end)
        offsets[index] = offset
    return offsets
