"""Additive table layers: sums of table rows, and what tables cost.

A layer reads one row for each tap and channel of a window and adds the rows up:

    r(v) = clamp(((v >> shift) & mask) - low, 0, rows - 1)
    acc[n, o, p] = sum_t sum_c tables[t*Cg + c, r(x[n, g*Cg + c, window p at t]), o]

with ``Cg = Cin / group`` channels in the group ``g`` of output ``o``. Split indices are two layers
that are added: ``x = 4h + l`` reads ``h = x >> 2`` (64 rows) and ``l = x & 3`` (4 rows).

Source: TinyLUT (Li et al., NeurIPS 2024): the separable mapping strategy (a table for each tap
instead of one for the whole window) and the dynamic discretization mechanism (split indices whose
range a learned scale compresses).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Index:
    """How an integer becomes a row: ``((v >> shift) & mask) - low``.

    Attributes:
        shift: bits dropped.
        mask: bits kept after that; -1 for all.
        low: the index that row 0 is for.
    """

    shift: int = 0
    mask: int = -1
    low: int = -128

    def rows(self, values: Integers, count: int) -> NDArray[np.int64]:
        """The row of each value in a table of ``count`` rows; beyond it the first or last one."""
        index = ((values.astype(np.int64) >> self.shift) & self.mask) - self.low
        return np.asarray(np.clip(index, 0, count - 1), np.int64)


def split_index(bits: int, signed: bool = True) -> tuple[Index, Index]:
    """The two indices of an 8-bit value split into upper and lower bits.

    Args:
        bits: number of the lower bits, 1..7; the upper part has ``2^(8 - bits)`` rows.
        signed: whether the values are int8; else uint8.

    Returns:
        The upper and the lower index: ``v = 2^bits * upper + lower``.
    """
    lowest = -(1 << (7 - bits)) if signed else 0
    return Index(bits, -1, lowest), Index(0, (1 << bits) - 1, 0)


def additive_lookup(
    x: Integers,
    tables: Integers,
    index: Index | None = None,
    *,
    kernel: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    group: int = 1,
    pad_value: int = 0,
) -> NDArray[np.int32]:
    """Sums of table rows over the windows of an image.

    Args:
        x: int8 or uint8 ``[N, Cin, ...]`` with any number of image axes.
        tables: int8 or int16 ``[taps * Cin / group, rows, Cout]``.
        index: how values become rows; None for all of int8.
        kernel: window size; None for one element.
        strides: distance of neighboring windows; None for 1.
        pads: border, first of all axes at the begin, then at the end; None for 0.
        dilations: distance of the taps of a window; None for 1.
        group: number of groups of channels.
        pad_value: what ``x`` is in the border.

    Returns:
        int32 ``[N, Cout, ...]``.

    Raises:
        ValueError: sizes do not fit each other.
    """
    index = index or Index()
    axes = x.ndim - 2
    kernel, strides, dilations = (
        tuple(given or (1,) * axes) for given in (kernel, strides, dilations)
    )
    pads = tuple(pads or (0,) * (2 * axes))
    taps, rows, outputs = tables.shape
    channels = x.shape[1]
    if channels % group or outputs % group:
        raise ValueError(f"{channels} channels and {outputs} outputs are not {group} groups")
    group_channels, group_outputs = channels // group, outputs // group
    if taps != int(np.prod(kernel)) * group_channels:
        raise ValueError(f"{taps} tables, but a window of {kernel} x {group_channels} channels")
    borders = [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)]
    row = index.rows(np.pad(x, borders, constant_values=pad_value), rows)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = [
        (size - extent) // stride + 1
        for size, extent, stride in zip(row.shape[2:], extents, strides, strict=True)
    ]
    result = np.zeros((x.shape[0], outputs, *sizes), np.int32)
    for tap, place in enumerate(np.ndindex(*kernel)):
        steps = (
            slice(k * d, k * d + stride * (size - 1) + 1, stride)
            for k, d, stride, size in zip(place, dilations, strides, sizes, strict=True)
        )
        window = (slice(None), *steps)
        for channel in range(channels):
            g, within = divmod(channel, group_channels)
            mine = slice(g * group_outputs, (g + 1) * group_outputs)
            entries = tables[tap * group_channels + within, :, mine].astype(np.int32)
            read = entries[row[:, channel][window]]
            result[:, mine] += np.moveaxis(read, -1, 1)
    return result


@dataclass(frozen=True)
class LayerSize:
    """A table layer as storage counts it.

    Attributes:
        inputs: tables: taps times channels of a group.
        outputs: entries of a row.
        levels: rows, the same for all tables, or for each.
    """

    inputs: int
    outputs: int
    levels: int | tuple[int, ...]

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        if isinstance(self.levels, int):
            return self.inputs * self.levels
        if len(self.levels) != self.inputs:
            raise ValueError(f"{len(self.levels)} row counts for {self.inputs} tables")
        return sum(self.levels)


@dataclass(frozen=True)
class Storage:
    """What the tables of a network take, and what they would take otherwise.

    Attributes:
        stored_bytes: sum of rows x outputs of all branches.
        unsplit_bytes: with one branch and 256 rows for every table: separable mapping alone (SMS).
        sampled_window_bytes: one table over the 2 x 2 window that other table networks use, sampled
            at 17 levels a pixel: 17^4 rows (SR-LUT).
        window_digits: decimal digits of the bytes of the first layer as one table over its whole
            window, 256^inputs rows.
    """

    stored_bytes: int
    unsplit_bytes: int
    sampled_window_bytes: int
    window_digits: int

    @property
    def separable_ratio(self) -> float:
        """What separable mapping saves against the sampled window."""
        return self.sampled_window_bytes / self.unsplit_bytes

    @property
    def discretization_ratio(self) -> float:
        """What split indices and pruned ranges save against 256 rows (DDM)."""
        return self.unsplit_bytes / self.stored_bytes

    def __str__(self) -> str:
        return (
            f"tables {self.stored_bytes:,} B; one branch of 256 rows {self.unsplit_bytes:,} B: "
            f"{self.discretization_ratio:.2f}x (DDM); a sampled 2x2 window "
            f"{self.sampled_window_bytes:,} B: {self.separable_ratio:.2f}x (SMS); the first window "
            f"as one table: 10^{self.window_digits - 1} B"
        )


def storage(
    branches: Sequence[Sequence[LayerSize]], entry_bytes: int = 1, window_outputs: int = 16
) -> Storage:
    """What the tables of a network take: ``sum of rows x outputs x bytes of an entry``.

    TinyLUT says that separable mapping saves over 7x and discretization 4.48x. Its S network with
    256 rows everywhere takes 167,936 B (164 KiB), a seventh to an eighth of SR-LUT's 1,336,336 B
    (published as 1.274 MB): 7.96x by bytes, and 7.8x as 1274 / 164. Full rows of a 6/2 split give
    256 / (64 + 4) = 3.76x for any network; the rest comes from ranges: the released S tables of
    37,776 B give 4.45x, and 764 KiB over the 171 KiB of F 4.47x, with which the published 4.48x
    agrees up to rounding (764 / 4.48 = 170.5).

    Args:
        branches: the layers of each branch; all have the same inputs and outputs.
        entry_bytes: bytes of an entry.
        window_outputs: results for each window of the sampled table: 16 for x4.

    Raises:
        ValueError: branches have different layers.
    """
    shapes = {tuple((layer.inputs, layer.outputs) for layer in branch) for branch in branches}
    if len(shapes) != 1:
        raise ValueError("the branches of a network have the same layers")
    (shape,) = shapes
    stored = sum(layer.rows * layer.outputs for branch in branches for layer in branch)
    first_inputs, first_outputs = shape[0]
    return Storage(
        stored * entry_bytes,
        sum(256 * inputs * outputs for inputs, outputs in shape) * entry_bytes,
        17**4 * window_outputs * entry_bytes,
        len(str(256**first_inputs * first_outputs * entry_bytes)),
    )
