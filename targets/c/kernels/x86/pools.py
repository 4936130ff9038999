"""Pools and reductions of int8 over the channels of a register.

The average of ``n`` values, ties away from zero, is ``(|sum| * m + b) >> s`` with the sign of the
sum; the constants are searched for, and proved by trying every sum. Sums of other axes are rescaled
as accumulators are. Both take a register of channels at a time, all windows being whole.
"""

from __future__ import annotations

import math

import numpy as np

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.x86.blocks import isa_of
from intaglio.targets.c.kernels.x86.isa import Isa
from intaglio.targets.c.kernels.x86.lanes import put, take
from intaglio.targets.c.kernels.x86.tails import make_tail
from intaglio.targets.c.kernels.x86.tiles import named
from intaglio.targets.c.network import Pool, Reduction, Window


def pool(layer: Pool, variant: str) -> Implementation | None:
    """A pool of int8; None for averages of windows that are not all whole."""
    if layer.inputs[0].dtype != "int8":
        return None
    isa, window = isa_of(variant), layer.window
    if not layer.average:
        return Implementation(*_windows(isa, window, *_largest(isa)))
    divisor = _divisor(math.prod(window.kernel))
    if divisor is None or not _whole(window):
        return None
    return Implementation(*_windows(isa, window, *_average(isa, *divisor)))


def reduction(layer: Reduction, variant: str) -> Implementation | None:
    """A sum over axes that are neighbours and not the last, int8 to int8; None for others."""
    x, y = layer.inputs[0], layer.output
    if x.dtype != "int8" or y.dtype != "int8" or layer.rescale is None or layer.kind != "sum":
        return None
    axes = [axis for axis in layer.axes if x.shape[axis] > 1]
    if not axes or axes != list(range(axes[0], axes[-1] + 1)):
        return None
    outer, inner = math.prod(x.shape[: axes[0]]), math.prod(x.shape[axes[-1] + 1 :])
    count = math.prod(x.shape[axes[0] : axes[-1] + 1])
    isa = isa_of(variant)
    if inner < 4:
        return None
    bias = np.full(isa.lanes, layer.offset, np.int64)
    tail = make_tail(isa, layer.rescale, bias, np.abs(bias) + 128 * count)
    if tail is None:
        return None
    limits = [
        f"        acc = {isa.op(f'{name}_epi32', 'acc', isa.op('set1_epi32', str(limit)))};"
        for name, limit in (("max", tail.minimum), ("min", tail.maximum))
    ]
    head = (
        f"/* Sums of {count} neighbours, rescaled. */\n"
        "static void @(const int8_t *x, const int32_t *tail, int8_t *y)\n{"
    )
    lines = [
        f"    for (size_t c = 0; c < {inner}; c += {isa.lanes}) {{",
        f"        const size_t count = {inner} - c < {isa.lanes} ? {inner} - c : {isa.lanes};",
        f"        {isa.type} acc = {isa.load.name}(tail);",
        f"        for (size_t i = 0; i < {count}; i++) {{",
        f"            const {isa.type} v = {take(isa).name}(x + i * {inner} + c, count);",
        f"            acc = {isa.op('add_epi32', 'acc', 'v')};",
        "        }",
        *(f"        {line}" for line in tail.constants(0, "tail")),
        f"        {tail.apply('acc', 0)}",
        *limits,
        f"        {put(isa).name}(y + c, acc, count);",
        "    }",
        "}",
    ]
    needs = (isa.load, tail.rescale, take(isa), put(isa))
    function = named(f"{isa.name}_mean", lines, needs, head)
    call = f"{function.name}(x0 + i * {count * inner}, @tail@, y + i * {inner});"
    if outer > 1:
        call = f"for (size_t i = 0; i < {outer}; i++) {{\n    {call}\n}}"
    else:
        call = call.replace(" + i * " + str(count * inner), "").replace(f" + i * {inner}", "")
    return Implementation(call, (function,), (Array("tail", tail.parameters),))


