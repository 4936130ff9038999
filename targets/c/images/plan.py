"""Working memory of a centred table network: rows of features for a strip of columns.

A layer keeps the two rows above the one that comes next; its result takes the place of the older of
them. So ``2 * layers + 1`` rows serve any height. Columns are cut into strips that overlap by the
network's reach, each narrow enough for tables and rows to stay in the processor's nearer caches.
"""

from __future__ import annotations

import dataclasses

from intaglio.targets.c.images.interface import OVERREAD
from intaglio.transforms.table_networks.centred import CentredNetwork

#: Tables and working memory together stay within this where the tables leave room.
WORKING_SET = 128 * 1024
#: Working memory of networks with large tables.
LEAST_ROWS = 64 * 1024
#: Strips are a multiple of this many cells: of every variant's block.
GRAIN = 32
#: Wider strips gain nothing.
WIDEST = 1024
#: Between the channels of a row, at least one byte that reads as zero.
GAP = 8
ALIGNMENT = 64


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes of the working memory, in the terms of the C text.

    Attributes:
        channels: Features of a cell.
        layers: Layers with windows: the mixings and the head.
        strip: Largest number of cells a strip has, overlap included.
        planes: Planes of pixels that the stem reads.
        taps: Cells to the right that it reads in a plane, its own included.
        upscale: Pixels of the result a cell has on each side.
    """

    channels: int
    layers: int
    strip: int
    planes: int
    taps: int
    upscale: int

    @property
    def rows(self) -> int:
        """Rows of features in memory."""
        return 2 * self.layers + 1

    def stride(self, cells: int, block: int) -> int:
        """Bytes between two channels of a row."""
        return -(-cells // block) * block + GAP

    def plane(self, cells: int, block: int) -> int:
        """Bytes of a plane of pixels."""
        return -(-cells // block) * block + self.taps + OVERREAD

    def scratch_bytes(self, columns: int, block: int, index_bytes: int) -> int:
        """Bytes for an image of so many columns of cells."""
        cells = min(columns, self.strip)
        rows = self.rows * self.channels * self.stride(cells, block)
        planes = self.planes * self.plane(cells, block)
        pixels = block * self.upscale**2
        return ALIGNMENT * 2 + 2 * index_bytes + pixels + rows + OVERREAD + planes


def plan(network: CentredNetwork) -> Plan:
    """Chooses the strip."""
    layers = len(network.mixings) + 1
    draft = Plan(
        channels=network.channels,
        layers=layers,
        strip=WIDEST,
        planes=network.kernel * network.stride,
        taps=-(-network.kernel // network.stride),
        upscale=network.upscale,
    )
    budget = max(LEAST_ROWS, WORKING_SET - network.storage_bytes)
    least = 4 * layers + GRAIN
    strip = max(GRAIN, -(-least // GRAIN) * GRAIN)
    while strip < WIDEST and _bytes(draft, strip + GRAIN) <= budget:
        strip += GRAIN
    return dataclasses.replace(draft, strip=strip)


def _bytes(draft: Plan, strip: int) -> int:
    """For the largest block, so that all variants have the same strips."""
    wide = dataclasses.replace(draft, strip=strip)
    return wide.scratch_bytes(strip, GRAIN, 64 * draft.channels)
