"""The head with AVX-512: tables, the linear skip, and sub-pixels put side by side."""

from __future__ import annotations

import numpy as np

from intaglio.targets.c.images.vbmi_lookups import load_index, look_up
from intaglio.targets.c.images.vbmi_stem import load_pixels, sum_pixels
from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.centred import CentredNetwork


def head(network: CentredNetwork) -> tuple[str, list[Array]]:
    """Text of ``head_block`` and its constants."""
    groups, upscale = network.channels // 4, network.upscale
    columns = "\n".join(_column(network, groups, dx) for dx in range(upscale))
    text = f"""\
static inline void head_block(const uint8_t *index, const uint8_t *pixels, ptrdiff_t plane,
                              uint8_t *out, ptrdiff_t out_stride)
{{
    const __m512i ones = _mm512_set1_epi8(1);
    const __m512i zero = _mm512_setzero_si512();
{load_index(groups, "    ")}
{load_pixels(network, "    ")}
    int line;
    for (line = 0; line < {upscale}; line++) {{
        const uint8_t *const under = pixels + {_under_row(network)} * plane;
        uint8_t *const to = out + line * out_stride;
        const int8_t *from = @head_tables@ + line * {64 * groups * upscale};
        __m512i t, words;
{columns}
{_store(upscale)}
    }}
}}"""
    return text, _patterns(upscale)


def _under_row(network: CentredNetwork) -> str:
    """Plane of the first pixel under a line of the result."""
    stride, before = network.stride, (network.kernel - network.stride) // 2
    return f"({stride} * ({before} + line * {stride} / {network.upscale}))"


def _column(network: CentredNetwork, groups: int, dx: int) -> str:
    """Statements that make the sub-pixels in column ``dx`` of the cells: ``v<dx>``."""
    stride, before = network.stride, (network.kernel - network.stride) // 2
    tap = before + dx * stride // network.upscale
    under = f"under + {tap % stride} * plane + {tap // stride}"
    output = f"{network.channels} + {network.upscale} * line + {dx}"
    shift, out = network.head_shift, network.out_shift
    lines = "\n".join(
        f"            a{half} = _mm512_srai_epi32(_mm512_add_epi32(a{half}, "
        f"_mm512_slli_epi32(s0_{half}, {shift})), {out});"
        for half in range(2)
    )
    return f"""\
        __m256i v{dx};
        {{
{look_up(groups, 1, "zero", "            ")}
{sum_pixels(network, output, "            ")}
{lines}
            words = _mm512_adds_epi16(_mm512_packs_epi32(a0, a1),
                                      _mm512_cvtepu8_epi16(load_half({under})));
            v{dx} = _mm512_cvtusepi16_epi8(_mm512_max_epi16(words, zero));
            from += {64 * groups};
        }}"""


def _store(upscale: int) -> str:
    """Statements that write a line of the block."""
    if upscale == 1:
        return "        _mm256_storeu_si256((__m256i *)to, v0);"
    pairs = [
        f"_mm512_inserti64x4(_mm512_castsi256_si512(v{dx}), "
        f"v{dx + 1 if dx + 1 < upscale else dx}, 1)"
        for dx in range(0, upscale, 2)
    ]
    lines = [f"const __m512i w{i} = {pair};" for i, pair in enumerate(pairs)]
    for at in range(0, 32 * upscale, 64):
        pattern = f"load_all(@interleave@ + {at})"
        value = (
            f"_mm512_permutexvar_epi8({pattern}, w0)"
            if upscale == 2
            else f"_mm512_permutex2var_epi8(w0, {pattern}, w1)"
        )
        if at + 64 <= 32 * upscale:
            lines.append(f"_mm512_storeu_si512(to + {at}, {value});")
        else:
            half = f"_mm512_castsi512_si256({value})"
            lines.append(f"_mm256_storeu_si256((__m256i *)(to + {at}), {half});")
    return "\n".join("        " + line for line in lines)


def _patterns(upscale: int) -> list[Array]:
    """Where each byte of a line comes from: registers of 32 cells, two and two."""
    if upscale == 1:
        return []
    place = np.arange(32 * upscale)
    data = np.zeros(-(-place.size // 64) * 64, np.uint8)
    data[: place.size] = 32 * (place % upscale) + place // upscale
    return [Array("interleave", data)]
