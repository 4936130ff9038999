"""The part of a centred network's C that all processors share: strips, rows, edges and bands."""

from __future__ import annotations

from intaglio.targets.c.images.bands import HELPERS, api
from intaglio.targets.c.images.interface import OVERREAD, UNDERREAD
from intaglio.targets.c.images.plan import ALIGNMENT, GAP, Plan
from intaglio.transforms.table_networks.centred import CentredNetwork


def driver(network: CentredNetwork, plan: Plan, name: str) -> str:
    """C text behind the kernels.

    Args:
        network: The network.
        plan: Its memory.
        name: Prefix of the functions.
    """
    constants = f"""\
/* Cells, features and memory. LAYERS counts the mixings and the head. */
enum {{
    CHANNELS = {plan.channels},
    LAYERS = {plan.layers},
    KERNEL = {network.kernel},
    STRIDE = {network.stride},
    UPSCALE = {network.upscale},
    TAPS = {plan.taps},         /* cells to the right that the stem reads in a plane */
    STRIP = {plan.strip},      /* cells of a strip, overlap included */
    ROWS = {plan.rows},
    GAP = {GAP},
    OVERREAD = {OVERREAD},
    UNDERREAD = {UNDERREAD},
    ALIGNMENT = {ALIGNMENT},
    PIXEL_BYTES = BLOCK * UPSCALE * UPSCALE
}};"""
    parts = [constants, HELPERS, _MEMORY, _PIXELS, _HEAD]
    if plan.layers > 1:
        parts.append(_MIXING)
    parts += [
        _STRIP.replace("@mixings@", _CALLS if plan.layers > 1 else _NO_CALLS),
        api("LAYERS", "cells_of(PIXELS)"),
    ]
    return "\n\n".join(parts).replace("NAME", name)


_MEMORY = """\
static int cells_of(int pixels)
{
    return pixels / STRIDE + (pixels % STRIDE != 0);
}

/* Bytes between two channels of a row, and between two planes of pixels. */
static ptrdiff_t row_stride(int cells)
{
    return (ptrdiff_t)whole_blocks(cells) + GAP;
}

static ptrdiff_t plane_stride(int cells)
{
    return (ptrdiff_t)whole_blocks(cells) + TAPS + OVERREAD;
}

/* A strip: columns of cells that it computes, and those of them that it writes. */
struct NAME__strip {
    int left;
    int cells;
    int from;
    int to;
    ptrdiff_t stride;
    ptrdiff_t plane;
    uint8_t *index[2];
    uint8_t *made;
    uint8_t *pixels;
    int8_t *rows;
};

size_t NAME_scratch_bytes(int width)
{
    const int cells = least(cells_of(most(width, 1)), STRIP);
    return (size_t)2 * ALIGNMENT + (size_t)2 * INDEX_BYTES + PIXEL_BYTES
        + (size_t)row_stride(cells) * CHANNELS * ROWS + OVERREAD
        + (size_t)plane_stride(cells) * KERNEL * STRIDE;
}

static void place(struct NAME__strip *strip, void *scratch)
{
    uint8_t *memory = (uint8_t *)scratch;
    size_t bytes;
    strip->stride = row_stride(strip->cells);
    strip->plane = plane_stride(strip->cells);
    memory += (ALIGNMENT - (uintptr_t)memory % ALIGNMENT) % ALIGNMENT;
    strip->index[0] = memory;
    strip->index[1] = memory + INDEX_BYTES;
    strip->made = memory + (size_t)2 * INDEX_BYTES;
    memory = strip->made + PIXEL_BYTES;
    /* What is between channels and around rows stands for cells outside the image. */
    bytes = (size_t)strip->stride * CHANNELS * ROWS;
    memset(memory, 0, UNDERREAD + bytes + OVERREAD);
    strip->rows = (int8_t *)(memory + UNDERREAD);
    strip->pixels = memory + UNDERREAD + bytes + OVERREAD;
    memset(strip->pixels, 0, (size_t)strip->plane * KERNEL * STRIDE);
}

/* Behind the last cell of a row nothing is left of a block that reached beyond it. */
static void close_row(const struct NAME__strip *strip, int8_t *row)
{
    int channel;
    for (channel = 0; channel < CHANNELS; channel++) {
        row[channel * strip->stride + strip->cells] = 0;
    }
}"""

