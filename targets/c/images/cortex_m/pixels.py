"""Stem and head on Cortex-M: pixels in pairs of taps, times two weights (``SMLAD``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.images.cortex_m.instructions import lanes
from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.centred import MIDDLE, CentredNetwork

#: Pairs of taps that are written out; more are a loop.
_MOST_PAIRS = 18


def _pairs(network: CentredNetwork) -> int:
    return (network.kernel**2 + 1) // 2


def stem_arrays(network: CentredNetwork) -> list[Array]:
    """Weights of features and skip, (outputs, pairs) of 32 bits, and the sums' first values."""
    outputs = len(network.stem_bias)
    weights = np.zeros((outputs, 2 * _pairs(network)), np.int64)
    weights[:, : network.kernel**2] = network.stem_weights.reshape(outputs, -1)
    words: NDArray[np.uint32] = (
        (weights[:, ::2] & 0xFFFF) | (weights[:, 1::2] & 0xFFFF) << 16
    ).astype(np.uint32)
    total = network.stem_weights.astype(np.int64).sum(axis=(1, 2))
    half = np.full(outputs, (1 << network.out_shift) >> 1)
    half[: network.channels] = (1 << network.stem_shift) >> 1
    bias = network.stem_bias - MIDDLE * total + half
    return [Array("stem_weights", words), Array("stem_bias", bias.astype(np.int32))]


def stem(network: CentredNetwork) -> str:
    """Text of ``stem_block``, and of what it shares with the head."""
    stride, kernel, count = network.stride, network.kernel, _pairs(network)
    places = [
        f"pixels[{q * stride + t % stride} * plane + {t // stride}]"
        for q in range(kernel)
        for t in range(kernel)
    ]
    loads = "\n".join(
        f"    taps[{pair}] = {places[2 * pair]}"
        + (f" | (uint32_t){places[2 * pair + 1]} << 16;" if 2 * pair + 1 < len(places) else ";")
        for pair in range(count)
    )
    if count <= _MOST_PAIRS:
        sums = "\n".join(
            f"    sum = dsp_multiply(taps[{pair}], w[{pair}], sum);" for pair in range(count)
        )
        pair = ""
    else:
        pair = "    int pair;\n"
        sums = (
            f"    for (pair = 0; pair < {count}; pair++) {{\n"
            "        sum = dsp_multiply(taps[pair], w[pair], sum);\n    }"
        )
    return f"""\
/* The pixels of a cell, two taps in a word. */
static inline void load_taps(const uint8_t *pixels, ptrdiff_t plane, uint32_t *taps)
{{
{loads}
}}

/* One output of the stem. */
static inline int32_t sum_taps(const uint32_t *taps, int o)
{{
    const uint32_t *const w = @stem_weights@ + o * {count};
    int32_t sum = @stem_bias@[o];
{pair}{sums}
    return sum;
}}

static inline void stem_block(const uint8_t *pixels, ptrdiff_t plane, int8_t *out,
                              ptrdiff_t stride)
{{
    int j, o;
    for (j = 0; j < BLOCK; j++) {{
        uint32_t taps[{count}];
        int8_t *to = out + j;
        load_taps(pixels + j, plane, taps);
        for (o = 0; o < {network.channels}; o++) {{
            *to = dsp_saturate(sum_taps(taps, o) >> {network.stem_shift});
            to += stride;
        }}
    }}
}}"""


def head(network: CentredNetwork, groups: list[int]) -> str:
    """Text of ``head_block``.

    Args:
        network: The network.
        groups: Words of four outputs that are looked up together.
    """
    upscale, stride = network.upscale, network.stride
    before = (network.kernel - stride) // 2
    lines, at = [], 0
    for words in groups:
        lines.append(
            f"        look_up_{words}(@head_tables@ + {64 * network.channels * at}, index, 0, "
            f"sums + {2 * at});"
        )
        at += words
    for o in range(upscale**2):
        dy, dx = divmod(o, upscale)
        q, t = before + dy * stride // upscale, before + dx * stride // upscale
        register, take = lanes(o % 4)
        number = 2 * (o // 4) + "ab".index(register)
        lines.append(
            f"        out[{dy} * out_stride + {dx}] = pixel(\n"
            f"            pixels[{q * stride + t % stride} * plane + {t // stride}] + "
            f"(({take}(sums[{number}]) * {1 << network.head_shift}\n"
            f"            + sum_taps(taps, {network.channels + o})) >> {network.out_shift}));"
        )
    body = "\n".join(lines)
    return f"""\
DSP_INLINE uint8_t pixel(int32_t value)
{{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}}

static inline void head_block(const uint8_t *index, const uint8_t *pixels, ptrdiff_t plane,
                              uint8_t *out, ptrdiff_t out_stride)
{{
    int j;
    for (j = 0; j < BLOCK; j++) {{
        uint32_t taps[{_pairs(network)}], sums[{2 * at}];
        load_taps(pixels, plane, taps);
{body}
        index += {network.channels};
        pixels++;
        out += {upscale};
    }}
}}"""
