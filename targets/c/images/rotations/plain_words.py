"""Sums of a cell in plain C: four of 16 bits in a word of 64, eight entries at an addition.

Entries become unsigned (``^ 0x80``). One sum takes the words as they are, one their odd bytes; the
first less the second, moved up, is that of the even bytes. On a big-endian machine bytes change
places, not the text.
"""

from __future__ import annotations

from intaglio.targets.c.images.rotations.rounding import mean_function
from intaglio.transforms.table_networks.reference import TAPS

#: Entries of a word.
WIDE = 8


def plain_words(channels: int, cells: int) -> str:
    """What is done with the sums of a cell.

    Args:
        channels: A multiple of :data:`WIDE`.
        cells: Sub-pixels of a cell.
    """
    return "\n\n".join(
        [
            mean_function("mean_of_taps", TAPS),
            mean_function("mean_of_channels", channels),
            _WIDE,
            _sums("words", "clear", "add_row", "spread", channels // WIDE),
            _sums("cell_words", "clear_cell", "add_cell", "spread_cell", -(-cells // WIDE)),
            _SETTLE.replace("@channels@", str(channels))
            .replace("@cells@", str(cells))
            .replace("@places@", str(WIDE * -(-cells // WIDE)))
            .replace("@bias_of_taps@", str(128 * TAPS))
            .replace("@bias_of_channels@", str(128 * channels)),
        ]
    )


def outputs_of(cells: int) -> int:
    """Sub-pixels in whole words."""
    return WIDE * -(-cells // WIDE)


def _sums(kind: str, clear: str, add: str, spread: str, words: int) -> str:
    names = [f"{name}{word}" for word in range(words) for name in ("all", "odd")]
    zeros = "\n".join(f"    sum->{name} = 0;" for name in names)
    steps = "\n".join(
        f"    word = load_wide(row + {WIDE * word});\n"
        f"    sum->all{word} += word;\n"
        f"    sum->odd{word} += (word >> 8) & ODD_BYTES;"
        for word in range(words)
    )
    spreads = "\n".join(
        f"    spread_wide(sum->all{word}, sum->odd{word}, to + {WIDE * word});"
        for word in range(words)
    )
    return f"""\
typedef struct {{
    uint64_t {", ".join(names)};
}} {kind};

static inline void {clear}({kind} *sum)
{{
{zeros}
}}

static inline void {add}({kind} *sum, const int8_t *row)
{{
    uint64_t word;
{steps}
}}

static inline void {spread}(const {kind} *sum, int *to)
{{
{spreads}
}}"""


_WIDE = """\
#define ODD_BYTES UINT64_C(0x00FF00FF00FF00FF)

/* Eight entries, each 128 larger. */
static inline uint64_t load_wide(const int8_t *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof word);
    return word ^ UINT64_C(0x8080808080808080);
}

static inline void spread_wide(uint64_t all, uint64_t odd, int *to)
{
    const uint64_t even = all - (odd << 8);
    const uint16_t one = 1;
    uint8_t first;
    int i;
    memcpy(&first, &one, 1);
    for (i = 0; i < 4; i++) {
        const int low = (int)((even >> (16 * i)) & 0xFFFF);
        const int high = (int)((odd >> (16 * i)) & 0xFFFF);
        to[first ? 2 * i : 7 - 2 * i] = low;
        to[first ? 2 * i + 1 : 6 - 2 * i] = high;
    }
}"""

_SETTLE = """\
static inline uint8_t clamp_level(int level, int high)
{
    return (uint8_t)(level < 0 ? 0 : level > high ? high : level);
}

/* The levels of a cell behind the stem. */
static inline void settle_level(const words *sum, int own, const struct layer *l, uint8_t *to)
{
    int sums[@channels@], o;
    spread(sum, sums);
    for (o = 0; o < @channels@; o++) {
        to[o] = clamp_level(mean_of_taps(sums[o] - @bias_of_taps@) + own, l->high);
    }
}

/* The levels of a cell behind a pointwise layer, in their place. */
static inline void settle(const words *sum, uint8_t *cell, const struct layer *l)
{
    int sums[@channels@], o;
    spread(sum, sums);
    for (o = 0; o < @channels@; o++) {
        const int mean = mean_of_channels(sums[o] - @bias_of_channels@);
        cell[o] = clamp_level(mean + cell[o], l->high);
    }
}

static inline void finish(const cell_words *sum, const uint8_t *cell, const struct layer *l,
                          int8_t *to)
{
    int sums[@places@], o;
    spread_cell(sum, sums);
    for (o = 0; o < @cells@; o++) {
        const int mean = mean_of_channels(sums[o] - @bias_of_channels@);
        const int value = mean + cell[o] - l->zero;
        to[o] = (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
    }
}"""
