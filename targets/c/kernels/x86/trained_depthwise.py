"""Depthwise convolutions with trained weights: registers of channels times pairs of taps.

A ring of pairs (:mod:`.trained_ring`) holds each value beside that of the next tap in the row, and
weights are packed ``[row][pair of taps][channel][2]``: a load and a multiplication take two taps of
all channels of a register.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.x86.isa import Isa
from intaglio.targets.c.kernels.x86.tiles import named
from intaglio.targets.c.kernels.x86.trained_ends import End, products_of
from intaglio.targets.c.kernels.x86.trained_operands import PACK, bias_of
from intaglio.targets.c.kernels.x86.trained_ring import ring_bytes, ring_of
from intaglio.targets.c.kernels.x86.trained_tiles import MOVE, moved, multiplied, start
from intaglio.targets.c.network import TrainedConvolution

#: Pixels of a tile.
_PIXELS = 4
#: Pairs of taps whose multiplications are written one by one.
_WRITTEN = 16


def depthwise(layer: TrainedConvolution, isa: Isa, end: End) -> Implementation | None:
    """A convolution of each channel with a filter of its own; None for very large kernels."""
    window, channels = layer.window, layer.weights_shape[0]
    (height, width), pixels = window.kernel, window.result[1]
    pairs, registers = -(-width // 2), -(-channels // isa.lanes)
    if 2 * pairs * height > products_of(layer):
        return None
    ring = ring_of(layer, window, pairs=True)
    at = ring_bytes(ring)
    packed = height * pairs * registers * isa.lanes * 4
    bias = bias_of(layer, registers * isa.lanes, end.wide, at + packed)
    size = -(-pixels // -(-pixels // _PIXELS))
    lines = [f"{layer.output.dtype}_t *const to = y + row * {pixels * channels};"]
    functions: list[Function] = []
    last = channels - (registers - 1) * isa.lanes
    groups = [(0, registers - 1, isa.lanes)] if registers > 1 else []
    for first, blocks, count in [*groups, (registers - 1, 1, last)]:
        b = "b" if blocks > 1 else str(first)
        inner = []
        whole, rest = pixels // size, pixels % size
        for part, times, begin in ((size, whole, 0), (rest, 1, whole * size)):
            if not part:
                continue
            function = _tile(layer, end, part, count, registers)
            functions.append(function)
            p = f"(p * {part})" if times > 1 else str(begin)
            step = window.strides[1] * channels * 4
            call = [
                f"{function.name}(rows, {p} * {step} + {b} * {isa.lanes * 4},",
                f"    w + {b} * {isa.lanes * 2}, {bias.pointer} + {b} * {isa.lanes},",
                f"    {end.argument(b)}, to + {p} * {channels} + {b} * {isa.lanes});",
            ]
            if times > 1:
                loop = f"for (size_t p = 0; p < {times}; p++) {{"
                call = [loop, *(f"    {line}" for line in call), "}"]
            inner += call
        if blocks > 1:
            loop = f"for (size_t b = 0; b < {blocks}; b++) {{"
            inner = [loop, *(f"    {line}" for line in inner), "}"]
        lines += inner
    body = [
        f"int16_t *const w = (int16_t *)(void *)(scratch + {at});",
        *bias.statements,
        *([end.declaration] if end.declaration else []),
        f"{PACK.name}(x1, {channels}, {registers * isa.lanes}, {height}, {width}, w);",
        *ring.loop(lines),
    ]
    return Implementation(
        "\n".join(body),
        (PACK, *bias.functions, *ring.functions, *functions),
        (bias.array, *end.arrays),
        at + packed + bias.scratch,
    )


def _tile(
    layer: TrainedConvolution, end: End, pixels: int, channels: int, registers: int
) -> Function:
    isa, window = end.isa, layer.window
    height, width = window.kernel
    pairs, image = -(-width // 2), window.image[2]
    step = window.strides[1] * image * 4
    skip = 2 * window.dilations[1] * image * 4
    names = [[f"a{p}_0"] for p in range(pixels)]
    head = (
        f"/* {pixels} pixels, {channels} channels of a depthwise {height}x{width} convolution. */\n"
        "static void @(const uint8_t *const *rows, size_t at, const int16_t *w,\n"
        f"    const {'int64_t' if end.wide else 'int32_t'} *bias, {end.parameter},\n"
        f"    {layer.output.dtype}_t *y)\n{{"
    )

    def taps(row: str, pair: str, weights: str) -> list[str]:
        found = [f"w0 = {isa.load.name}({weights});"]
        for p, (name,) in enumerate(names):
            source = f"{isa.load.name}(rows[{row}] + at + {pair} + {p * step})"
            found.append(multiplied(isa, name, source, "w0"))
        return found

    width_of = registers * isa.lanes * 2
    lines = [*start(end, names), f"{isa.type} w0;"]
    if height * pairs <= _WRITTEN:
        for r in range(height):
            for t in range(pairs):
                lines += taps(str(r), str(t * skip), f"w + {(r * pairs + t) * width_of}")
    else:
        lines += [
            f"for (size_t r = 0; r < {height}; r++) {{",
            f"    for (size_t t = 0; t < {pairs}; t++) {{",
            *(f"        {line}" for line in taps("r", f"t * {skip}", "w")),
            f"        w += {width_of};",
            "    }",
            "}",
        ]
    if end.wide:
        lines += moved(isa, names)
    lines += end.finish(names, channels, image)
    needs = (MOVE[isa.name], isa.load, *end.functions)
    text = [*(f"    {line}" for line in lines), "}"]
    return named(f"{isa.name}_trained_depthwise_{pixels}x{channels}", text, needs, head)
