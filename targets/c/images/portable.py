"""Blocks of a centred table network in plain C, in loops with constant bounds.

A row of the tables holds all outputs of one channel and level, eight of them in a 64-bit word, each
made unsigned (``+ 128``). A look-up adds words: their sum, and the sum of every other byte in lanes
of 16 bits. The remaining bytes' sums are the difference, since a word is the sum of its two halves.
Words are numbers, so the order of bytes in memory does not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.images.interface import Kernels
from intaglio.targets.c.images.windows import single_taps
from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.table_networks.centred import CentredNetwork, Window

BLOCK = 32


def kernels(network: CentredNetwork, variant: str) -> Kernels:
    """The functions of plain C.

    Args:
        network: The network.
        variant: Any.
    """
    del variant
    channels, cells = network.channels, network.upscale**2
    windows = [*(mixing.window for mixing in network.mixings), network.head_window]
    singles = [single_taps(window) for window in windows]
    arrays = [*_stem_arrays(network), Array("head_tables", pack_tables(network.head_tables))]
    rows = []
    for number, (window, single) in enumerate(zip(windows, singles, strict=True)):
        is_head = number == len(network.mixings)
        tables = network.head_tables if is_head else network.mixings[number].tables
        shift = 0 if is_head else network.mixings[number].shift
        if not is_head:
            arrays.append(Array(f"tables{number}", pack_tables(tables)))
        name = "head_tables" if is_head else f"tables{number}"
        arrays.append(Array(f"taps{number}", _taps(window)))
        rows.append(
            f"    {{@{name}@, @taps{number}@, {int(single is not None)}, {window.shift}, "
            f"{_half(window.shift)}, {shift}, {_half(shift) - channels * 128}}},"
        )
    parts = [
        f"enum {{ BLOCK = {BLOCK}, INDEX_BYTES = {-(-BLOCK * channels // 64) * 64} }};",
        _LAYERS.replace("@rows@", "\n".join(rows)),
        _stem(network),
        _WINDOW.replace("@channels@", str(channels)),
        _mix(channels) if network.mixings else "",
        _head(network, channels, cells),
    ]
    code = "\n\n".join(part for part in parts if part)
    return Kernels(BLOCK, -(-BLOCK * channels // 64) * 64, code, tuple(arrays))


def _half(shift: int) -> int:
    return (1 << shift) >> 1


def _taps(window: Window) -> NDArray[np.int8]:
    """The nine taps of each channel, then place and weight of the first that is not 0."""
    flat = window.taps.reshape(-1, 9)
    place = np.argmax(flat != 0, axis=1)
    weight = flat[np.arange(len(flat)), place]
    parts: list[NDArray[Any]] = [flat, place[:, None], weight[:, None]]
    return np.concatenate(parts, axis=1).astype(np.int8)


def _stem_arrays(network: CentredNetwork) -> list[Array]:
    """Weights output by output for the features, tap by tap for the skip; biases."""
    channels = network.channels
    weights = network.stem_weights.astype(np.int64)
    bias = network.stem_bias - 128 * weights.sum(axis=(1, 2))
    half = np.where(
        np.arange(len(bias)) < channels, _half(network.stem_shift), _half(network.out_shift)
    )
    skip = network.stem_weights[channels:].reshape(-1, network.kernel**2).T
    return [
        Array("stem_weights", network.stem_weights[:channels]),
        Array("skip_weights", np.ascontiguousarray(skip)),
        Array("stem_bias", (bias + half).astype(np.int32)),
    ]


_LAYERS = """\
struct layer {
    const uint64_t *tables;
    const int8_t *taps; /* of each channel nine, then the only one: its place and its weight */
    int single;
    int tap_shift;
    int tap_half;
    int shift;
    int half; /* of the shift, less what makes the entries unsigned */
};

static const struct layer layers[] = {
@rows@
};

