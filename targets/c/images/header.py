"""The header of a table network: its functions, and the sizes that a caller needs."""

from __future__ import annotations

from intaglio.targets.c.guards import Guards
from intaglio.targets.c.images.interface import Structure


def header(structure: Structure, name: str, guards: Guards) -> str:
    """Text of ``<name>.h``."""
    upper = name.upper()
    return f"""\
/* {name}: a network of look-up tables that makes a plane of bytes from a plane of bytes. */
#ifndef {upper}_H
#define {upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

/* The processor that is compiled for; define {upper}_PORTABLE to use plain C everywhere. */
{guards.ladder()}

/*
 * A cell has {upper}_STRIDE x {upper}_STRIDE pixels of the image and {upper}_UPSCALE x \
{upper}_UPSCALE of the
 * result, so that the result has width * {upper}_UPSCALE / {upper}_STRIDE columns (rounded down),
 * and rows likewise. {upper}_REACH: rows of cells above and below that a cell depends on.
 */
#define {upper}_STRIDE {structure.stride}
#define {upper}_UPSCALE {structure.upscale}
#define {upper}_REACH {structure.reach}

/* Rows of cells that an image has. */
#define {upper}_CELL_ROWS(height) (((height) + {upper}_STRIDE - 1) / {upper}_STRIDE)

/* Table entries read and multiplications for a cell; bytes of tables, weights and taps. */
#define {upper}_LOOKUPS {structure.lookups}
#define {upper}_MULTIPLICATIONS {structure.multiplications}
#define {upper}_TABLE_BYTES {structure.table_bytes}

/* Bytes of working memory for images of a width; any height. It stops growing soon. */
size_t {name}_scratch_bytes(int width);

/*
 * Makes the result of a plane. Rows are so many bytes apart; in, out and scratch do not overlap.
 * The scratch memory may begin anywhere and needs no contents; two calls at once need one each.
 */
void {name}_run(const uint8_t *in, ptrdiff_t in_stride, int width, int height, uint8_t *out,
    ptrdiff_t out_stride, void *scratch);

/*
 * Makes the rows of cells from first_row to end_row - 1 of the result alone, the same bytes as
 * {name}_run: so several threads share a picture. in and out are those of the whole picture.
 */
void {name}_run_band(const uint8_t *in, ptrdiff_t in_stride, int width, int height, uint8_t *out,
    ptrdiff_t out_stride, int first_row, int end_row, void *scratch);

#ifdef __cplusplus
}}
#endif

#endif
"""
