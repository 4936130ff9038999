"""Which shape a tensor gets where its readers see it in several."""

from __future__ import annotations

import dataclasses
import enum


class Freedom(enum.Enum):
    """Which shapes a tensor may have, by the layer that makes it."""

    ANY = "any"
    ROWS = "any with the same last axis"
    NONE = "its own"


@dataclasses.dataclass(frozen=True)
class Wish:
    """Name and shape that a tensor is to have instead of those of its graph value."""

    name: str
    shape: tuple[int, ...]