_PIXELS = """\
/* The pixels that the stem reads for a row of cells; edges are repeated. */
static void load_pixels(const struct NAME__job *job, const struct NAME__strip *strip, int row)
{
    const int before = (KERNEL - STRIDE) / 2;
    const int count = strip->cells + TAPS;
    int q, phase, cell;
    for (q = 0; q < KERNEL; q++) {
        const int y = most(0, least(STRIDE * row - before + q, job->height - 1));
        const uint8_t *const from = job->in + y * job->in_stride;
        for (phase = 0; phase < STRIDE; phase++) {
            uint8_t *const to = strip->pixels + (q * STRIDE + phase) * strip->plane;
            const int start = STRIDE * strip->left - before + phase; /* column of cell 0 */
            /* Cells whose pixel lies in the image: from low to high. */
            const int low = least(count, start < 0 ? (-start + STRIDE - 1) / STRIDE : 0);
            const int high = most(low, least(count, cells_of(most(0, job->width - start))));
            for (cell = 0; cell < low; cell++) {
                to[cell] = from[0];
            }
            for (cell = low; cell < high; cell++) {
                to[cell] = from[start + STRIDE * cell];
            }
            for (cell = high; cell < count; cell++) {
                to[cell] = from[job->width - 1];
            }
        }
    }
}

static void stem(const struct NAME__job *job, const struct NAME__strip *strip, int row,
                 int8_t *out)
{
    int at;
    load_pixels(job, strip, row);
    for (at = 0; at < strip->cells; at += BLOCK) {
        stem_block(strip->pixels + at, strip->plane, out + at, strip->stride);
    }
    close_row(strip, out);
}"""

_MIXING = """\
/*
 * One row of a mixing, written over the row above: so the window of the next block is computed
 * before a block is written.
 */
static void mix(const struct NAME__strip *strip, int layer, int8_t *above, const int8_t *here,
                const int8_t *below)
{
    int at, which = 0;
    window_block(layer, above, here, below, strip->stride, strip->index[0]);
    for (at = 0; at < strip->cells; at += BLOCK) {
        const int next = at + BLOCK;
        if (next < strip->cells) {
            window_block(layer, above + next, here + next, below + next, strip->stride,
                         strip->index[1 - which]);
        }
        mix_block(layer, strip->index[which], here + at, above + at, strip->stride);
        which = 1 - which;
    }
    close_row(strip, above);
}"""

_HEAD = """\
/* The pixels of one row of cells; of blocks that are needed in part, the part. */
static void head(const struct NAME__job *job, const struct NAME__strip *strip, int row,
                 const int8_t *above, const int8_t *here, const int8_t *below)
{
    const int columns = (int)((ptrdiff_t)job->width * UPSCALE / STRIDE);
    const int lines = (int)((ptrdiff_t)job->height * UPSCALE / STRIDE) - row * UPSCALE;
    uint8_t *const out = job->out + (ptrdiff_t)row * UPSCALE * job->out_stride;
    int at, line;
    load_pixels(job, strip, row);
    for (at = strip->from / BLOCK * BLOCK; at < strip->to; at += BLOCK) {
        const int left = (strip->left + at) * UPSCALE; /* column of the result */
        const int from = most(0, strip->from - at) * UPSCALE;
        const int to = least(least(BLOCK, strip->to - at) * UPSCALE, columns - left);
        window_block(LAYERS - 1, above + at, here + at, below + at, strip->stride,
                     strip->index[0]);
        if (from == 0 && to == BLOCK * UPSCALE && lines >= UPSCALE) {
            head_block(strip->index[0], strip->pixels + at, strip->plane, out + left,
                       job->out_stride);
            continue;
        }
        head_block(strip->index[0], strip->pixels + at, strip->plane, strip->made,
                   BLOCK * UPSCALE);
        for (line = 0; line < least(UPSCALE, lines) && from < to; line++) {
            memcpy(out + line * job->out_stride + left + from,
                   strip->made + line * BLOCK * UPSCALE + from, (size_t)(to - from));
        }
    }
}"""

_CALLS = """\
        for (layer = 0; layer < LAYERS - 1; layer++) {
            const int row = time - layer - 1;
            int8_t *const above = held[layer][0];
            if (row < 0 || row >= rows) {
                memset(above, 0, row_bytes);
            } else if (row >= job->first - (LAYERS - 1 - layer)) {
                mix(strip, layer, above, held[layer][1], fresh);
            }
            held[layer][0] = held[layer][1];
            held[layer][1] = fresh;
            fresh = above;
        }"""
_NO_CALLS = "        layer = LAYERS - 1;"

_STRIP = """\
/*
 * At each time one row of features enters; every layer, one row behind the one before it, takes it
 * and passes one on. Rows outside the image are zeros.
 */
static void run_strip(const struct NAME__job *job, const struct NAME__strip *strip)
{
    const int rows = cells_of(job->height);
    const size_t row_bytes = (size_t)strip->stride * CHANNELS;
    int8_t *held[LAYERS][2];
    int8_t *spare = strip->rows + row_bytes * 2 * LAYERS;
    int layer, time;
    for (layer = 0; layer < LAYERS; layer++) {
        held[layer][0] = strip->rows + row_bytes * 2 * (size_t)layer;
        held[layer][1] = held[layer][0] + row_bytes;
    }
    for (time = job->first - LAYERS; time < job->end + LAYERS; time++) {
        int8_t *fresh = spare;
        if (time < 0 || time >= rows) {
            memset(fresh, 0, row_bytes);
        } else {
            stem(job, strip, time, fresh);
        }
@mixings@
        if (time - LAYERS >= job->first) {
            head(job, strip, time - LAYERS, held[layer][0], held[layer][1], fresh);
        }
        spare = held[layer][0];
        held[layer][0] = held[layer][1];
        held[layer][1] = fresh;
    }
}"""
