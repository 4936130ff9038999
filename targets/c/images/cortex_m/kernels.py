"""The functions of Cortex-M, and the tables in the order they are read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.images.cortex_m.instructions import (
    INSTRUCTIONS,
    MULTIPLY,
    lanes,
    look_up,
)
from intaglio.targets.c.images.cortex_m.pixels import head, stem, stem_arrays
from intaglio.targets.c.images.cortex_m.windows import window_arrays, windows
from intaglio.targets.c.images.interface import Kernels
from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.centred import CentredNetwork

BLOCK = 16
#: Words of four outputs that are looked up together: their sums stay in registers.
MOST_WORDS = 4


def kernels(network: CentredNetwork, variant: str) -> Kernels:
    """The functions of Cortex-M with the DSP extension.

    Args:
        network: The network.
        variant: ``dsp``.
    """
    del variant
    channels = network.channels
    groups = groups_of(channels // 4)
    head_groups = groups_of(-(-(network.upscale**2) // 4))
    arrays = [
        *stem_arrays(network),
        Array("head_tables", pack_tables(network.head_tables, head_groups)),
    ]
    taps = [*(mixing.window for mixing in network.mixings), network.head_window]
    placed, tap_arrays = window_arrays(taps)
    arrays += tap_arrays
    rows = []
    for number, (name, levels) in enumerate(placed):
        tables, shift = "@head_tables@", 0
        if number < len(network.mixings):
            mixing = network.mixings[number]
            arrays.append(Array(f"tables{number}", pack_tables(mixing.tables, groups)))
            tables, shift = f"@tables{number}@", mixing.shift
        rows.append(f"    {{{tables}, @{name}@, {levels}, {taps[number].shift}, {shift}}},")
    used = {*(groups if network.mixings else ()), *head_groups}
    parts = [
        f"enum {{ BLOCK = {BLOCK}, INDEX_BYTES = {index_bytes(channels)} }};",
        INSTRUCTIONS,
        MULTIPLY,
        _LAYERS.replace("@rows@", "\n".join(rows)),
        *(look_up(words, channels) for words in sorted(used)),
        stem(network),
        windows(channels, placed),
        _mix(channels, groups) if network.mixings else "",
        head(network, head_groups),
    ]
    code = "\n\n".join(part for part in parts if part)
    return Kernels(BLOCK, index_bytes(channels), code, tuple(arrays))


def index_bytes(channels: int) -> int:
    """Bytes of the rows of a block; each cell's stand side by side."""
    return -(-BLOCK * channels // 64) * 64


def groups_of(words: int) -> list[int]:
    """Words in groups that are looked up together."""
    whole, rest = divmod(words, MOST_WORDS)
    return [MOST_WORDS] * whole + ([rest] if rest else [])


def pack_tables(tables: NDArray[np.int8], groups: list[int]) -> NDArray[np.int8]:
    """(channels, 16 rows, outputs of the group) for each group, one behind the other."""
    channels, rows, outputs = tables.shape
    padded = np.zeros((channels, rows, 4 * sum(groups)), np.int8)
    padded[..., :outputs] = tables
    parts, at = [], 0
    for words in groups:
        parts.append(padded[..., at : at + 4 * words].reshape(-1))
        at += 4 * words
    return np.concatenate(parts)


_LAYERS = """\
struct layer {
    const int8_t *tables;
    const int16_t *taps;
    const uint8_t *levels; /* row by feature for each weight, where there is one tap a channel */
    int tap_shift;
    int shift;
};

static const struct layer layers[] = {
@rows@
};"""


def _mix(channels: int, groups: list[int]) -> str:
    parts, at = [], 0
    for words in groups:
        lines = [
            f"        look_up_{words}(l->tables + {64 * channels * at}, index, start, sums);",
        ]
        for place in range(4 * words):
            register, take = lanes(place % 4)
            number = 2 * (place // 4) + "ab".index(register)
            lines += [
                f"        *to = dsp_saturate(*from + ({take}(sums[{number}]) >> shift));",
                "        from += stride;",
                "        to += stride;",
            ]
        parts.append("\n".join(lines))
        at += words
    body = "\n".join(parts)
    return f"""\
static inline void mix_block(int layer, const uint8_t *index, const int8_t *here, int8_t *out,
                             ptrdiff_t stride)
{{
    const struct layer *const l = layers + layer;
    const uint32_t start = (uint32_t)((1 << l->shift) >> 1) * 0x10001;
    const int shift = l->shift;
    int j;
    for (j = 0; j < BLOCK; j++) {{
        const int8_t *from = here + j;
        int8_t *to = out + j;
        uint32_t sums[{2 * max(groups)}];
{body}
        index += {channels};
    }}
}}"""
