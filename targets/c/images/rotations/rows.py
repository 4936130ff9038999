"""Rows of cells whose features stand side by side: a look-up adds one row of a table.

The text is the same for all processors that do so; ``words`` and what is done with it is theirs.
A feature is kept as its level, ``f - low``, an unsigned byte.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.images.interface import Kernels, listed
from intaglio.targets.c.images.rotations.scaling import factors
from intaglio.targets.c.images.rotations.turning import ROTATIONS, sub_pixels
from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.reference import Branch, ReferenceNetwork


@dataclasses.dataclass(frozen=True, eq=False)
class RowKernels(Kernels):
    """The functions of one variant.

    Attributes:
        outputs: Sub-pixels that a kernel makes of a cell; some may be unused.
    """

    outputs: int


def row_kernels(
    network: ReferenceNetwork, words: str, outputs: int, ends: str, *, multiplies: bool = False
) -> RowKernels:
    """The functions of a variant.

    Args:
        network: The network.
        words: Text of what is done with the sums of a cell.
        outputs: Sub-pixels of a cell, unused ones included.
        ends: Text of ``merge_row`` and ``store_row``, or empty for plain C.
        multiplies: Whether the text multiplies by factors of scales.
    """
    channels, cells = network.branches[0].channels, network.upscale**2
    arrays: list[Array] = []
    stems: list[str] = []
    points: list[str] = []
    depths: list[str] = []
    ups: list[str] = []

    def array(name: str, data: NDArray[Any] | None) -> str:
        if data is None:
            return "NULL"
        arrays.append(Array(name, np.ascontiguousarray(data)))
        return f"@{name}@"

    def layer(
        branch: Branch, name: str, tables: NDArray[np.int8], scale: NDArray[np.int8] | None,
        multiplied: bool,
    ) -> str:  # fmt: skip
        made = factors(branch, scale) if multiplied and scale is not None else None
        by_table = levels(branch, scale) if made is None else None
        numbers = array(f"{name}_factors", None if made is None else made.factors)
        return (
            f"    {{{array(name, tables)}, {array(f'{name}_scale', by_table)}, {numbers}, "
            f"{0 if made is None else made.shift}, {branch.rows}, {branch.rows - 1}, "
            f"{-branch.low}}},"
        )

    for number, branch in enumerate(network.branches):
        stems.append(layer(branch, f"stem{number}", branch.stem, branch.stem_scale, multiplies))
        for stage in branch.stages:
            if stage.depthwise is not None:
                name = f"depthwise{len(depths)}"
                depths.append(layer(branch, name, stage.depthwise, stage.depthwise_scale, False))
            name = f"pointwise{len(points)}"
            points.append(layer(branch, name, stage.pointwise, stage.pointwise_scale, multiplies))
        wide = np.zeros((channels, branch.rows, outputs), np.int8)
        wide[..., :cells] = branch.up
        ups.append(layer(branch, f"up{number}", wide, None, False))
    patterns = np.zeros((ROTATIONS, outputs), np.uint8)
    for rotation in range(ROTATIONS):
        patterns[rotation, :cells] = sub_pixels(rotation, network.upscale)
    arrays.append(Array("turned", patterns))
    tables = [("stems", stems), ("pointwise", points), ("ups", ups)]
    if depths:
        tables.append(("depthwise", depths))
    parts = [
        f"enum {{ BLOCK = 1, CELL = {channels}, OUTPUTS = {outputs} }};",
        _LAYER,
        *(
            f"static const struct layer {name}[] = {{\n{chr(10).join(rows)}\n}};"
            for name, rows in tables
        ),
        words,
        rescaling(network, channels),
        _ROWS,
        _DEPTHWISE if depths else "",
        ends or plain_ends(network),
    ]
    code = "\n\n".join(part for part in parts if part)
    return RowKernels(1, 0, code, tuple(arrays), outputs)


def levels(branch: Branch, scale: NDArray[np.int8] | None) -> NDArray[np.uint8] | None:
    """The scales of a layer from level to level, (channels, rows)."""
    if scale is None:
        return None
    return (scale.astype(np.int64) - branch.low).astype(np.uint8)


def rescaling(network: ReferenceNetwork, channels: int) -> str:
    """Text of ``rescale``: the scale of each channel, where a layer has one."""
    scaled = any(
        scale is not None
        for branch in network.branches
        for scale in (
            branch.stem_scale,
            *(s.pointwise_scale for s in branch.stages),
            *(s.depthwise_scale for s in branch.stages),
        )
    )
    if not scaled:
        return "#define rescale(l, cell) ((void)0)"
    return f"""\
