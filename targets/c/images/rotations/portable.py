"""Sums of a cell in plain C."""

from __future__ import annotations

from intaglio.targets.c.images.rotations.plain_words import WIDE, outputs_of, plain_words
from intaglio.targets.c.images.rotations.rounding import mean_function
from intaglio.targets.c.images.rotations.rows import RowKernels, row_kernels
from intaglio.transforms.table_networks.reference import TAPS, ReferenceNetwork

#: The sums of more channels do not stay in registers.
MOST_CHANNELS = 32


def kernels(network: ReferenceNetwork) -> RowKernels:
    """The functions of plain C."""
    channels, cells = network.branches[0].channels, network.upscale**2
    if channels % WIDE == 0 and channels <= MOST_CHANNELS:
        return row_kernels(network, plain_words(channels, cells), outputs_of(cells), "")
    words = "\n\n".join(
        [
            mean_function("mean_of_taps", TAPS),
            mean_function("mean_of_channels", channels),
            _WORDS.replace("@channels@", str(channels)).replace("@cells@", str(cells)),
        ]
    )
    return row_kernels(network, words, cells, "")


_WORDS = """\
typedef struct {
    int16_t of[@channels@];
} words;

typedef struct {
    int16_t of[@cells@];
} cell_words;

static inline void clear(words *sum)
{
    memset(sum, 0, sizeof *sum);
}

static inline void add_row(words *sum, const int8_t *row)
{
    int o;
    for (o = 0; o < @channels@; o++) {
        sum->of[o] = (int16_t)(sum->of[o] + row[o]);
    }
}

static inline uint8_t clamp_level(int level, int high)
{
    return (uint8_t)(level < 0 ? 0 : level > high ? high : level);
}

/* The levels of a cell behind the stem. */
static inline void settle_level(const words *sum, int own, const struct layer *l, uint8_t *to)
{
    int o;
    for (o = 0; o < @channels@; o++) {
        to[o] = clamp_level(mean_of_taps(sum->of[o]) + own, l->high);
    }
}

/* The levels of a cell behind a pointwise layer, in their place. */
static inline void settle(const words *sum, uint8_t *cell, const struct layer *l)
{
    int o;
    for (o = 0; o < @channels@; o++) {
        cell[o] = clamp_level(mean_of_channels(sum->of[o]) + cell[o], l->high);
    }
}

static inline void clear_cell(cell_words *sum)
{
    memset(sum, 0, sizeof *sum);
}

static inline void add_cell(cell_words *sum, const int8_t *row)
{
    int o;
    for (o = 0; o < @cells@; o++) {
        sum->of[o] = (int16_t)(sum->of[o] + row[o]);
    }
}

static inline void finish(const cell_words *sum, const uint8_t *cell, const struct layer *l,
                          int8_t *to)
{
    int o;
    for (o = 0; o < @cells@; o++) {
        const int value = mean_of_channels(sum->of[o]) + cell[o] - l->zero;
        to[o] = (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
    }
}"""
