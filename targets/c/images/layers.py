"""What kernels with a register of rows for each channel read: tables, taps and shifts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.centred import CentredNetwork, Window


@dataclasses.dataclass(frozen=True)
class Layers:
    """The layers of a network, the head last.

    Attributes:
        arrays: Tables and taps, those of the head first.
        rows: C text that initializes a layer each, a line a layer.
        with_single: Whether a layer has windows of single taps.
        with_general: Whether a layer has others.
    """

    arrays: tuple[Array, ...]
    rows: str
    with_single: bool
    with_general: bool


def layers_of(
    network: CentredNetwork,
    pack: Callable[[NDArray[np.int8]], NDArray[np.int8]],
    window_arrays: Callable[[int, Window], tuple[Array, bool]],
) -> Layers:
    """Collects what the kernels of one kind of processor read.

    Args:
        network: The network.
        pack: Puts tables, int8 (channels, 16, outputs), in the order in which they are read.
        window_arrays: The taps of a layer of that number, and whether they are single ones.
    """
    arrays, rows, singles = [Array("head_tables", pack(network.head_tables))], [], []
    for number, window in enumerate([*(m.window for m in network.mixings), network.head_window]):
        taps, is_single = window_arrays(number, window)
        arrays.append(taps)
        singles.append(is_single)
        tables, shift = "@head_tables@", 0
        if number < len(network.mixings):
            mixing = network.mixings[number]
            arrays.append(Array(f"tables{number}", pack(mixing.tables)))
            tables, shift = f"@tables{number}@", mixing.shift
        rows.append(f"    {{{tables}, @{taps.name}@, {int(is_single)}, {window.shift}, {shift}}},")
    return Layers(tuple(arrays), "\n".join(rows), any(singles), not all(singles))


def even_outputs(tables: NDArray[np.int8]) -> NDArray[np.int8]:
    """Tables with one more output of zeros where their number is odd: (channels, 16, pairs, 2)."""
    channels, rows, outputs = tables.shape
    even = np.zeros((channels, rows, outputs + outputs % 2), np.int8)
    even[..., :outputs] = tables
    return even.reshape(channels, rows, -1, 2)
