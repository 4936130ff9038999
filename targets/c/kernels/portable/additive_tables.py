"""Layers whose products are looked up: rows of tables added to sums.

A tap has a table of its own for each block of up to 16 outputs, ``[block][row][outputs]``: one
index, one row of neighbors. Rows at either end that repeat the next one are not stored, since an
index beyond the table reads its first or last row; taps whose table is all zero are left out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.portable.broadcasting import nothing
from intaglio.targets.c.kernels.portable.convolution_patches import gather_function, is_whole
from intaglio.targets.c.kernels.portable.dots import NOINLINE
from intaglio.targets.c.kernels.portable.stage import output_stage
from intaglio.targets.c.kernels.portable.window import TAPS, WINDOW, declare_window
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import AdditiveTables, IndexedTables

#: Outputs that are summed at a time.
BLOCK = 16
#: Numbers that describe a tap.
_NUMBERS = 4

_BRANCH = Template("""\
/* Tables of the taps that a sum reads. The index of x is (x >> shift) & mask. A tap is described by
   four numbers: its place in the window, its first row, the index of that, how many rows follow. */
struct table_branch_${t} {
    const ${entry} *tables;
    const int32_t *taps;
    int32_t count, rows;  /* number of taps, and of the rows of all */
    int32_t shift, mask;
};""")

ROW = Function(
    "table_row",
    """\
/* The row of a tap that value reads; indices beyond its rows read the first or the last. */
static inline int32_t table_row(int32_t value, int32_t shift, int32_t mask, const int32_t *tap)
{
    const int32_t row = ((value >> shift) & mask) - tap[2];
    return tap[1] + (row < 0 ? 0 : row > tap[3] ? tap[3] : row);
}""",
)

_ADD = Template("""\
/* Adds a row of each tap to the sums of one block of outputs; width is how many those are. */
static NOINLINE void add_rows_${t}(const int8_t *seen, const struct table_branch_${t} *branch,
    int32_t first, int32_t width, int32_t *acc)
{
    const ${entry} *tables = branch->tables + first * branch->rows;
    const int32_t *tap = branch->taps;
    const int32_t shift = branch->shift, mask = branch->mask;
    int32_t sums[16] = {0}, i, k;
    if (width == 16) {
        for (i = 0; i < branch->count; i++, tap += 4) {
            const ${entry} *row = tables + table_row(seen[tap[0]], shift, mask, tap) * 16;
            for (k = 0; k < 16; k++) {
                sums[k] += row[k];
            }
        }
    } else {
        for (i = 0; i < branch->count; i++, tap += 4) {
            const ${entry} *row = tables + table_row(seen[tap[0]], shift, mask, tap) * width;
            for (k = 0; k < width; k++) {
                sums[k] += row[k];
            }
        }
    }
    for (k = 0; k < width; k++) {
        acc[k] += sums[k];
    }
}""")

_LAYER = Template("""\
/* A layer of added tables. The windows are gathered in patch unless they lie one behind the other
   in the image; the tables of a block of 16 outputs are used for all windows before the next. */
static void ${name}(const int8_t *x, const struct table_branch_${t} *branches, int32_t count,
    const int32_t *bias, const struct window *shape, int32_t groups, int8_t pad_value,
    int8_t *patch, const struct ${stage} *stage, ${y} *y)
{
    const int32_t depth = shape->channels / groups;
    const int32_t filters = shape->filters / groups;
    int32_t row, column, group, first, i;
    for (group = 0; group < groups; group++) {
        for (first = 0; first < filters; first += 16) {
            const int32_t width = filters - first < 16 ? filters - first : 16;
            const int32_t channel = group * filters + first;
            ${y} *to = y + channel;
            for (row = 0; row < shape->result_rows; row++) {
                const int32_t top = row * shape->row_stride - shape->top;
                for (column = 0; column < shape->result_columns; column++) {
                    const int32_t left = column * shape->column_stride - shape->left;
                    const int8_t *seen = patch;
                    int32_t acc[16];
                    if (patch == NULL) {
                        seen = x + (top * shape->columns + left) * shape->channels + group * depth;
                    } else {
                        gather_int8(x + group * depth, shape, groups, top, left, pad_value, patch);
                    }
                    for (i = 0; i < width; i++) {
                        acc[i] = bias[channel + i];
                    }
                    for (i = 0; i < count; i++) {
                        ${add}(seen, branches + i, channel, width, acc);
                    }
                    ${finish}(acc, width, stage, channel, to);
                    to += shape->filters;
                }
            }
        }
    }
}""")

_CHANNELS = Template("""\
/* The same where every output channel reads one input channel, the tables of a tap as
   [row][channel]. */
