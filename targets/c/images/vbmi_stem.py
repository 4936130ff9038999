"""The stem with AVX-512: pixels of a row in fours, times four weights (``vpdpbusd``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.images.vbmi_windows import quads
from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.centred import MIDDLE, CentredNetwork


def stem_arrays(network: CentredNetwork) -> list[Array]:
    """Weights of features and skip, (outputs, fours) of 32 bits, and the sums' first values."""
    stride, kernel = network.stride, network.kernel
    fours = _fours(network)
    weights = np.zeros((len(network.stem_bias), len(fours), 4), np.int8)
    for place, (q, phase, first) in enumerate(fours):
        for i in range(4):
            tap = stride * (first + i) + phase
            if tap < kernel:
                weights[:, place, i] = network.stem_weights[:, q, tap]
    words: NDArray[np.int32] = weights.view(np.int32)
    total = network.stem_weights.astype(np.int64).sum(axis=(1, 2))
    half = np.full(len(total), (1 << network.out_shift) >> 1)
    half[: network.channels] = (1 << network.stem_shift) >> 1
    bias = network.stem_bias - MIDDLE * total + half
    return [
        Array("stem_weights", words.reshape(len(total), len(fours))),
        Array("stem_bias", bias.astype(np.int32)),
        quads(),
    ]


def _fours(network: CentredNetwork) -> list[tuple[int, int, int]]:
    """Row of the window, phase and first cell of each four pixels."""
    stride, kernel = network.stride, network.kernel
    return [
        (q, phase, first)
        for q in range(kernel)
        for phase in range(stride)
        for first in range(0, -(-(kernel - phase) // stride), 4)
    ]


def load_pixels(network: CentredNetwork, indent: str) -> str:
    """Statements that bring the pixels of the block's cells into ``x0_0`` (four, register)."""
    lines = ["const __m512i quads0 = load_all(@quads@), quads1 = load_all(@quads@ + 64);"]
    for place, (q, phase, first) in enumerate(_fours(network)):
        offset = f"{q * network.stride + phase} * plane + {first}"
        lines.append(f"const __m512i p{place} = load_all(pixels + {offset});")
        lines += [
            f"const __m512i x{place}_{half} = _mm512_permutexvar_epi8(quads{half}, p{place});"
            for half in range(2)
        ]
    return "\n".join(indent + line for line in lines)


def sum_pixels(network: CentredNetwork, output: str, indent: str) -> str:
    """Statements that leave the sums of an output in ``a0`` and ``a1``."""
    count = len(_fours(network))
    lines = [
        f"const int32_t *const w = @stem_weights@ + {count} * ({output});",
        f"__m512i a0 = _mm512_set1_epi32(@stem_bias@[{output}]), a1 = a0;",
    ]
    for place in range(count):
        lines += [
            f"a{half} = _mm512_dpbusd_epi32(a{half}, x{place}_{half}, "
            f"_mm512_set1_epi32(w[{place}]));"
            for half in range(2)
        ]
    return "\n".join(indent + line for line in lines)


def stem(network: CentredNetwork) -> str:
    """Text of ``stem_block``."""
    return f"""\
static inline void stem_block(const uint8_t *pixels, ptrdiff_t plane, int8_t *out,
                              ptrdiff_t stride)
{{
    int o;
{load_pixels(network, "    ")}
    for (o = 0; o < {network.channels}; o++) {{
{sum_pixels(network, "o", "        ")}
        a0 = _mm512_packs_epi32(_mm512_srai_epi32(a0, {network.stem_shift}),
                                _mm512_srai_epi32(a1, {network.stem_shift}));
        _mm256_storeu_si256((__m256i *)(out + o * stride), _mm512_cvtsepi16_epi8(a0));
    }}
}}"""
