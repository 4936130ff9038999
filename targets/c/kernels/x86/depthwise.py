"""Depthwise convolutions: sixteen channels, or sixteen elements of a row, at a time.

Where a pixel has fewer than sixteen channels and the stride is 1, lanes run on into the next
pixels: the constants repeat with the channels.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.x86.dense import bounds, is_plain, reads_words, ring_of
from intaglio.targets.c.kernels.x86.depthwise_bytes import byte_tile, byte_weights
from intaglio.targets.c.kernels.x86.depthwise_words import WORD_ORDER, word_tile, word_weights
from intaglio.targets.c.kernels.x86.isa import AVX2, VNNI
from intaglio.targets.c.kernels.x86.plans import LANES, Plan, channels_of_lanes, plan_of
from intaglio.targets.c.kernels.x86.tails import Tail, make_tail
from intaglio.targets.c.network import Convolution

#: Units of a tile, at most.
_PIXELS = {"vnni": 8, "avx2": 4}


def depthwise(layer: Convolution, variant: str) -> Implementation | None:
    """A depthwise convolution of one output channel an input channel, or None."""
    window, channels = layer.window, layer.window.image[2]
    if not layer.is_depthwise or layer.groups != channels or len(layer.weights) != channels:
        return None
    if not is_plain(layer):
        return None
    plan = plan_of(layer)
    words = reads_words(layer, variant)
    tail = _tail(layer, plan, words)
    if tail is None:
        return None
    ring = ring_of(layer, words)
    weights = word_weights(layer, plan) if words else byte_weights(layer, plan)
    lines, functions = _calls(layer, tail, plan, words, weights.shape[1])
    to = f"{layer.output.dtype}_t *const to = y + row * {window.result[1] * channels};"
    arrays = (Array("weights", weights), Array("tail", tail.parameters))
    body = "\n".join(ring.loop([to, *lines]))
    return Implementation(body, (*ring.functions, *functions), arrays, ring.bytes)


def _tail(layer: Convolution, plan: Plan, words: bool) -> Tail | None:
    channels = layer.window.image[2]
    lanes = channels_of_lanes(plan, channels)
    if words:
        lanes = lanes.reshape(-1, LANES)[:, WORD_ORDER].reshape(-1)
    bias, bound = bounds(layer, words)
    scales = dataclasses.replace(
        layer.rescale,
        multiplier=np.broadcast_to(layer.rescale.multiplier, channels)[lanes],
        shift=np.broadcast_to(layer.rescale.shift, channels)[lanes],
    )
    isa = AVX2 if words else VNNI
    return make_tail(isa, scales, bias[lanes], bound[lanes], layer.output.dtype)


def _calls(
    layer: Convolution, tail: Tail, plan: Plan, words: bool, per_block: int
) -> tuple[list[str], tuple[Function, ...]]:
    # One row: whole blocks of channels in a loop, then the last one where it is not whole.
    write = word_tile if words else byte_tile
    size = 2 if words else 1
    functions: list[Function] = []

    def row(block: str, count: int) -> list[str]:
        whole = plan.units - (plan.flat and plan.count < LANES)
        most = _PIXELS["avx2" if words else "vnni"]
        pixels = -(-whole // -(-whole // most)) if whole else 0
        constants = f"@weights@ + {block} * {per_block}, @tail@ + {block} * {4 * LANES}"
        lines: list[str] = []

        def call(number: int, at: str, to: str, last: int) -> str:
            function = write(layer, tail, plan, number, last)
            functions.append(function)
            here = f"{at} + {block} * {LANES * size}"
            return f"{function.name}(rows, {here}, {constants}, to + {to} + {block} * {LANES});"

        if whole:
            step = pixels * plan.step * size
            lines += [
                f"for (size_t p = 0; p < {whole // pixels}; p++) {{",
                f"    {call(pixels, f'p * {step}', f'p * {pixels * plan.pitch}', count)}",
                "}",
            ]
        if whole and whole % pixels:
            done = whole - whole % pixels
            lines.append(call(whole % pixels, str(done * plan.step * size), str(done * plan.pitch),
                              count))  # fmt: skip
        if whole < plan.units:
            at = whole * plan.step
            lines.append(call(1, str(at * size), str(at), plan.count))
        return lines

    if plan.flat:
        return row("0", LANES), tuple(functions)
    whole, lines = plan.blocks - (plan.count < LANES), []
    if whole:
        lines += [f"for (size_t b = 0; b < {whole}; b++) {{"]
        lines += [f"    {line}" for line in row("b", LANES)] + ["}"]
    if whole < plan.blocks:
        lines += row(str(whole), plan.count)
    return lines, tuple(functions)
