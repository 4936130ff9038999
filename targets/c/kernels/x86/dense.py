"""Dense convolutions and fully connected layers: tiles of registers over rows or all pixels.

A 1x1 convolution without stride is one matrix product over all pixels, read where they lie. All
others read rows of a ring, see :mod:`intaglio.targets.c.kernels.x86.rows`. Weights are packed
``[block of channels][row][run][word][register][lane][inputs of a word]``, in the order of use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.x86.isa import AVX2, VNNI, VNNI_HALF, Isa
from intaglio.targets.c.kernels.x86.rows import Ring
from intaglio.targets.c.kernels.x86.tails import Tail, make_tail
from intaglio.targets.c.kernels.x86.tiles import Reach, tile
from intaglio.targets.c.network import Convolution

#: Registers of channels of a tile, at most.
_VECTORS = 2


@dataclasses.dataclass(frozen=True)
class Block:
    """Channels that one tile computes: first register, registers, channels that exist."""

    first: int
    vectors: int
    channels: int


def dense(layer: Convolution, variant: str) -> Implementation | None:
    """A convolution of all input channels, of int8 or int16; None where this is not one."""
    if layer.groups != 1 or not is_plain(layer):
        return None
    window, count = layer.window, len(layer.weights)
    direct = window.kernel == (1, 1) and not any(window.pads) and window.image[2] % 4 == 0
    if not direct or reads_words(layer, variant):
        kind = f"{layer.output.dtype}_t"
        to = f"{kind} *const to = y + row * {window.result[1] * count};"
        return dense_rows(layer, variant, lambda _: ([to], []), 0)
    isa, reach = _isa(layer, variant), _reach(layer, False, True)
    tail = make_tail(isa, layer.rescale, *bounds(layer, False), layer.output.dtype)
    if tail is None:
        return None
    rows, columns, _ = window.result
    if window.strides == (1, 1):
        rows, columns = 1, rows * columns
    packed, blocks = _pack(layer, isa, reach)
    body, functions = _tiles(tail, reach, blocks, columns, count)
    if rows > 1:
        pitch = window.image[1] * window.image[2] * window.strides[0]
        body = [
            f"for (size_t row = 0; row < {rows}; row++) {{",
            f"    const int8_t *const x = x0 + row * {pitch};",
            f"    {layer.output.dtype}_t *const to = y + row * {columns * count};",
            *_indented(body),
            "}",
        ]
    else:
        to = f"{layer.output.dtype}_t *const to = y;"
        body = ["const int8_t *const x = x0;", to, *body]
    arrays = (Array("weights", packed), Array("tail", tail.parameters))
    return Implementation("\n".join(body), functions, arrays)


def dense_rows(
    layer: Convolution,
    variant: str,
    around: Callable[[int], tuple[list[str], list[str]]],
    more: int,
) -> Implementation | None:
    """A convolution row by row, from a ring of rows.

    Args:
        layer: The layer.
        variant: Processor.
        around: Statements before and behind those of a ``row``; the former declare ``to``, where
            its results go. The argument is the first free byte of the scratch memory.
        more: Bytes of scratch memory that they use.
    """
    isa, words = _isa(layer, variant), reads_words(layer, variant)
    tail = make_tail(isa, layer.rescale, *bounds(layer, words), layer.output.dtype)
    if tail is None:
        return None
    reach = _reach(layer, words, False)
    packed, blocks = _pack(layer, isa, reach)
    columns = layer.window.result[1]
    body, functions = _tiles(tail, reach, blocks, columns, len(layer.weights))
    ring = ring_of(layer, words)
    before, behind = around(ring.bytes)
    body = ring.loop([*before, *body, *behind])
    arrays = (Array("weights", packed), Array("tail", tail.parameters))
    return Implementation("\n".join(body), (*ring.functions, *functions), arrays, ring.bytes + more)


def is_plain(layer: Convolution) -> bool:
    """Whether sums fit 32 bits, weights have no zero point, and types are int8 or int16."""
    types = {layer.inputs[0].dtype, layer.output.dtype}
    return not layer.weight_zero_point and not layer.wide and types <= {"int8", "int16"}


def reads_words(layer: Convolution, variant: str) -> bool:
    """Whether inputs are multiplied as 16-bit words: those of int16, and all on AVX2."""
    return variant == "avx2" or layer.inputs[0].dtype == "int16"


def ring_of(layer: Convolution, words: bool) -> Ring:
    """The ring of a convolution's rows."""
    zero = layer.inputs[0].zero_point
    wide = layer.inputs[0].dtype == "int16"
    return Ring(layer.window, words, wide, zero if words else zero + 128)


def _isa(layer: Convolution, variant: str) -> Isa:
    if variant == "avx2":
        return AVX2
    return VNNI_HALF if len(layer.weights) <= VNNI_HALF.lanes else VNNI


