"""What a processor gives to the C of a table network, and what a structure gives.

A variant computes blocks of ``block`` neighbouring cells. The driver calls four functions; pointers
stand at the first cell of the block, ``stride`` is the distance of two channels::

    stem_block(pixels, plane, out, stride)              features of the image
    window_block(layer, above, here, below, stride, index)   rows of tables that are read
    mix_block(layer, index, here, out, stride)          features behind a mixing
    head_block(index, pixels, plane, out, out_stride)   pixels of the result

Layers count from 0; the head is the last. Features are planar: channel ``c`` of cell ``j`` stands
at ``row[c * stride + j]``, and cells left and right of the image read as 0. Kernels always compute
whole blocks and write nothing else; they may read up to ``OVERREAD`` bytes behind any cell and
``UNDERREAD`` before it. ``out`` of ``mix_block`` may be the row that was ``above``; rows have any
alignment. ``index`` is aligned to 64 bytes and its layout is the variant's own.

Pixels come in planes: with stride s of the network and ``p = (kernel - s) / 2``, the pixel in row
``s * i - p + q`` and column ``s * j - p + t`` for cell (i, j) stands at
``pixels[(q * s + t % s) * plane + j + t / s]``; edge pixels are repeated. ``out`` of ``head_block``
is the caller's picture: exactly ``upscale`` rows of ``block * upscale`` pixels are written.

The code is C99 and C++11 without heap, libraries other than ``<string.h>`` and undefined behaviour.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from intaglio.targets.c.kernels.base import Array

#: Bytes that kernels may read behind the last cell of a block, and before the first.
OVERREAD = 64
UNDERREAD = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Kernels:
    """The functions of one variant.

    Attributes:
        block: Cells of a block: 16, 32 or 64.
        index_bytes: Bytes that ``window_block`` writes for a block.
        code: C text of the functions and what they need. Arrays are named ``@name@`` in it.
        arrays: Constants they read.
    """

    block: int
    index_bytes: int
    code: str
    arrays: tuple[Array, ...]


class Structure(Protocol):
    """A kind of table network that can be written as C.

    Attributes:
        stride: Pixels a cell has on each side.
        upscale: Pixels of the result a cell has on each side.
        reach: Rows of cells above and below that a cell depends on.
        lookups: Table entries read for a cell.
        multiplications: Products for a cell.
        table_bytes: Bytes of tables, weights and taps.
    """

    @property
    def stride(self) -> int:
        """See the class."""

    @property
    def upscale(self) -> int:
        """See the class."""

    @property
    def reach(self) -> int:
        """See the class."""

    @property
    def lookups(self) -> int:
        """See the class."""

    @property
    def multiplications(self) -> int:
        """See the class."""

    @property
    def table_bytes(self) -> int:
        """See the class."""

    def kernels(self, variant: str) -> Kernels:
        """The functions of a variant, or of the nearest that it is based on."""

    def driver(self, name: str) -> str:
        """C text behind the kernels: ``<name>_scratch_bytes``, ``_run_band`` and ``_run``.

        It may use the constants ``BLOCK`` and ``INDEX_BYTES`` of the variant's kernels.
        """

    def scratch_bytes(self, width: int, variant: str) -> int:
        """What ``<name>_scratch_bytes`` returns."""


def replace_names(text: str, names: dict[str, str]) -> str:
    """``text`` with the names that the arrays have in C."""
    for placeholder, name in names.items():
        text = text.replace(f"@{placeholder}@", name)
    return text


def listed(values: Sequence[int]) -> str:
    """Numbers as an initialiser, without braces."""
    return ", ".join(map(str, values))
