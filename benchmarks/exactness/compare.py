"""Counting values that differ between an integer graph and a TFLite file, tensor by tensor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: How the dimensions of a tensor with channels last stand with channels first.
_CHANNELS_FIRST = (0, 3, 1, 2)


@dataclasses.dataclass
class Tally:
    """Values compared and found different.

    Attributes:
        tensors: Names of the tensors compared.
        values: How many values.
        different: How many of them differ.
        largest: Largest difference.
        worst: Tensors that differ, and in how many values.
    """

    tensors: set[str] = dataclasses.field(default_factory=set)
    values: int = 0
    different: int = 0
    largest: int = 0
    worst: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, name: str, one: NDArray[Any], other: NDArray[Any]) -> None:
        """Compares a tensor of the file with the same of the integer graph."""
        distance = min(
            (np.abs(one.astype(np.int64) - form.astype(np.int64)) for form in _forms(one, other)),
            key=np.count_nonzero,
        )
        count = int(np.count_nonzero(distance))
        self.tensors.add(name)
        self.values += one.size
        self.different += count
        self.largest = max(self.largest, int(distance.max(initial=0)))
        if count:
            self.worst[name] = self.worst.get(name, 0) + count

    def to_dict(self) -> dict[str, Any]:
        """As JSON-friendly data; the three worst tensors."""
        worst = sorted(self.worst.items(), key=lambda item: -item[1])[:3]
        return {
            "tensors": len(self.tensors),
            "values": self.values,
            "different": self.different,
            "largest": self.largest,
            "worst": dict(worst),
        }


def _forms(one: NDArray[Any], other: NDArray[Any]) -> Sequence[NDArray[Any]]:
    """``other`` in the shapes that it may have beside ``one``: as it is, or channels last."""
    if one.dtype == np.uint8 and other.dtype == np.int8:
        other = other.astype(np.int16) + 128
    forms = [other.reshape(one.shape)] if other.shape == one.shape or one.ndim != 4 else []
    if one.ndim == 4 and other.ndim == 4:
        turned = other.transpose(np.argsort(_CHANNELS_FIRST))
        forms += [turned] if turned.shape == one.shape else []
    return forms or [other.reshape(one.shape)]


def compare(
    file: Mapping[str, NDArray[Any]],
    graph: Mapping[str, NDArray[Any]],
    names: Mapping[str, str],
    tally: Tally,
) -> None:
    """Adds every tensor that both have.

    Args:
        file: Tensors of the TFLite file by name.
        graph: Tensors of the integer graph by name.
        names: Name in the graph by name in the file.
        tally: Where to count.
    """
    for name, twin in names.items():
        if name in file and twin in graph:
            tally.add(name, file[name], graph[twin])
