"""Numbers that the C coder of a split model reads: sums of frequencies, and the fast tables.

What they mean is in ``split_codec.h`` and ``split_fast.h``.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.split.specification import TOTAL, Feature, Stripe

_RECIPROCAL_BITS = 44
_PER_WORD = 4
#: Words of thresholds of features with more levels than 17: two steps of sixteen find a code.
_TWO_STEPS = 68
_FAR = 0x8000
_POLYNOMIAL = 0xEDB88320


def starts_of(stripe: Stripe) -> NDArray[np.uint16]:
    """Sums of the frequencies before each code, and 4096: uint16 [contexts, levels + 1]."""
    rows = np.array(stripe.frequencies, np.uint16).reshape(-1, stripe.levels)
    return np.concatenate([np.zeros((len(rows), 1), np.uint16), rows.cumsum(1, np.uint16)], 1)


@dataclasses.dataclass(frozen=True)
class FastTables:
    """The arrays of ``struct split_fast_feature``.

    Attributes:
        reciprocals: uint64 [entries].
        pairs: uint32 [entries].
        entry_bases: uint32 [stripes].
        rows: uint64, flat.
        row_bases: uint32 [stripes].
        steps: uint32 [256, 2].
        words: Words of thresholds in a row.
        reference_step: Words from the row of a reference code to that of the next.
    """

    reciprocals: NDArray[np.uint64]
    pairs: NDArray[np.uint32]
    entry_bases: NDArray[np.uint32]
    rows: NDArray[np.uint64]
    row_bases: NDArray[np.uint32]
    steps: NDArray[np.uint32]
    words: int
    reference_step: int


def fast_tables(feature: Feature) -> FastTables | None:
    """Tables for the fast coder; None where there are too many entries for its short indices."""
    sizes = [len(stripe.frequencies) * stripe.levels for stripe in feature.stripes]
    if not all(sizes) or sum(sizes) > 1 << 16:
        return None
    most = max(stripe.levels for stripe in feature.stripes)
    words = next((n for n in (1, 2, 4) if most <= n * _PER_WORD + 1), _TWO_STEPS)
    row_words = words + -(-most // 2)
    starts = [starts_of(stripe) for stripe in feature.stripes]
    rows = [_rows(table, words, row_words) for table in starts]
    codes = np.arange(256)
    left, upper, reference = feature.caps
    upper_step = (reference + 1) * row_words
    left_step = (upper + 1) * upper_step
    pairs = [_pairs(table) for table in starts]
    frequencies = np.concatenate([np.diff(table.astype(np.int64)).reshape(-1) for table in starts])
    return FastTables(
        reciprocals=(-(-(1 << _RECIPROCAL_BITS) // frequencies)).astype(np.uint64),
        pairs=np.concatenate(pairs),
        entry_bases=_bases(sizes),
        rows=np.concatenate(rows),
        row_bases=_bases([len(row) for row in rows]),
        steps=np.stack(
            [np.minimum(codes, left) * left_step, np.minimum(codes, upper) * upper_step], 1
        ).astype(np.uint32),
        words=words,
        reference_step=row_words,
    )


def crc_tables() -> NDArray[np.uint32]:
    """CRC-32 of each byte with 0 to 7 zero bytes behind it: uint32 [8, 256]."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = table >> 1 ^ np.where(table & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    tables = [table]
    for _ in range(7):
        tables.append(tables[-1] >> 8 ^ table[tables[-1] & 0xFF])
    return np.stack(tables)


def _bases(sizes: list[int]) -> NDArray[np.uint32]:
    return np.cumsum([0, *sizes[:-1]]).astype(np.uint32)


def _pairs(starts: NDArray[np.uint16]) -> NDArray[np.uint32]:
    """For each entry, its start and what its frequency lacks to 4096."""
    wide = starts.astype(np.uint32)
    pairs = wide[:, :-1] | (TOTAL - np.diff(wide)) << 16
    return pairs.astype(np.uint32).reshape(-1)


def _rows(starts: NDArray[np.uint16], words: int, row_words: int) -> NDArray[np.uint64]:
    """Thresholds and codes of each context of a stripe, flat."""
    contexts, levels = starts.shape[0], starts.shape[1] - 1
    # The threshold of a code is where it starts; what there is not is never reached.
    thresholds = np.full((contexts, 257), TOTAL, np.uint16)
    thresholds[:, :levels] = starts[:, :levels]
    if words < _TWO_STEPS:
        fields = thresholds[:, 1 : 1 + _PER_WORD * words]
    else:
        # 15 of each 16 thresholds are in their sixteen, every 16th tells the sixteens apart.
        steps = thresholds[:, 16:257:16]
        parts = thresholds[:, :256].reshape(contexts, 16, 16)[:, :, 1:]
        parts = np.pad(parts, ((0, 0), (0, 0), (0, 1)), constant_values=TOTAL)
        fields = np.concatenate([steps, parts.reshape(contexts, -1)], 1)
    rows = np.zeros((contexts, row_words), np.uint64)
    rows[:, :words] = np.ascontiguousarray(_FAR - fields).astype("<u2").view("<u8")
    wide = starts.astype(np.uint32)
    codes = np.zeros((contexts, 2 * (row_words - words)), "<u4")
    codes[:, :levels] = np.diff(wide) | wide[:, :-1] << 16
    rows[:, words:] = codes.view("<u8")
    return rows.reshape(-1)
