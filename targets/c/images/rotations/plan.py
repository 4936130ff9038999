"""Working memory of a network with rotations: rows of features for a strip of columns.

A depthwise layer keeps the two rows of features that came before, for each branch and rotation.
Rotations whose windows reach down are that many rows ahead with the picture, so that all four of
them finish a row of the result at the same time; none is kept but as a sum.
"""

from __future__ import annotations

import dataclasses

from intaglio.targets.c.images.rotations.turning import ROTATIONS
from intaglio.transforms.table_networks.reference import REACH, ReferenceNetwork

#: Working memory stays within this where strips are not the narrowest.
WORKING_SET = 192 * 1024
#: Strips are a multiple of this many cells: of every variant's block.
GRAIN = 64
#: Wider strips gain nothing.
WIDEST = 256
ALIGNMENT = 64
#: Bytes that kernels may read behind a row.
OVERREAD = 64


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes of the working memory, in the terms of the C text.

    Attributes:
        channels: Features of a cell.
        branches: Bit branches.
        depthwise: Depthwise layers of all branches.
        delay: Rows and columns that depthwise layers reach, at most.
        strip: Largest number of cells a strip has, overlap included.
    """

    channels: int
    branches: int
    depthwise: int
    delay: int
    strip: int

    @property
    def rows(self) -> int:
        """Rows of features in memory: those that are kept, and two in work."""
        return 2 * ROTATIONS * self.depthwise + 2

    def scratch_bytes(self, width: int, block: int, outputs: int) -> int:
        """Bytes for an image of so many columns.

        Args:
            width: Columns.
            block: Cells that a kernel computes at once.
            outputs: Sub-pixels that a kernel makes of a cell.
        """
        cells = -(-min(max(width, 1), self.strip) // block) * block
        bits = 3 * self.branches * (cells + 2 * REACH)
        features = self.rows * ((cells + 2 * REACH) * self.channels + OVERREAD)
        return ALIGNMENT + cells * outputs * (2 + self.branches) + features + bits + OVERREAD


def plan(network: ReferenceNetwork) -> Plan:
    """Chooses the strip."""
    depths = [
        sum(stage.depthwise is not None for stage in branch.stages) for branch in network.branches
    ]
    draft = Plan(
        channels=network.branches[0].channels,
        branches=len(network.branches),
        depthwise=sum(depths),
        delay=REACH * max(depths),
        strip=WIDEST,
    )
    strip = -(-(3 * draft.delay + 1) // GRAIN) * GRAIN
    while strip < WIDEST and _bytes(draft, strip + GRAIN) <= WORKING_SET:
        strip += GRAIN
    return dataclasses.replace(draft, strip=strip)


def _bytes(draft: Plan, strip: int) -> int:
    """For the largest block and most outputs, so that all variants have the same strips."""
    return dataclasses.replace(draft, strip=strip).scratch_bytes(strip, GRAIN, 16)