static inline void rescale(const struct layer *l, uint8_t *cell)
{{
    int c;
    if (l->scale != NULL) {{
        for (c = 0; c < {channels}; c++) {{
            cell[c] = l->scale[c * l->rows + cell[c]];
        }}
    }}
}}"""


_LAYER = """\
struct layer {
    const int8_t *tables;
    const uint8_t *scale; /* from level to level, for each channel; or NULL */
    const int16_t *factors; /* instead of scale, where vectors multiply; or NULL */
    int shift; /* of features in front of the factors */
    int rows;
    int high; /* the highest level */
    int zero; /* the level of feature 0 */
};"""

_ROWS = """\
static inline void stem_row(int branch, const uint8_t **taps, uint8_t *out, ptrdiff_t stride,
                            int cells)
{
    const struct layer *const l = stems + branch;
    const ptrdiff_t bytes = (ptrdiff_t)l->rows * CELL;
    const uint8_t *const t0 = taps[0], *const t1 = taps[1], *const t2 = taps[2];
    const uint8_t *const t3 = taps[3], *const t4 = taps[4], *const t5 = taps[5];
    const uint8_t *const t6 = taps[6], *const t7 = taps[7], *const t8 = taps[8];
    int j;
    (void)stride;
    for (j = 0; j < cells; j++) {
        uint8_t *const to = out + (ptrdiff_t)j * CELL;
        words sum;
        clear(&sum);
        add_row(&sum, l->tables + t0[j] * CELL);
        add_row(&sum, l->tables + bytes + t1[j] * CELL);
        add_row(&sum, l->tables + 2 * bytes + t2[j] * CELL);
        add_row(&sum, l->tables + 3 * bytes + t3[j] * CELL);
        add_row(&sum, l->tables + 4 * bytes + t4[j] * CELL);
        add_row(&sum, l->tables + 5 * bytes + t5[j] * CELL);
        add_row(&sum, l->tables + 6 * bytes + t6[j] * CELL);
        add_row(&sum, l->tables + 7 * bytes + t7[j] * CELL);
        add_row(&sum, l->tables + 8 * bytes + t8[j] * CELL);
        settle_level(&sum, t8[j], l, to);
        rescale(l, to);
    }
}

static inline void pointwise_row(int layer, uint8_t *row, ptrdiff_t stride, int cells)
{
    const struct layer *const l = pointwise + layer;
    const ptrdiff_t bytes = (ptrdiff_t)l->rows * CELL;
    int j, c;
    (void)stride;
    for (j = 0; j < cells; j++) {
        uint8_t *const cell = row + (ptrdiff_t)j * CELL;
        const int8_t *from = l->tables;
        words sum;
        clear(&sum);
        for (c = 0; c < CELL; c++) {
            add_row(&sum, from + cell[c] * CELL);
            from += bytes;
        }
        settle(&sum, cell, l);
        rescale(l, cell);
    }
}

static inline void up_row(int branch, const uint8_t *in, int8_t *out, ptrdiff_t stride, int cells)
{
    const struct layer *const l = ups + branch;
    const ptrdiff_t bytes = (ptrdiff_t)l->rows * OUTPUTS;
    int j, c;
    (void)stride;
    for (j = 0; j < cells; j++) {
        const uint8_t *const cell = in + (ptrdiff_t)j * CELL;
        const int8_t *from = l->tables;
        cell_words sum;
        clear_cell(&sum);
        for (c = 0; c < CELL; c++) {
            add_cell(&sum, from + cell[c] * OUTPUTS);
            from += bytes;
        }
        finish(&sum, cell, l, out + (ptrdiff_t)j * OUTPUTS);
    }
}"""

_DEPTHWISE = """\
static inline void depthwise_row(int layer, const uint8_t **taps, uint8_t *out,
                                 ptrdiff_t stride, int cells)
{
    const struct layer *const l = depthwise + layer;
    int j, c, tap;
    (void)stride;
    for (j = 0; j < cells * CELL; j += CELL) {
        const int8_t *from = l->tables;
        for (c = 0; c < CELL; c++) {
            int sum = 0, level;
            for (tap = 0; tap < 9; tap++) {
                sum += from[taps[tap][j + c]];
                from += l->rows;
            }
            level = mean_of_taps(sum) + taps[8][j + c];
            out[j + c] = (uint8_t)(level < 0 ? 0 : level > l->high ? l->high : level);
        }
        rescale(l, out + j);
    }
}"""


def plain_ends(network: ReferenceNetwork) -> str:
    """Text of ``merge_row`` and ``store_row`` in plain C."""
    upscale = network.upscale
    both = "made[at] + other[at]" if len(network.branches) == 2 else "made[at]"
    unused = "" if len(network.branches) == 2 else "    (void)other;\n"
    pixels = listed_pixels(upscale)
    return f"""\
/* Adds the branches, turns the sub-pixels back and adds the rotation; from 128 on. */
static inline void merge_row(int rotation, const int8_t *made, const int8_t *other, int16_t *sums,
                             int cells)
{{
    const uint8_t *const turned = @turned@ + rotation * OUTPUTS;
    int j, o;
{unused}    for (j = 0; j < cells; j++) {{
        for (o = 0; o < {upscale**2}; o++) {{
            const int at = j * OUTPUTS + turned[o];
            const int sum = {both};
            const int before = rotation == 0 ? 128 : sums[j * OUTPUTS + o];
            sums[j * OUTPUTS + o] =
                (int16_t)(before + (sum < -128 ? -128 : sum > 127 ? 127 : sum));
        }}
    }}
}}

static inline void store_row(const int16_t *sums, int from, int to, uint8_t *out,
                             ptrdiff_t out_stride)
{{
    static const uint8_t lines[] = {{{listed([p[0] for p in pixels])}}};
    static const uint8_t columns[] = {{{listed([p[1] for p in pixels])}}};
    int j, o;
    for (j = from; j < to; j++) {{
        for (o = 0; o < {upscale**2}; o++) {{
            const int sum = sums[j * OUTPUTS + o];
            out[lines[o] * out_stride + (ptrdiff_t)(j - from) * {upscale} + columns[o]] =
                (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
        }}
    }}
}}"""


def listed_pixels(upscale: int) -> list[tuple[int, int]]:
    """Line and column of each sub-pixel."""
    return [divmod(place, upscale) for place in range(upscale**2)]