def bounds(layer: Convolution, words: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bias for inputs of ``x`` (words) or ``x + 128``, and the accumulators' largest magnitude."""
    zero = layer.inputs[0].zero_point
    flat = layer.weights.reshape(len(layer.weights), -1).astype(np.int64)
    offset = zero if words else zero + 128
    limits = np.iinfo(layer.inputs[0].dtype)
    largest = max(int(limits.max) - zero, zero - int(limits.min))
    bound = np.abs(flat).sum(axis=1) * largest + np.abs(layer.bias)
    return layer.bias - offset * flat.sum(axis=1), bound


def _reach(layer: Convolution, words: bool, direct: bool) -> Reach:
    window = layer.window
    size = 2 if words else 1
    channels = window.image[2]
    solid = window.dilations[1] == 1
    run = channels * (window.kernel[1] if solid else 1)
    return Reach(
        words=words,
        direct=direct,
        step=window.strides[1] * channels * size,
        rows=window.kernel[0],
        runs=1 if solid else window.kernel[1],
        skip=window.dilations[1] * channels * size,
        length=-(-run * size // 4),
    )


def _pack(layer: Convolution, isa: Isa, reach: Reach) -> tuple[NDArray[np.int8], list[Block]]:
    inputs = 2 if reach.words else 4
    count, kh = len(layer.weights), layer.window.kernel[0]
    runs = layer.weights.reshape(count, kh, reach.runs, -1)
    registers = -(-count // isa.lanes)
    missing = registers * isa.lanes - count, reach.length * inputs - runs.shape[3]
    padding = ((0, missing[0]), (0, 0), (0, 0), (0, missing[1]))
    padded = np.pad(runs, padding).reshape(
        registers, isa.lanes, kh * reach.runs * reach.length, inputs
    )
    words = padded.transpose(2, 0, 1, 3)
    number = -(-registers // _VECTORS)
    blocks, parts, first = [], [], 0
    for index in range(number):
        vectors = registers // number + (index < registers % number)
        channels = min(vectors * isa.lanes, count - first * isa.lanes)
        blocks.append(Block(first, vectors, channels))
        parts.append(words[:, first : first + vectors].reshape(-1))
        first += vectors
    return np.concatenate(parts), blocks


def _tiles(
    tail: Tail, reach: Reach, blocks: list[Block], pixels: int, count: int
) -> tuple[list[str], tuple[Function, ...]]:
    # Statements for `pixels` pixels from `x` or `rows` to `to`, for all channels.
    lanes, step = tail.isa.lanes, reach.rows * reach.runs * reach.length
    per_register = step * lanes * (2 if reach.words else 4)
    lines: list[str] = []
    functions: list[Function] = []
    at = 0
    while at < len(blocks):
        block = blocks[at]
        alike = [
            b for b in blocks[at:] if (b.vectors, b.channels) == (block.vectors, block.channels)
        ]
        size = _pixels(tail.isa, reach, block.vectors, pixels)
        full = tile(tail, reach, size, block.vectors, block.channels, count)
        functions.append(full)
        index = f"({block.first} + b * {block.vectors})" if len(alike) > 1 else str(block.first)
        constants = f"@weights@ + {index} * {per_register}, @tail@ + {index} * {4 * lanes}"
        target = f"to + {index} * {lanes}"
        inner = _pixel_loop(full.name, reach, pixels // size, size, constants, target, count)
        rest = pixels % size
        if rest:
            last = tile(tail, reach, rest, block.vectors, block.channels, count)
            functions.append(last)
            done = pixels - rest
            source = _source(reach, str(done * reach.step))
            inner.append(f"{last.name}({source}, {constants},\n    {target} + {done * count});")
        if len(alike) > 1:
            inner = [f"for (size_t b = 0; b < {len(alike)}; b++) {{", *_indented(inner), "}"]
        lines += inner
        at += len(alike)
    return lines, tuple(functions)


def _pixel_loop(
    name: str, reach: Reach, times: int, size: int, constants: str, target: str, count: int
) -> list[str]:
    if times == 1:
        return [f"{name}({_source(reach, '0')}, {constants},", f"    {target});"]
    source = _source(reach, f"p * {size * reach.step}")
    return [
        f"for (size_t p = 0; p < {times}; p++) {{",
        f"    {name}({source}, {constants},",
        f"        {target} + p * {size * count});",
        "}",
    ]


def _source(reach: Reach, at: str) -> str:
    return f"x + {at}" if reach.direct else f"rows, {at}"


def _pixels(isa: Isa, reach: Reach, vectors: int, pixels: int) -> int:
    # Accumulators take at most half of the registers: gcc keeps two of some. Tiles of about one
    # size have no small rest.
    if isa is AVX2:
        most = {1: 4, 2: 3}[vectors]
    else:
        most = (12 if reach.direct else 16) // vectors
    return -(-pixels // -(-pixels // most))


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in "\n".join(lines).split("\n")]
