"""The part of the C that all processors share: strips, rows, edges, rotations and bands."""

from __future__ import annotations

from intaglio.targets.c.images.bands import HELPERS, api
from intaglio.targets.c.images.rotations.pictures import BITS, HOLD, MEMORY
from intaglio.targets.c.images.rotations.plan import ALIGNMENT, OVERREAD, Plan
from intaglio.targets.c.images.rotations.turning import ROTATIONS, taps
from intaglio.transforms.table_networks.reference import REACH, ReferenceNetwork


def driver(network: ReferenceNetwork, plan: Plan, name: str) -> str:
    """C text behind the kernels.

    Args:
        network: The network.
        plan: Its memory.
        name: Prefix of the functions.
    """
    is_deep = plan.depthwise > 0
    parts = [
        _constants(network, plan),
        _tables(network),
        HELPERS,
        MEMORY.replace("@hold@", HOLD if is_deep else ""),
        BITS,
        (_CLEAR + "\n\n" + _DEPTHWISE) if is_deep else "",
        _BRANCH.replace("@start@", _DEEP_START if is_deep else _START).replace(
            "@stage@", _DEEP_STAGE if is_deep else _STAGE
        ),
        api("DELAY", "PIXELS"),
    ]
    text = "\n\n".join(part for part in parts if part)
    held = (
        f"    uint8_t *held[{ROTATIONS}][{plan.depthwise}][2]; /* rows above, the older first */\n"
    )
    return text.replace("@held@", held if is_deep else "").replace("NAME", name)


def _constants(network: ReferenceNetwork, plan: Plan) -> str:
    return f"""\
/* Cells, features and memory. DELAY: rows and columns that depthwise layers reach. */
enum {{
    CHANNELS = {plan.channels},
    BRANCHES = {plan.branches},
    DEPTHWISE = {plan.depthwise},
    ROTATIONS = {ROTATIONS},
    UPSCALE = {network.upscale},
    DELAY = {plan.delay},
    STRIP = {plan.strip}, /* cells of a strip, overlap included */
    ROWS = {plan.rows},
    REACH = {REACH},
    OVERREAD = {OVERREAD},
    ALIGNMENT = {ALIGNMENT}
}};"""


def _tables(network: ReferenceNetwork) -> str:
    """What the driver knows of branches, stages and taps."""
    rows, stages, number, layer = [], [], 0, 0
    for branch in network.branches:
        depth = sum(stage.depthwise is not None for stage in branch.stages)
        offset = (-(128 >> branch.index_shift) - branch.low) % branch.rows
        rows.append(
            f"    {{{branch.index_shift}, {offset}, {branch.rows - 1}, {-branch.low}, "
            f"{REACH * depth}, {number}, {number + len(branch.stages)}}},"
        )
        number += len(branch.stages)
        for stage in branch.stages:
            stages.append("-1" if stage.depthwise is None else str(layer))
            layer += stage.depthwise is not None
    lines = [
        "    {" + ", ".join(f"{{{line}, {column}}}" for line, column in taps(rotation)) + "},"
        for rotation in range(ROTATIONS)
    ]
    deep = (
        "\n\n/* The depthwise layer of each stage, or -1. */\n"
        f"static const int depthwise_of[] = {{{', '.join(stages)}}};"
    )
    return f"""\
struct branch {{
    int shift; /* a pixel's level is ((pixel >> shift) + offset) & mask */
    int offset;
    int mask;
    int zero; /* the level of a feature outside the picture */
    int reach; /* rows that its depthwise layers reach */
    int stage; /* its first, and one behind its last */
    int end;
}};

static const struct branch branches[BRANCHES] = {{
{chr(10).join(rows)}
}};

/* Line and column of each tap, for each rotation. */
static const int8_t places[ROTATIONS][9][2] = {{
{chr(10).join(lines)}
}};{deep if layer else ""}"""


_CLEAR = """\
/* A row outside the picture: features are zero. */
static void clear_row(const struct NAME__strip *strip, uint8_t *row, int zero)
{
    memset(row - REACH * CELL, zero, (size_t)(whole_blocks(strip->cells) + 2 * REACH) * CHANNELS);
}

/* Features beside a row are zero. */
static void close_row(const struct NAME__strip *strip, uint8_t *row, int zero)
{
    const ptrdiff_t step = CELL == 1 ? strip->stride : 1;
    int channel, cell;
    for (channel = 0; channel < CHANNELS; channel++) {
        for (cell = 0; cell < REACH; cell++) {
            row[channel * step + (cell - REACH) * CELL] = (uint8_t)zero;
            row[channel * step + (strip->cells + cell) * CELL] = (uint8_t)zero;
        }
    }
}"""

