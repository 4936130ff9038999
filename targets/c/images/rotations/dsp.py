"""Sums of a cell on Cortex-M: two words of 16 bits in a register, two entries at an instruction."""

from __future__ import annotations

from intaglio.targets.c.images.cortex_m.instructions import INSTRUCTIONS, lanes
from intaglio.targets.c.images.rotations.rounding import mean_function
from intaglio.targets.c.images.rotations.rows import RowKernels, row_kernels
from intaglio.transforms.table_networks.reference import TAPS, ReferenceNetwork

#: Words of four outputs whose sums stay in registers.
MOST_WORDS = 4


def kernels(network: ReferenceNetwork) -> RowKernels | None:
    """The functions of Cortex-M; None for channels that are no words, or too many of them."""
    channels, cells = network.branches[0].channels, network.upscale**2
    if channels % 4 or channels > 4 * MOST_WORDS:
        return None
    words = "\n\n".join(
        [
            INSTRUCTIONS,
            mean_function("mean_of_taps", TAPS),
            mean_function("mean_of_channels", channels),
            _sums("words", "clear", "add_row", channels // 4),
            _sums("cell_words", "clear_cell", "add_cell", -(-cells // 4)),
            _CLAMP,
            _settle("settle_level(const words *sum, int own, const struct layer *l, uint8_t *to)",
                    "mean_of_taps({}) + own", "to", channels),
            _settle("settle(const words *sum, uint8_t *cell, const struct layer *l)",
                    "mean_of_channels({}) + cell[{o}]", "cell", channels),
            _finish(cells),
        ]
    )  # fmt: skip
    return row_kernels(network, words, -(-cells // 4) * 4, "")


def _names(words: int) -> list[str]:
    return [f"{register}{word}" for word in range(words) for register in "ab"]


def _sums(kind: str, clear: str, add: str, words: int) -> str:
    """A type of sums, and how a row of a table is added to them."""
    names = _names(words)
    zeros = "\n".join(f"    sum->{name} = 0;" for name in names)
    steps = "\n".join(
        f"    bytes = dsp_load(row + {4 * word});\n"
        f"    sum->a{word} = dsp_add_even(sum->a{word}, bytes);\n"
        f"    sum->b{word} = dsp_add_odd(sum->b{word}, bytes);"
        for word in range(words)
    )
    return f"""\
typedef struct {{
    uint32_t {", ".join(names)};
}} {kind};

static inline void {clear}({kind} *sum)
{{
{zeros}
}}

static inline void {add}({kind} *sum, const int8_t *row)
{{
    uint32_t bytes;
{steps}
}}"""


def _sum_of(output: int) -> str:
    """The sum of an output, as a number."""
    register, take = lanes(output % 4)
    return f"{take}(sum->{register}{output // 4})"


_CLAMP = """\
static inline uint8_t clamp_level(int level, int high)
{
    return (uint8_t)(level < 0 ? 0 : level > high ? high : level);
}"""


def _settle(declaration: str, value: str, to: str, channels: int) -> str:
    lines = "\n".join(
        f"    {to}[{o}] = clamp_level({value.format(_sum_of(o), o=o)}, l->high);"
        for o in range(channels)
    )
    return f"static inline void {declaration}\n{{\n{lines}\n}}"


def _finish(cells: int) -> str:
    lines = "\n".join(
        f"    to[{o}] = dsp_saturate(mean_of_channels({_sum_of(o)}) + cell[{o}] - l->zero);"
        for o in range(cells)
    )
    return f"""\
static inline void finish(const cell_words *sum, const uint8_t *cell, const struct layer *l,
                          int8_t *to)
{{
{lines}
}}"""
