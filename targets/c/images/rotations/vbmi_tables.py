"""Tables for ``vpermb``: 64 rows of one output are one register.

Entries become unsigned by taking the smallest of each table away; the sums begin with what was
taken. Tables of four rows are looked up three at a time, with an index of six bits, where the sums
of three stay within a byte; else all rows are repeated up to 64.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

ROWS = 64
#: Levels of two bits that share an index.
TRIPLE = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Packed:
    """Tables of a layer.

    Attributes:
        tables: uint8 (outputs, indices, 64).
        biases: int16 (outputs, 2): what the sums begin with, as a word and as both of its bytes'
            places (``b * 257``).
        triples: Whether an index stands for three levels.
    """

    tables: NDArray[np.uint8]
    biases: NDArray[np.int16]
    triples: bool


def pack(tables: NDArray[np.int8]) -> Packed:
    """Packs tables.

    Args:
        tables: int8 (inputs, rows, outputs).
    """
    rows = tables.shape[1]
    wide = tables.astype(np.int64)
    if rows == 4:
        grouped = _triples(wide)
        if (np.ptp(grouped, axis=1) <= 255).all():
            return _packed(grouped, True)
    return _packed(np.tile(wide, (1, ROWS // rows, 1)), False)


def _triples(tables: NDArray[np.int64]) -> NDArray[np.int64]:
    """(groups, 64, outputs) of (inputs, 4, outputs); row ``a + 4 b + 16 c``."""
    inputs, _, outputs = tables.shape
    padded = np.zeros((-(-inputs // TRIPLE) * TRIPLE, 4, outputs), np.int64)
    padded[:inputs] = tables
    row = np.arange(ROWS)
    return sum(
        (padded[part::TRIPLE, (row >> (2 * part)) & 3] for part in range(TRIPLE)), np.int64(0)
    )


def _packed(tables: NDArray[np.int64], triples: bool) -> Packed:
    least = tables.min(axis=1)
    bias = least.sum(axis=0)
    data = (tables - least[:, None]).astype(np.uint8).transpose(2, 0, 1)
    words = np.stack([bias, (bias * 257) & 0xFFFF], axis=1)
    return Packed(np.ascontiguousarray(data), words.astype(np.uint16).view(np.int16), triples)
