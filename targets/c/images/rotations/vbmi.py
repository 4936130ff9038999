"""Rows of cells with AVX-512 VBMI: ``vpermb`` looks 64 cells up in a table of 64 rows.

Features are planar. Bytes that were looked up are added as words without unpacking them: one sum
takes the words as they are, one their upper bytes; the first less the second is that of the lower
bytes. So cells of even and odd columns have sums in two registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.images.rotations.rounding import high_factor, is_power
from intaglio.targets.c.images.rotations.rows import RowKernels, levels
from intaglio.targets.c.images.rotations.turning import ROTATIONS, sub_pixels
from intaglio.targets.c.images.rotations.vbmi_ends import ends
from intaglio.targets.c.images.rotations.vbmi_tables import ROWS, TRIPLE, pack
from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.reference import TAPS, Branch, ReferenceNetwork

BLOCK = 64
#: Sums of more channels do not fit the registers.
MOST_CHANNELS = 64


def kernels(network: ReferenceNetwork) -> RowKernels | None:
    """The functions of AVX-512; None where the mean over the channels is no shift."""
    channels, cells = network.branches[0].channels, network.upscale**2
    if not is_power(channels) or channels > MOST_CHANNELS:
        return None
    arrays: list[Array] = []
    stems: list[str] = []
    points: list[str] = []
    depths: list[str] = []
    ups: list[str] = []

    def array(name: str, data: NDArray[Any]) -> str:
        arrays.append(Array(name, data))
        return f"@{name}@"

    def layer(
        branch: Branch, name: str, tables: NDArray[np.int8], scale: NDArray[np.int8] | None
    ) -> str:
        packed, by_level, scaled = pack(tables), levels(branch, scale), "NULL"
        if by_level is not None:
            scaled = array(f"{name}_scale", np.tile(by_level, (1, ROWS // branch.rows)))
        return (
            f"    {{{array(name, packed.tables)}, {array(f'{name}_bias', packed.biases)}, "
            f"{scaled}, {int(packed.triples)}, {branch.rows - 1}, {-branch.low}}},"
        )

    for number, branch in enumerate(network.branches):
        stems.append(layer(branch, f"stem{number}", branch.stem, branch.stem_scale))
        for stage in branch.stages:
            if stage.depthwise is not None:
                # Each channel has tables of its own: one output each, and all of them at once.
                depths.append(_depthwise(branch, stage.depthwise, stage.depthwise_scale, array,
                                         f"depthwise{len(depths)}"))  # fmt: skip
            name = f"pointwise{len(points)}"
            points.append(layer(branch, name, stage.pointwise, stage.pointwise_scale))
        ups.append(layer(branch, f"up{number}", branch.up, None))
    patterns = np.array([sub_pixels(turns, network.upscale) for turns in range(ROTATIONS)])
    arrays.append(Array("turned", patterns.astype(np.uint8)))
    tables = [("stems", stems), ("pointwise", points), ("ups", ups)]
    if depths:
        tables.append(("depthwise", depths))
    counts = {TAPS, channels, -(-TAPS // TRIPLE), -(-channels // TRIPLE)}
    parts = [
        f"enum {{ BLOCK = {BLOCK}, CELL = 1, OUTPUTS = {cells} }};",
        _LAYER,
        *(
            f"static const struct layer {name}[] = {{\n{chr(10).join(rows)}\n}};"
            for name, rows in tables
        ),
        *(_look_up(count) for count in sorted(counts)),
        _MEANS.replace("@shift@", str(channels.bit_length() - 1))
        .replace("@less@", str(channels // 2 - 1))
        .replace("@ninth@", str(high_factor(TAPS))),
        _stem(channels),
        _mixing(channels, cells),
        _DEPTHWISE.replace("@channels@", str(channels)) if depths else "",
        ends(network),
    ]
    code = "\n\n".join(part for part in parts if part)
    return RowKernels(BLOCK, 0, code, tuple(arrays), cells)


def _depthwise(
    branch: Branch, tables: NDArray[np.int8], scale: NDArray[np.int8] | None, array: Any, name: str
) -> str:
    """The layer's row: (channels, 9 taps, 64), and a bias for each channel."""
    wide = np.tile(tables.astype(np.int64), (1, 1, ROWS // branch.rows))
    least = wide.min(axis=2, keepdims=True)
    bias = least.sum(axis=1)
    words = np.concatenate([bias, (bias * 257) & 0xFFFF], axis=1).astype(np.uint16)
    by_level, scaled = levels(branch, scale), "NULL"
    if by_level is not None:
        scaled = array(f"{name}_scale", np.tile(by_level, (1, ROWS // branch.rows)))
    data = array(name, (wide - least).astype(np.uint8))
    return (
        f"    {{{data}, {array(f'{name}_bias', words.view(np.int16))}, {scaled}, 0, "
        f"{branch.rows - 1}, {-branch.low}}},"
    )


def _look_up(count: int) -> str:
    """Sums over so many indices, for one output."""
    lines = "\n".join(
        f"    p = _mm512_permutexvar_epi8(index[{i}], load(tables + {64 * i}));\n"
        "    all = _mm512_add_epi16(all, p);\n"
        "    *odd = _mm512_add_epi16(*odd, _mm512_srli_epi16(p, 8));"
        for i in range(count)
    )
    return f"""\
static inline void look_up_{count}(const __m512i *index, const uint8_t *tables, const int16_t *bias,
                              __m512i *even, __m512i *odd)
{{
    __m512i all = _mm512_set1_epi16(bias[1]), p;
    *odd = _mm512_set1_epi16(bias[0]);
{lines}
    *even = _mm512_sub_epi16(all, _mm512_slli_epi16(*odd, 8));
}}"""


_LAYER = """\
struct layer {
    const uint8_t *tables;
    const int16_t *biases;
    const uint8_t *scale; /* 64 levels of each channel; or NULL */
    int triples; /* an index stands for three levels */
    int high;
    int zero;
};

static inline __m512i load(const void *from)
{
    return _mm512_loadu_si512(from);
}

/* Three levels of two bits as one index. */
static inline __m512i triple(__m512i a, __m512i b, __m512i c)
{
    return _mm512_or_si512(
        _mm512_or_si512(a, _mm512_slli_epi16(b, 2)), _mm512_slli_epi16(c, 4));
}"""

_MEANS = """\
/* Words of even and odd cells, within int8, as bytes. */
static inline __m512i join(__m512i even, __m512i odd)
{
    return _mm512_mask_blend_epi8(
        UINT64_C(0xAAAAAAAAAAAAAAAA), even, _mm512_slli_epi16(odd, 8));
}

/* Half to even. */
static inline __m512i mean_of_channels(__m512i sum)
{
    const __m512i is_odd = _mm512_and_si512(
        _mm512_srli_epi16(sum, @shift@), _mm512_set1_epi16(1));
    return _mm512_srai_epi16(
        _mm512_add_epi16(_mm512_add_epi16(sum, _mm512_set1_epi16(@less@)), is_odd), @shift@);
}

static inline __m512i mean_of_taps(__m512i sum)
{
    return _mm512_mulhrs_epi16(sum, _mm512_set1_epi16(@ninth@));
}

/* Levels of one channel from a mean and its own levels. */
static inline __m512i settle(const struct layer *l, __m512i mean, __m512i own, int channel)
{
    __m512i level = _mm512_adds_epi8(mean, own);
    level = _mm512_max_epi8(level, _mm512_setzero_si512());
    level = _mm512_min_epi8(level, _mm512_set1_epi8((char)l->high));
    if (l->scale != NULL) {
        level = _mm512_permutexvar_epi8(level, load(l->scale + 64 * channel));
    }
    return level;
}"""


def _stem(channels: int) -> str:
    groups = TAPS // TRIPLE
    loads = "\n".join(f"        index[{tap}] = load(taps[{tap}] + at);" for tap in range(TAPS))
    triples = "\n".join(
        f"            index[{g}] = triple(index[{3 * g}], index[{3 * g + 1}], index[{3 * g + 2}]);"
        for g in range(groups)
    )

    def loop(count: int) -> str:
        return f"""\
            for (o = 0; o < {channels}; o++) {{
                look_up_{count}(index, l->tables + o * {64 * count}, l->biases + 2 * o,
                              &even, &odd);
                _mm512_storeu_si512(
                    out + o * stride + at,
                    settle(l, join(mean_of_taps(even), mean_of_taps(odd)), own, o));
            }}"""

    return f"""\
static inline void stem_row(int branch, const uint8_t **taps, uint8_t *out, ptrdiff_t stride,
                            int cells)
{{
    const struct layer *const l = stems + branch;
    int at, o;
    for (at = 0; at < cells; at += BLOCK) {{
        __m512i index[{TAPS}], own, even, odd;
{loads}
        own = index[8];
        if (l->triples) {{
{triples}
{loop(groups)}
        }} else {{
{loop(TAPS)}
        }}
    }}
}}"""


def _mixing(channels: int, cells: int) -> str:
    groups = -(-channels // TRIPLE)
    loads = "\n".join(f"        index[{c}] = load(from + {c} * stride);" for c in range(channels))
    lines = []
    for group in range(groups):
        parts = [f"index[{c}]" for c in range(3 * group, min(3 * group + 3, channels))]
        parts += ["_mm512_setzero_si512()"] * (3 - len(parts))
        lines.append(f"            index[{group}] = triple({', '.join(parts)});")
    triples = "\n".join(lines)

    def loop(count: int, outputs: int, statement: str) -> str:
        return f"""\
            for (o = 0; o < {outputs}; o++) {{
                look_up_{count}(index, l->tables + o * {64 * count}, l->biases + 2 * o,
                              &even, &odd);
                own = load(from + o * stride);
                mean = join(mean_of_channels(even), mean_of_channels(odd));
                {statement}
            }}"""

    def body(outputs: int, statement: str) -> str:
        return f"""\
{loads}
        if (l->triples) {{
{triples}
{loop(groups, outputs, statement)}
        }} else {{
{loop(channels, outputs, statement)}
        }}"""

    settle = "_mm512_storeu_si512(from + o * stride, settle(l, mean, own, o));"
    finish = (
        "_mm512_storeu_si512(out + at * OUTPUTS + o * BLOCK,\n"
        "                                    _mm512_adds_epi8(mean, _mm512_sub_epi8(own, zero)));"
    )
    return f"""\
static inline void pointwise_row(int layer, uint8_t *row, ptrdiff_t stride, int cells)
{{
    const struct layer *const l = pointwise + layer;
    int at, o;
    for (at = 0; at < cells; at += BLOCK) {{
        uint8_t *const from = row + at;
        __m512i index[{channels}], own, mean, even, odd;
{body(channels, settle)}
    }}
}}

/* Block by block, the sub-pixels of 64 cells together. */
static inline void up_row(int branch, const uint8_t *in, int8_t *out, ptrdiff_t stride, int cells)
{{
    const struct layer *const l = ups + branch;
    const __m512i zero = _mm512_set1_epi8((char)l->zero);
    int at, o;
    for (at = 0; at < cells; at += BLOCK) {{
        const uint8_t *const from = in + at;
        __m512i index[{channels}], own, mean, even, odd;
{body(cells, finish)}
    }}
}}"""


_DEPTHWISE = """\
static inline void depthwise_row(int layer, const uint8_t **taps, uint8_t *out, ptrdiff_t stride,
                                 int cells)
{
    const struct layer *const l = depthwise + layer;
    int at, c, tap;
    for (c = 0; c < @channels@; c++) {
        for (at = 0; at < cells; at += BLOCK) {
            __m512i index[9], even, odd;
            for (tap = 0; tap < 9; tap++) {
                index[tap] = load(taps[tap] + c * stride + at);
            }
            look_up_9(index, l->tables + c * 576, l->biases + 2 * c, &even, &odd);
            _mm512_storeu_si512(
                out + c * stride + at,
                settle(l, join(mean_of_taps(even), mean_of_taps(odd)), index[8], c));
        }
    }
}"""