_DEPTHWISE = """\
/*
 * A depthwise layer takes the row in work and those above; it makes the row in work, or, where
 * windows reach down, the one two above. The row taken is kept.
 */
static void filter(struct NAME__strip *strip, int rotation, int layer, int zero, int is_made)
{
    uint8_t **const held = strip->held[rotation][layer];
    uint8_t *const now = strip->spare[0], *const oldest = held[0];
    close_row(strip, now, zero);
    if (is_made) {
        const uint8_t *rows[3], *taps[9];
        int tap;
        rows[0] = held[0];
        rows[1] = held[1];
        rows[2] = now;
        for (tap = 0; tap < 9; tap++) {
            const int8_t *const from = places[rotation][tap];
            taps[tap] = rows[from[0]] + from[1] * CELL;
        }
        depthwise_row(layer, taps, strip->spare[1], strip->stride, strip->cells);
    } else {
        clear_row(strip, strip->spare[1], zero);
    }
    held[0] = held[1];
    held[1] = now;
    strip->spare[0] = strip->spare[1];
    strip->spare[1] = oldest;
}"""

_START = """\
    load_bits(job, strip, branch, y - (down ? 0 : REACH));"""
_DEEP_START = """\
    int row = down ? y + b->reach : y; /* row of the picture that is in work */
    int lead = b->reach; /* rows before the first that are needed of it */
    int is_made = row >= 0 && row < job->height && row >= job->first - (down ? 0 : lead);
    if (is_made) {
        load_bits(job, strip, branch, row - (down ? 0 : REACH));
        STEM
    } else {
        clear_row(strip, strip->spare[0], b->zero);
    }"""
_STAGE = """\
        pointwise_row(stage, strip->spare[0], strip->stride, strip->cells);"""
_DEEP_STAGE = """\
        const int layer = depthwise_of[stage];
        if (layer >= 0) {
            row -= down ? REACH : 0;
            lead -= REACH;
            is_made = row >= 0 && row < job->height && row >= job->first - (down ? 0 : lead);
            filter(strip, rotation, layer, b->zero, is_made);
        }
        if (is_made) {
            pointwise_row(stage, strip->spare[0], strip->stride, strip->cells);
        }"""

_STEM = """\
for (tap = 0; tap < 9; tap++) {
        const int8_t *const from = places[rotation][tap];
        taps[tap] = strip->bits[branch][from[0]] + from[1];
    }
    stem_row(branch, taps, strip->spare[0], strip->stride, strip->cells);"""
_START += "\n    " + _STEM
_DEEP_START = _DEEP_START.replace("STEM", _STEM.replace("\n", "\n    "))

_BRANCH = """\
/* One branch in one rotation: the cells of row y, once rows above have been there. */
static void run_branch(const struct NAME__job *job, struct NAME__strip *strip, int rotation,
                       int branch, int y)
{
    const struct branch *const b = branches + branch;
    const int down = rotation >= 2;
    const uint8_t *taps[9];
    int tap, stage;
@start@
    for (stage = b->stage; stage < b->end; stage++) {
@stage@
    }
    if (y >= job->first) {
        up_row(branch, strip->spare[0], strip->made[branch], strip->stride, strip->cells);
    }
}

static void run_strip(const struct NAME__job *job, struct NAME__strip *strip)
{
    int y, rotation, branch;
    for (y = job->first - DELAY; y < job->end; y++) {
        for (rotation = 0; rotation < ROTATIONS; rotation++) {
            for (branch = 0; branch < BRANCHES; branch++) {
                run_branch(job, strip, rotation, branch, y);
            }
            if (y >= job->first) {
                merge_row(rotation, strip->made[0], strip->made[BRANCHES - 1], strip->sums,
                          strip->cells);
            }
        }
        if (y >= job->first) {
            store_row(strip->sums, strip->from, strip->to,
                      job->out + (ptrdiff_t)y * UPSCALE * job->out_stride
                          + (ptrdiff_t)(strip->left + strip->from) * UPSCALE,
                      job->out_stride);
        }
    }
}"""