static inline int8_t narrow(int value)
{
    return (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
}"""


def _stem(network: CentredNetwork) -> str:
    stride, kernel = network.stride, network.kernel
    terms = [
        f"            sums[j] += w[{q * kernel + t}] * "
        f"pixels[{q * stride + t % stride} * plane + j + {t // stride}];"
        for q in range(kernel)
        for t in range(kernel)
    ]
    loops = "\n".join(
        f"        for (j = 0; j < BLOCK; j++) {{\n{term}\n        }}" for term in terms
    )
    return f"""\
static inline void stem_block(const uint8_t *pixels, ptrdiff_t plane, int8_t *out,
                              ptrdiff_t stride)
{{
    int c, j;
    for (c = 0; c < {network.channels}; c++) {{
        const int8_t *const w = @stem_weights@ + c * {kernel * kernel};
        int32_t sums[BLOCK];
        for (j = 0; j < BLOCK; j++) {{
            sums[j] = @stem_bias@[c];
        }}
{loops}
        for (j = 0; j < BLOCK; j++) {{
            out[c * stride + j] = narrow(sums[j] >> {network.stem_shift});
        }}
    }}
}}"""


_WINDOW = """\
static inline uint8_t table_row(int value)
{
    return (uint8_t)((value < -8 ? -8 : value > 7 ? 7 : value) + 8);
}

static inline void window_block(int layer, const int8_t *above, const int8_t *here,
                                const int8_t *below, ptrdiff_t stride, uint8_t *index)
{
    const struct layer *const l = layers + layer;
    const int half = l->tap_half, shift = l->tap_shift;
    int c, j;
    for (c = 0; c < @channels@; c++) {
        const int8_t *const w = l->taps + 11 * c;
        const int8_t *const a = above + c * stride;
        const int8_t *const h = here + c * stride;
        const int8_t *const b = below + c * stride;
        uint8_t *const to = index + c * BLOCK;
        int16_t sums[BLOCK];
        if (l->single) {
            const int8_t *const from = (w[9] < 3 ? a : w[9] < 6 ? h : b) + w[9] % 3 - 1;
            for (j = 0; j < BLOCK; j++) {
                sums[j] = (int16_t)(from[j] * w[10]);
            }
        } else {
            /* No sum of some of the taps leaves 16 bits. */
            for (j = 0; j < BLOCK; j++) {
                int16_t sum = (int16_t)(a[j - 1] * w[0]);
                sum = (int16_t)(sum + a[j] * w[1]);
                sum = (int16_t)(sum + a[j + 1] * w[2]);
                sum = (int16_t)(sum + h[j - 1] * w[3]);
                sum = (int16_t)(sum + h[j] * w[4]);
                sum = (int16_t)(sum + h[j + 1] * w[5]);
                sum = (int16_t)(sum + b[j - 1] * w[6]);
                sum = (int16_t)(sum + b[j] * w[7]);
                sums[j] = (int16_t)(sum + b[j + 1] * w[8]);
            }
        }
        for (j = 0; j < BLOCK; j++) {
            to[j] = table_row((sums[j] + half) >> shift);
        }
    }
}"""


def pack_tables(tables: NDArray[np.int8]) -> NDArray[np.uint64]:
    """(channels, 16, words) of (channels, 16, outputs): eight outputs in a word, first lowest."""
    channels, rows, outputs = tables.shape
    even = np.zeros((channels, rows, -(-outputs // 8) * 8), np.uint8)
    even[..., :outputs] = tables.view(np.uint8) ^ 128
    places = np.arange(0, 64, 8).astype(np.uint64)
    words = even.reshape(channels, rows, -1, 8).astype(np.uint64) << places
    packed: NDArray[np.uint64] = words.sum(axis=3, dtype=np.uint64)
    return packed


def _look_up(channels: int, words: int, tables: str) -> str:
    """Statements that look cell ``j`` up: word ``k`` has its sums in ``s<k>`` and ``d<k>``.

    Lanes of 16 bits: ``s`` of outputs 0, 2, 4 and 6 of the word, ``d`` of the others.
    """
    first = ", ".join(f"s{k} = 0, d{k} = 0" for k in range(words))
    adds = "\n".join(
        f"            s{k} += from[{k}];\n            d{k} += from[{k}] >> 8 & every;"
        for k in range(words)
    )
    splits = "\n".join(f"        s{k} -= d{k} << 8;" for k in range(words))
    return f"""\
        uint64_t {first};
        for (c = 0; c < {channels}; c++) {{
            const uint64_t *const from = {tables} + (c * 16 + index[c * BLOCK + j]) * {words};
{adds}
        }}
{splits}"""


def _sum_of(output: int) -> str:
    """The sum of an output, in C."""
    word, lane = divmod(output, 8)
    return f"(int)({'d' if lane % 2 else 's'}{word} >> {lane // 2 * 16} & 0xFFFF)"


def _mix(channels: int) -> str:
    stores = "\n".join(
        f"        out[{o} * stride + j] = narrow(here[{o} * stride + j] + "
        f"(({_sum_of(o)} + half) >> shift));"
        for o in range(channels)
    )
    return f"""\
static inline void mix_block(int layer, const uint8_t *index, const int8_t *here, int8_t *out,
                             ptrdiff_t stride)
{{
    const struct layer *const l = layers + layer;
    const uint64_t every = UINT64_C(0x00FF00FF00FF00FF);
    const int half = l->half, shift = l->shift;
    int c, j;
    for (j = 0; j < BLOCK; j++) {{
{_look_up(channels, channels // 8, "l->tables")}
{stores}
    }}
}}"""


def _head(network: CentredNetwork, channels: int, cells: int) -> str:
    stride, kernel, upscale = network.stride, network.kernel, network.upscale
    before = (kernel - stride) // 2
    taps = "\n".join(
        f"        x = pixels[{q * stride + t % stride} * plane + j + {t // stride}];\n"
        f"        for (o = 0; o < {cells}; o++) {{\n"
        f"            sums[o] += x * @skip_weights@[{(q * kernel + t) * cells} + o];\n        }}"
        for q in range(kernel)
        for t in range(kernel)
    )
    stores = []
    for dy in range(upscale):
        q = before + dy * stride // upscale
        for dx in range(upscale):
            t = before + dx * stride // upscale
            o = dy * upscale + dx
            under = f"pixels[{q * stride + t % stride} * plane + j + {t // stride}]"
            stores.append(
                f"        out[{dy} * out_stride + j * {upscale} + {dx}] = pixel({under} + "
                f"((({_sum_of(o)} - {128 * channels}) * {1 << network.head_shift} + "
                f"sums[{o}]) >> {network.out_shift}));"
            )
    return f"""\
static inline uint8_t pixel(int value)
{{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}}

static inline void head_block(const uint8_t *index, const uint8_t *pixels, ptrdiff_t plane,
                              uint8_t *out, ptrdiff_t out_stride)
{{
    const uint64_t every = UINT64_C(0x00FF00FF00FF00FF);
    int c, j, o, x;
    for (j = 0; j < BLOCK; j++) {{
        int32_t sums[{cells}];
{_look_up(channels, -(-cells // 8), "@head_tables@")}
        for (o = 0; o < {cells}; o++) {{
            sums[o] = @stem_bias@[{channels} + o];
        }}
{taps}
{chr(10).join(stores)}
    }}
}}"""
