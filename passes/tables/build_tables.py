"""Tables of one layer from the entries of a region and the sum behind it.

    tables[t*Cg + c, r, o] = sum over results j of channel c: weights[t, o, j] * entries[r, j]

The sum over the results of one channel is done here, once, on integers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.passes.tables.evaluate_region import NotATableError
from intaglio.transforms.additive_tables import Index, additive_lookup

Int64 = NDArray[np.int64]


def largest_group(owners: Int64, weights: Int64, inputs: int) -> int:
    """The largest number of groups of channels that no sum crosses.

    Args:
        owners: [J] channel of the root behind each result.
        weights: [taps, O, J].
        inputs: number of channels of the root.
    """
    outputs = weights.shape[1]
    reads = np.zeros((outputs, inputs), bool)
    taken = (weights != 0).any(axis=0)
    for channel in range(inputs):
        reads[:, channel] = taken[:, owners == channel].any(axis=1)
    rows, columns = np.nonzero(reads)
    common = math.gcd(outputs, inputs)
    for group in sorted((g for g in range(1, common + 1) if common % g == 0), reverse=True):
        if (rows // (outputs // group) == columns // (inputs // group)).all():
            return group
    return 1


def build_tables(
    entries: Int64, owners: Int64, weights: Int64, bias: Int64, inputs: int, group: int
) -> NDArray[np.int8] | NDArray[np.int16]:
    """The tables of a layer, in the smallest type that holds them.

    Args:
        entries: [rows, J].
        owners: [J] channel of the root behind each result.
        weights: [taps, O, J].
        bias: [O], added to the first table of each group.
        inputs: number of channels of the root.
        group: number of groups.

    Returns:
        int8 or int16 ``[taps * inputs / group, rows, O]``.

    Raises:
        NotATableError: an entry does not fit 16 bits.
    """
    taps, outputs, _ = weights.shape
    within, made = inputs // group, outputs // group
    tables = np.zeros((taps, within, entries.shape[0], outputs), np.int64)
    for channel in range(inputs):
        mine = owners == channel
        g, place = divmod(channel, within)
        columns = slice(g * made, (g + 1) * made)
        tables[:, place, :, columns] = np.matmul(
            entries[:, mine], weights[:, columns][:, :, mine].transpose(0, 2, 1)
        )
    tables[0, 0] += bias
    largest = int(max(tables.max(initial=0), -1 - tables.min(initial=0)))
    if largest > np.iinfo(np.int16).max:
        raise NotATableError(f"entries up to {largest} do not fit 16 bits")
    dtype = np.int8 if largest <= np.iinfo(np.int8).max else np.int16
    return tables.reshape(taps * within, entries.shape[0], outputs).astype(dtype)


def prove_tables(
    tables: NDArray[np.int8] | NDArray[np.int16],
    low: int,
    group: int,
    results: Int64,
    owners: Int64,
    weights: Int64,
    bias: Int64,
    inputs: int,
) -> int:
    """Looks every integer up in every channel, and compares the sums with those of the region.

    Neighboring channels and taps hold different integers: a table in the wrong place shows.

    Args:
        tables: of the layer, all taps.
        low: the integer of row 0.
        group: number of groups.
        results: [rows, J] of the region.
        owners: [J] channel of the root behind each result.
        weights: [taps, O, J].
        bias: [O].
        inputs: number of channels of the root.

    Returns:
        Number of sums compared.

    Raises:
        InternalError: one differs.
    """
    taps, rows = weights.shape[0], results.shape[0]
    place = np.arange(inputs)[:, None] + inputs * np.arange(taps)
    row = (np.arange(rows)[:, None, None] + place) % rows
    want = np.broadcast_to(bias, (rows, len(bias)))
    for tap in range(taps):
        want = want + results[row[:, owners, tap], np.arange(len(owners))] @ weights[tap].T
    got = additive_lookup(row + low, tables, Index(low=low), kernel=(taps,), group=group)[:, :, 0]
    if not np.array_equal(got, want):
        raise InternalError(
            f"{int((got != want).sum())} of {want.size} sums of a table layer differ from its "
            "sub-graph",
            remedy="please report this as a bug",
        )
    return int(want.size)


def fold_picker(
    tables: NDArray[np.int8] | NDArray[np.int16], picks: Int64, taps: int, inputs: int
) -> NDArray[np.int8] | NDArray[np.int16] | None:
    """Tables that read a window where they read channels that were picked from it.

    Args:
        tables: of channels ``j``, one tap.
        picks: [j] as ``tap * inputs + channel`` of the window.
        taps: of the window.
        inputs: channels of the image.

    Returns:
        Tables [taps * inputs, rows, O]; None where two channels picked the same.
    """
    if len(set(picks.tolist())) != len(picks):
        return None
    wide = np.zeros((taps * inputs, *tables.shape[1:]), tables.dtype)
    wide[picks] = tables
    return wide
