"""Windows that lie in rows of padded memory, and which loads of pixels they share."""

from __future__ import annotations

import dataclasses
import itertools

from intaglio.targets.c.kernels.mve.job import PIXELS

#: Largest offset of a load of words.
_FARTHEST = 508


@dataclasses.dataclass(frozen=True)
class Rows:
    """Pixels that lie in rows of padded memory, four neighbours in each.

    Attributes:
        rows: Rows of the window, 4 at most.
        taps: Its columns.
        channels: Bytes from one column to the next; a multiple of 16.
        stride: Columns from one pixel to the next.
    """

    rows: int
    taps: int
    channels: int
    stride: int

    @property
    def fits(self) -> bool:
        """Whether the offsets of all pixels can be written into an instruction."""
        farthest = (3 * self.stride + self.taps - 1) * self.channels
        return self.rows <= 4 and self.channels % 16 == 0 and farthest <= _FARTHEST

    @property
    def order(self) -> tuple[int, ...]:
        """The taps in the order that loads the fewest pixels."""
        return min(
            itertools.permutations(range(self.taps)), key=lambda order: len(self.loads(order))
        )

    def loads(self, order: tuple[int, ...]) -> list[tuple[int, int, int]]:
        """Loads of one row: before which tap, what column, into which register."""
        held: dict[int, int] = {}
        found = []
        for tap in order:
            needed = [pixel * self.stride + tap for pixel in range(PIXELS)]
            free = [q for q in range(PIXELS) if q not in {held.get(c) for c in needed}]
            kept = {column: held[column] for column in needed if column in held}
            for column in needed:
                if column not in kept:
                    kept[column] = free.pop(0)
                    found.append((tap, column, kept[column]))
            held = kept
        return found