static void ${name}(const int8_t *x, const struct table_branch_${t} *branches, int32_t count,
    const int32_t *bias, const struct window *shape, int32_t groups, int8_t pad_value,
    int8_t *patch, const struct ${stage} *stage, ${y} *y)
{
    const int32_t channels = shape->channels, filters = shape->filters;
    const int32_t several = filters / groups;
    int32_t row, column, first, i, t, k;
    (void)patch;
    for (row = 0; row < shape->result_rows; row++) {
        const int32_t top = row * shape->row_stride - shape->top;
        const struct taps rows =
            taps_inside(top, shape->row_dilation, shape->kernel_rows, shape->rows);
        for (column = 0; column < shape->result_columns; column++) {
            const int32_t left = column * shape->column_stride - shape->left;
            const struct taps columns =
                taps_inside(left, shape->column_dilation, shape->kernel_columns, shape->columns);
            for (first = 0; first < filters; first += 16) {
                const int32_t width = filters - first < 16 ? filters - first : 16;
                int32_t acc[16];
                for (k = 0; k < width; k++) {
                    acc[k] = bias[first + k];
                }
                for (i = 0; i < count; i++) {
                    const int32_t shift = branches[i].shift, mask = branches[i].mask;
                    const int32_t *tap = branches[i].taps;
                    for (t = 0; t < branches[i].count; t++, tap += 4) {
                        const int32_t down = tap[0] / shape->kernel_columns;
                        const int32_t right = tap[0] % shape->kernel_columns;
                        const int inside = down >= rows.first && down < rows.end
                            && right >= columns.first && right < columns.end;
                        const int8_t *seen = x
                            + (inside ? (top + down * shape->row_dilation) * shape->columns + left
                                + right * shape->column_dilation : 0) * channels;
                        for (k = 0; k < width; k++) {
                            const int32_t value =
                                inside ? seen[(first + k) / several] : pad_value;
                            const int32_t entry = table_row(value, shift, mask, tap);
                            acc[k] += branches[i].tables[entry * filters + first + k];
                        }
                    }
                }
                ${finish}(acc, width, stage, first, y + first);
            }
            y += filters;
        }
    }
}""")


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
    """The tables of a branch as kernels store them.

    Attributes:
        branch: What they are made of.
        tables: ``[rows of all taps, O]``: the kept rows of one tap behind those of another.
        taps: int32 ``[taps, 4]``: place in the window, first row, its index, number of rows less 1.
    """

    branch: IndexedTables
    tables: NDArray[Any]
    taps: NDArray[np.int32]

    @property
    def rows(self) -> int:
        """Rows of all taps together."""
        return len(self.tables)


def store(branch: IndexedTables) -> Stored:
    """Leaves out taps that add nothing, and rows that the clamp of the index makes up for.

    Args:
        branch: The tables.
    """
    kept: list[NDArray[Any]] = []
    taps: list[tuple[int, int, int, int]] = []
    start = 0
    for place, table in enumerate(branch.tables):
        if not table.any():
            continue
        same = (table[1:] == table[:-1]).all(axis=1)
        changes = np.flatnonzero(~same)
        first, last = (0, 0) if not changes.size else (int(changes[0]), int(changes[-1]) + 1)
        kept.append(table[first : last + 1])
        taps.append((place, start, branch.low + first, last - first))
        start += last + 1 - first
    filters = branch.tables.shape[2]
    rows = np.concatenate(kept) if kept else np.zeros((0, filters), branch.tables.dtype)
    return Stored(branch, rows, np.array(taps, np.int32).reshape(-1, _NUMBERS))


def blocked(stored: Stored, groups: int) -> NDArray[Any]:
    """Tables as ``[block of outputs][row][outputs]``, blocks within a group.

    Args:
        stored: The tables of all outputs.
        groups: Number of groups of outputs.
    """
    filters = stored.tables.shape[1]
    size = filters // groups
    parts = [
        stored.tables[:, group * size + first : group * size + min(first + BLOCK, size)].reshape(-1)
        for group in range(groups)
        for first in range(0, size, BLOCK)
    ]
    return np.concatenate(parts)


def look_up_additively(layer: AdditiveTables, variant: str, budget: int) -> Implementation:
    """Code of a layer of added tables.

    Args:
        layer: The layer.
        variant: Not needed.
        budget: Not needed: a patch is as large as one window.
    """
    del variant, budget
    return implementation(layer, add_function)


def add_function(entry: str) -> Function:
    """``add_rows(seen, branch, first, width, acc)`` for entries of a C type."""
    name = entry.removesuffix("_t")
    text = _ADD.substitute(t=name, entry=entry)
    return Function(f"add_rows_{name}", text, (NOINLINE, branch_struct(entry), ROW))


def branch_struct(entry: str) -> Function:
    """``struct table_branch`` for entries of a C type."""
    name = entry.removesuffix("_t")
    return Function(f"table_branch_{name}", _BRANCH.substitute(t=name, entry=entry))


def implementation(
    layer: AdditiveTables, add: Callable[[str], Function], spare: int = 0
) -> Implementation:
    """Code of a layer around a function that adds rows.

    Args:
        layer: The layer.
        add: Gives that function for a C type of entries.
        spare: Elements behind the tables that it may read.
    """
    if not layer.output.size:
        return Implementation(nothing(layer))
    entries = entry_type(layer)
    entry, y = c_type(entries), c_type(layer.output.dtype)
    stage = output_stage(layer.rescale, y, wide=False)
    window = layer.window
    patch = 0 if is_whole(window, layer.groups) else math.prod(window.kernel) * _depth(layer)
    adder = add(entry)
    kind = "look_up_channels" if layer.is_depthwise else "look_up"
    name = f"{adder.name.replace('add_rows', kind)}_{stage.finish.name.removeprefix('finish_')}"
    words = {
        "name": name,
        "t": entry.removesuffix("_t"),
        "stage": stage.struct,
        "y": y,
        "finish": stage.finish.name,
        "add": adder.name,
    }
    if layer.is_depthwise:
        text, patch = _CHANNELS.substitute(words), 0
        needs: tuple[Function, ...] = (branch_struct(entry), ROW, WINDOW, TAPS, stage.finish)
    else:
        text = _LAYER.substitute(words)
        needs = (adder, gather_function("int8_t"), WINDOW, stage.finish)
    lines, arrays = [], []
    for place, branch in enumerate(layer.branches):
        stored = store(branch)
        tables = stored.tables if layer.is_depthwise else blocked(stored, layer.groups)
        flat = tables.astype(entries).reshape(-1)
        arrays.append(Array(f"tables{place}", np.pad(flat, (0, max(spare, 1 - flat.size, 0)))))
        arrays.append(Array(f"taps{place}", np.pad(stored.taps.reshape(-1), (0, 1))))
        lines.append(
            f"    {{@tables{place}@, @taps{place}@, {len(stored.taps)}, {stored.rows}, "
            f"{branch.shift}, {branch.mask}}},"
        )
    table = "\n".join(
        [f"static const struct table_branch_{words['t']} branches[] = {{", *lines, "};"]
    )
    where = "(int8_t *)(void *)scratch" if patch else "NULL"
    call = (
        f"{declare_window(window)}\n{table}\n{stage.declaration}\n"
        f"{name}(x0, branches, {len(lines)}, @bias@, &shape, {layer.groups}, {layer.pad_value},\n"
        f"    {where}, &stage, y);"
    )
    bias = Array("bias", layer.bias.astype(np.int32))
    functions = (Function(name, text, needs),)
    return Implementation(call, functions, (*arrays, bias, *stage.arrays), scratch=patch)


def entry_type(layer: AdditiveTables) -> str:
    """The narrower of int8 and int16 that holds all entries."""
    limits = np.iinfo(np.int8)
    narrow = all(
        not branch.tables.size
        or limits.min <= branch.tables.min() <= branch.tables.max() <= limits.max
        for branch in layer.branches
    )
    return "int8" if narrow else "int16"


def _depth(layer: AdditiveTables) -> int:
    """Channels of a group."""
    return layer.window.image[2] // layer.groups
