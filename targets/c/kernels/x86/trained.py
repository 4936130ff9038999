"""Convolutions whose int16 weights training changes, for AVX2 and AVX-512 with VNNI.

Activations become 16-bit words less the zero point in a ring of rows, weights become pairs for each
filter, both in scratch memory; then tiles multiply as those of other layers of words do.
"""

from __future__ import annotations

import dataclasses

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.x86.isa import AVX2, VNNI, VNNI_HALF, Isa
from intaglio.targets.c.kernels.x86.tiles import Reach
from intaglio.targets.c.kernels.x86.trained_depthwise import depthwise
from intaglio.targets.c.kernels.x86.trained_ends import (
    INT32_LIMIT,
    End,
    bound_of,
    memory_end,
    narrow_end,
    products_of,
)
from intaglio.targets.c.kernels.x86.trained_operands import PACK, bias_of
from intaglio.targets.c.kernels.x86.trained_ring import ring_bytes, ring_of
from intaglio.targets.c.kernels.x86.trained_rows import few_pixels
from intaglio.targets.c.kernels.x86.trained_tiles import tile
from intaglio.targets.c.kernels.x86.trained_wide import wide_end
from intaglio.targets.c.network import TrainedConvolution, Window

#: Words of an image that are taken as one row where a window is one pixel.
_ROW_WORDS = 8192
#: Registers of channels of a tile, at most.
_VECTORS = {"avx2": 2, "vnni_half": 1, "vnni": 3}
#: Accumulators of a tile, at most.
_SUMS = {"avx2": 6, "vnni_half": 12, "vnni": 16}


def trained(layer: TrainedConvolution, variant: str) -> Implementation | None:
    """A convolution with trained weights; None for groups of several channels."""
    if layer.is_depthwise and layer.groups == layer.weights_shape[0]:
        return depthwise(layer, isa_for(layer, variant), end_of(layer, isa_for(layer, variant)))
    if layer.groups != 1:
        return None
    return few_pixels(layer, variant) or _dense(layer, variant)


def isa_for(layer: TrainedConvolution, variant: str) -> Isa:
    """The registers that the filters of a layer fill."""
    if variant == "avx2":
        return AVX2
    return VNNI_HALF if layer.weights_shape[0] <= VNNI_HALF.lanes else VNNI


def end_of(layer: TrainedConvolution, isa: Isa) -> End:
    """The fastest end that holds for a layer."""
    wide = bool((bound_of(layer) >= INT32_LIMIT).any())
    found = wide_end(layer, isa) if wide else narrow_end(layer, isa)
    return found or memory_end(layer, isa, wide)


def _dense(layer: TrainedConvolution, variant: str) -> Implementation:
    isa, window = isa_for(layer, variant), _flat(layer.window)
    end, count = end_of(layer, isa), layer.weights_shape[0]
    registers = -(-count // isa.lanes)
    ring = ring_of(layer, window)
    reach = _reach(window)
    runs = reach.rows * reach.runs
    at = ring_bytes(ring)
    packed_bytes = runs * reach.length * registers * isa.lanes * 4
    bias = bias_of(layer, registers * isa.lanes, end.wide, at + packed_bytes)
    body, functions = _tiles(layer, window, end, reach, registers, bias.pointer)
    run = window.image[2] * (window.kernel[1] if reach.runs == 1 else 1)
    lines = [
        f"int16_t *const w = (int16_t *)(void *)(scratch + {at});",
        *bias.statements,
        *([end.declaration] if end.declaration else []),
        f"{PACK.name}(x1, {count}, {registers * isa.lanes}, {runs}, {run}, w);",
        *ring.loop(body),
    ]
    return Implementation(
        "\n".join(lines),
        (PACK, *bias.functions, *ring.functions, *functions),
        (bias.array, *end.arrays),
        at + packed_bytes + bias.scratch,
    )


def _flat(window: Window) -> Window:
    # An image whose pixels are windows, as one row where that is short.
    rows, columns, channels = window.image
    pixel = window.kernel == (1, 1) and window.strides == (1, 1)
    same = window.result[:2] == (rows, columns) and not any(window.pads)
    if not (pixel and same and rows * columns * channels <= _ROW_WORDS):
        return window
    result = (1, rows * columns, window.result[2])
    return dataclasses.replace(window, image=(1, rows * columns, channels), result=result)


def _reach(window: Window) -> Reach:
    channels = window.image[2]
    solid = window.dilations[1] == 1
    run = channels * (window.kernel[1] if solid else 1)
    return Reach(
        words=True,
        direct=False,
        step=window.strides[1] * channels * 2,
        rows=window.kernel[0],
        runs=1 if solid else window.kernel[1],
        skip=window.dilations[1] * channels * 2,
        length=-(-run // 2),
    )


def _tiles(
    layer: TrainedConvolution, window: Window, end: End, reach: Reach, registers: int, bias: str
) -> tuple[list[str], tuple[Function, ...]]:
    # Statements for a row of results, block of channels by block.
    isa, count, pixels = end.isa, window.result[2], window.result[1]
    kind = layer.output.dtype
    blocks = -(-registers // _VECTORS[isa.name])
    lines = [f"{kind}_t *const to = y + row * {pixels * count};"]
    functions: list[Function] = []
    first = 0
    for index in range(blocks):
        vectors = registers // blocks + (index < registers % blocks)
        channels = min(vectors * isa.lanes, count - first * isa.lanes)
        most = _SUMS[isa.name] // vectors
        size = -(-pixels // -(-pixels // most))
        constants = (
            f"w + {first * isa.lanes * 2}, {bias} + {first * isa.lanes}, {end.argument(str(first))}"
        )
        whole, rest = pixels // size, pixels % size
        for part, times, begin in ((size, whole, 0), (rest, 1, whole * size)):
            if not part:
                continue
            sizes = (part, vectors, channels)
            pairs = products_of(layer) // 2
            function = tile(end, reach, sizes, (count, registers), kind, pairs)
            functions.append(function)
            p = f"(p * {part})" if times > 1 else str(begin)
            call = [
                f"{function.name}(rows, {p} * {reach.step}, {constants},",
                f"    to + {p} * {count} + {first * isa.lanes});",
            ]
            if times > 1:
                loop = f"for (size_t p = 0; p < {times}; p++) {{"
                call = [loop, *(f"    {line}" for line in call), "}"]
            lines += call
        first += vectors
    return lines, tuple(functions)
