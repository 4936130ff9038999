"""Blocks of a centred table network with AVX-512 VBMI and VNNI.

The tables of four channels for one output are 64 bytes: one register. Indices hold the four
channels of a cell in a word of 32 bits, ``16 * (c mod 4) + row``, 16 cells in a register, so that
``vpermb`` looks 64 entries up and ``vpdpbusd`` with ones adds the four of each cell.

A block has 32 cells in two registers: the first has cells 0-3, 8-11, 16-19 and 24-27, the second
the others. So ``vpackssdw`` of two such registers of sums has the cells in order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.images.interface import Kernels
from intaglio.targets.c.images.layers import layers_of
from intaglio.targets.c.images.vbmi_head import head
from intaglio.targets.c.images.vbmi_lookups import mixing_block
from intaglio.targets.c.images.vbmi_stem import stem, stem_arrays
from intaglio.targets.c.images.vbmi_windows import window_arrays, windows
from intaglio.transforms.table_networks.centred import CentredNetwork

BLOCK = 32


def kernels(network: CentredNetwork, variant: str) -> Kernels:
    """The functions of AVX-512.

    Args:
        network: The network.
        variant: ``vnni``.
    """
    del variant
    groups = network.channels // 4
    layers = layers_of(network, pack_tables, window_arrays)
    head_text, head_arrays = head(network)
    text, extra = windows(groups, layers.with_single, layers.with_general)
    arrays = (*stem_arrays(network), *layers.arrays, *extra, *head_arrays)
    parts = [
        f"enum {{ BLOCK = {BLOCK}, INDEX_BYTES = {128 * groups} }};",
        _LAYERS.replace("@rows@", layers.rows),
        stem(network),
        text,
        mixing_block(groups) if network.mixings else "",
        head_text,
    ]
    code = "\n\n".join(part for part in parts if part)
    return Kernels(BLOCK, 128 * groups, code, arrays)


def pack_tables(tables: NDArray[np.int8]) -> NDArray[np.int8]:
    """(outputs, groups, 4 channels, 16 rows) of (channels, 16, outputs)."""
    channels, rows, outputs = tables.shape
    grouped = tables.reshape(channels // 4, 4, rows, outputs)
    return np.ascontiguousarray(grouped.transpose(3, 0, 1, 2))


_LAYERS = """\
struct layer {
    const int8_t *tables;
    const int32_t *taps;
    int single; /* each channel has one tap at most */
    int tap_shift;
    int shift;
};

static const struct layer layers[] = {
@rows@
};

static inline __m512i load_all(const void *from)
{
    return _mm512_loadu_si512(from);
}

static inline __m256i load_half(const void *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}"""
