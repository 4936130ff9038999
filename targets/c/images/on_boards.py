"""A table network in the form that the boards' frame calls: one picture of a fixed size.

:func:`intaglio.targets.c.boards.measure` runs ``<name>_run(input, bytes, output, bytes, arena,
bytes)``. The files written here wrap a network so.
"""

from __future__ import annotations

from intaglio.targets.c.boards.board import Board
from intaglio.targets.c.images.writing import TableNetwork, structure_of, write_images

#: Prefix of the wrapped network.
PREFIX = "picture"


def wrapped(network: TableNetwork, board: Board, width: int, height: int) -> dict[str, str]:
    """The text of each file by name.

    Args:
        network: The network.
        board: The board, whose kernels the files hold besides plain C.
        width: Columns of the picture.
        height: Rows.
    """
    structure = structure_of(network)
    across = width * structure.upscale // structure.stride
    scratch = max(
        structure.scratch_bytes(width, variant) for variant in (board.variant, "portable")
    )
    files = dict(write_images(network, "net", {board.variant}).files)
    files[f"{PREFIX}.h"] = f"""\
#ifndef PICTURE_H
#define PICTURE_H
#include "net.h"
#define PICTURE_ARENA_BYTES {scratch}
int {PREFIX}_run(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes,
                 void *arena, size_t arena_bytes);
#endif
"""
    files[f"{PREFIX}.c"] = f"""\
#include "{PREFIX}.h"
#include "net.c"
int {PREFIX}_run(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes,
                 void *arena, size_t arena_bytes)
{{
    (void)in_bytes;
    (void)out_bytes;
    (void)arena_bytes;
    net_run(in, {width}, {width}, {height}, out, {across}, arena);
    return 0;
}}
"""
    files[f"{PREFIX}_weights.c"] = '#include "net_weights.c"\n'
    return files
