"""C text of the driver: where working memory lies, and how rows of the picture come into it.

A strip holds sums and sub-pixels of a row, rows of features in work, those that depthwise layers
keep, and three rows of levels of each branch. Pixels beyond an edge are mirrored ones.
"""

from __future__ import annotations

MEMORY = """\
/* A strip: columns of cells that it computes, and those of them that it writes. */
struct NAME__strip {
    int left;
    int cells;
    int from;
    int to;
    ptrdiff_t stride; /* of channels, where those of a cell do not stand side by side */
    int16_t *sums;
    int8_t *made[BRANCHES];
    uint8_t *bits[BRANCHES][3];
    uint8_t *spare[2];
@held@};

static ptrdiff_t row_bytes(int cells)
{
    return ((ptrdiff_t)whole_blocks(cells) + 2 * REACH) * CHANNELS + OVERREAD;
}

size_t NAME_scratch_bytes(int width)
{
    const int cells = whole_blocks(least(most(width, 1), STRIP));
    return (size_t)ALIGNMENT + (size_t)cells * OUTPUTS * (2 + BRANCHES)
        + (size_t)ROWS * (size_t)row_bytes(cells)
        + (size_t)3 * BRANCHES * (size_t)(cells + 2 * REACH) + OVERREAD;
}

static void place(struct NAME__strip *strip, void *scratch)
{
    const int cells = whole_blocks(strip->cells);
    const ptrdiff_t bytes = row_bytes(cells);
    uint8_t *memory = (uint8_t *)scratch;
    int branch, line, row;
    memory += (ALIGNMENT - (uintptr_t)memory % ALIGNMENT) % ALIGNMENT;
    strip->stride = cells + 2 * REACH;
    strip->sums = (int16_t *)(void *)memory;
    memory += (size_t)cells * OUTPUTS * 2;
    for (branch = 0; branch < BRANCHES; branch++) {
        strip->made[branch] = (int8_t *)memory;
        memory += (size_t)cells * OUTPUTS;
    }
    /* Cells that belong to no picture are read too: any level will do. */
    memset(memory, 0, (size_t)ROWS * (size_t)bytes
        + (size_t)3 * BRANCHES * (size_t)(cells + 2 * REACH) + OVERREAD);
    memory += REACH * CELL;
    for (row = 0; row < 2; row++) {
        strip->spare[row] = memory;
        memory += bytes;
    }
@hold@    memory += REACH - REACH * CELL;
    for (branch = 0; branch < BRANCHES; branch++) {
        for (line = 0; line < 3; line++) {
            strip->bits[branch][line] = memory;
            memory += cells + 2 * REACH;
        }
    }
}"""

#: Where there are depthwise layers.
HOLD = """\
    for (row = 0; row < 2 * ROTATIONS * DEPTHWISE; row++) {
        strip->held[row / (2 * DEPTHWISE)][row / 2 % DEPTHWISE][row % 2] = memory;
        memory += bytes;
    }
"""

BITS = """\
/* The place of a pixel beyond the edge: mirrored there, the edge itself not repeated. */
static int mirror(int at, int size)
{
    if (size == 1) {
        return 0;
    }
    while (at < 0 || at >= size) {
        at = at < 0 ? -at : 2 * (size - 1) - at;
    }
    return at;
}

/* The levels of a branch in three rows of pixels, from row on. */
static void load_bits(const struct NAME__job *job, const struct NAME__strip *strip, int branch,
                      int row)
{
    const struct branch *const b = branches + branch;
    const int shift = b->shift, offset = b->offset, mask = b->mask;
    const int low = most(-REACH, -strip->left); /* cells of the picture: from low to high */
    const int high = least(strip->cells + REACH, job->width - strip->left);
    int line, cell;
    for (line = 0; line < 3; line++) {
        const uint8_t *const from = job->in + mirror(row + line, job->height) * job->in_stride;
        const uint8_t *const inside = from + strip->left + low;
        uint8_t *const to = strip->bits[branch][line];
        for (cell = -REACH; cell < low; cell++) {
            const int level = from[mirror(strip->left + cell, job->width)];
            to[cell] = (uint8_t)(((level >> shift) + offset) & mask);
        }
        for (cell = 0; cell < high - low; cell++) {
            to[low + cell] = (uint8_t)(((inside[cell] >> shift) + offset) & mask);
        }
        for (cell = high; cell < strip->cells + REACH; cell++) {
            const int level = from[mirror(strip->left + cell, job->width)];
            to[cell] = (uint8_t)(((level >> shift) + offset) & mask);
        }
    }
}"""