def _whole(window: Window) -> bool:
    # Whether no window reaches into the border.
    reached = [
        (count - 1) * stride + (kernel - 1) * dilation + 1
        for count, stride, kernel, dilation in zip(
            window.result, window.strides, window.kernel, window.dilations, strict=False
        )
    ]
    inside = all(r <= size for r, size in zip(reached, window.image, strict=False))
    return not any(window.pads) and inside


def _divisor(count: int) -> tuple[int, int, int] | None:
    # m, b, s with (v*m + b) >> s the rounded v / count for every sum of `count` bytes.
    values = np.arange(128 * count + 1, dtype=np.int64)
    wanted = (2 * values + count) // (2 * count)
    for shift in range(8, 31):
        multiplier = -(-(1 << shift) // count)
        half = 1 << (shift - 1)
        results = values * multiplier + half
        if results[-1] >= 1 << 32:
            return None
        if np.array_equal(results >> shift, wanted):
            return multiplier, half, shift
    return None


def _largest(isa: Isa) -> tuple[str, str, str, list[str]]:
    return "max_pool", "-128", "max_epi32", []


def _average(isa: Isa, multiplier: int, half: int, shift: int) -> tuple[str, str, str, list[str]]:
    factor, addend = (isa.op("set1_epi32", str(value)) for value in (multiplier, half))
    product = isa.op("mullo_epi32", isa.op("abs_epi32", "acc"), factor)
    return "average_pool", "0", "add_epi32", [
        f"const {isa.type} sign = {isa.op('srai_epi32', 'acc', '31')};",
        f"acc = {isa.op('srli_epi32', isa.op('add_epi32', product, addend), str(shift))};",
        f"acc = {isa.op('sub_epi32', isa.op(f'xor_si{isa.bits}', 'acc', 'sign'), 'sign')};",
    ]  # fmt: skip


def _windows(
    isa: Isa, window: Window, name: str, start: str, join: str, finish: list[str]
) -> tuple[str, tuple[Function, ...]]:
    (height, width, channels), (rows, columns, _) = window.image, window.result
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.strides, window.dilations
    top, left = window.pads
    inside = _whole(window)

    def skip(value: str, size: int, pad: int) -> list[str]:
        if inside:
            return []
        low = f"{value} < {pad} || " if pad else ""
        return [f"if ({low}{value} >= {pad + size}) {{", "    continue;", "}"]

    def less(pad: int) -> str:
        return f" - {pad}" if pad else ""

    head = f"/* {name.replace('_', ' ').capitalize()} of {kh}x{kw}. */\n"
    head += "static void @(const int8_t *x, int8_t *y)\n{"
    taps = [
        f"for (size_t r = 0; r < {kh}; r++) {{",
        f"    const size_t at_row = row * {sh} + r * {dh};",
        *(f"    {line}" for line in skip("at_row", height, top)),
        f"    for (size_t s = 0; s < {kw}; s++) {{",
        f"        const size_t at = column * {sw} + s * {dw};",
        *(f"        {line}" for line in skip("at", width, left)),
        f"        const size_t pixel = (at_row{less(top)}) * {width} + at{less(left)};",
        f"        v = {take(isa).name}(x + pixel * {channels} + c, count);",
        f"        acc = {isa.op(join, 'acc', 'v')};",
        "    }",
        "}",
    ]
    block = [
        f"for (size_t c = 0; c < {channels}; c += {isa.lanes}) {{",
        f"    const size_t count = {channels} - c < {isa.lanes} ? {channels} - c : {isa.lanes};",
        f"    {isa.type} v, acc = {isa.op('set1_epi32', start)};",
        *(f"    {line}" for line in [*taps, *finish]),
        f"    {put(isa).name}(y + c, acc, count);",
        "}",
    ]
    lines = [
        f"    for (size_t row = 0; row < {rows}; row++) {{",
        f"        for (size_t column = 0; column < {columns}; column++, y += {channels}) {{",
        *(f"            {line}" for line in block),
        "        }",
        "    }",
        "}",
    ]
    function = named(f"{isa.name}_{name}", lines, (take(isa), put(isa)), head)
    return f"{function.name}(x0, y);", (function,)
