"""Progress: how the library tells whoever listens how far it is.

A listener is any callable ``progress(stage, done, total)``: ``stage`` is a short text, ``done``
counts from 0, ``total`` is None while it is not known. Layers below take the same callable without
importing this module. The command line draws bars from it; nobody has to listen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Progress = Callable[[str, int, "int | None"], None]

_Item = TypeVar("_Item")


def silent(stage: str, done: int, total: int | None) -> None:
    """Listens to nothing."""


def track(
    items: Iterable[_Item], stage: str, progress: Progress, total: int | None = None
) -> Iterator[_Item]:
    """Iterates over ``items`` and reports each one that is done.

    Args:
        items: What to iterate over.
        stage: Text to show.
        progress: The listener.
        total: Number of items, where it is known.

    Yields:
        The items, unchanged.
    """
    done = 0
    progress(stage, done, total)
    for item in items:
        yield item
        done += 1
        progress(stage, done, total)
