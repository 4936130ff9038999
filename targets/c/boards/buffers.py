"""Arrays in the files that an image reads and writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.boards.image import Border, padded_bytes

Arrays = Sequence[NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class Spec:
    """Shape and type of an array."""

    shape: tuple[int, ...]
    dtype: str

    @staticmethod
    def of(array: NDArray[Any]) -> Spec:
        """Those of ``array``."""
        return Spec(array.shape, array.dtype.name)


def packed(sample: Arrays) -> bytes:
    """Arrays one behind the other, each filled up as in the image."""
    return b"".join(array.tobytes().ljust(padded_bytes(Spec.of(array)), b"\0") for array in sample)


def unpacked(
    data: bytes, specs: Sequence[Border], samples: int
) -> tuple[tuple[NDArray[Any], ...], ...]:
    """The arrays of each sample, from what :func:`packed` would have written.

    Args:
        data: The file's content.
        specs: Shape and type of a sample's arrays.
        samples: Number of samples.
    """
    found = []
    place = 0
    for _ in range(samples):
        arrays = []
        for spec in specs:
            arrays.append(array_at(data, place, spec))
            place += padded_bytes(spec)
        found.append(tuple(arrays))
    return tuple(found)


def array_at(data: bytes, place: int, spec: Border) -> NDArray[Any]:
    """The array that begins ``place`` bytes into ``data``."""
    shape = tuple(int(d) for d in spec.shape)
    values = np.frombuffer(data, spec.dtype, int(np.prod(shape)), place)
    found: NDArray[Any] = values.reshape(shape).copy()
    return found
