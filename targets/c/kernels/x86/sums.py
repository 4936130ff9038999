"""Sums and differences of two tensors of one shape.

An operand is ``f(v) = (v * 2^n * m + 2^30) >> 31`` and a rounding shift. With ``m = high * 2^(31-n)
+ low`` the first part is ``v*high + ((v*low + 2^(30-n)) >> (31-n))``, which fits 32 bits: a
multiplication of 32 bits and one of 16. That the operand's formula holds is proved by trying its
256 values; the sum is rescaled as accumulators are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Implementation
from intaglio.targets.c.kernels.portable.values import centered_values, integer_factor, rescaled
from intaglio.targets.c.kernels.x86.blocks import elementwise, isa_of, lanes_of
from intaglio.targets.c.kernels.x86.isa import Isa
from intaglio.targets.c.kernels.x86.stores import pack, tail_functions
from intaglio.targets.c.kernels.x86.tails import make_tail
from intaglio.targets.c.network import Rescale, Sum, Tensor
from intaglio.transforms.fixed_point import Rounding


def sum_of(layer: Sum, variant: str) -> Implementation | None:
    """A sum of two int8 activations without broadcasting; None for others."""
    tensors = (*layer.inputs, layer.output)
    if any(t.dtype != "int8" or t.data is not None for t in tensors):
        return None
    if any(t.shape != layer.output.shape for t in layer.inputs):
        return None
    isa = isa_of(variant)
    scales = (layer.first, layer.second)
    terms = [_term(isa, x, scale, layer.left_shift) for x, scale in zip(layer.inputs, scales,
                                                                        strict=True)]  # fmt: skip
    if terms[0] is None or terms[1] is None:
        return None
    bound = np.full(isa.lanes, terms[0][1] + terms[1][1])
    tail = make_tail(isa, layer.rescale, np.zeros(isa.lanes, np.int64), bound)
    if tail is None:
        return None
    body = [f"{isa.type} v, w, {', '.join(f's{part}' for part in range(4))};"]
    body += tail.constants(0, "table")
    for part in range(4):
        for pointer, name, x, term in zip("ab", "vw", layer.inputs, terms, strict=True):
            assert term is not None
            zero = isa.op("set1_epi32", str(x.zero_point))
            body.append(f"{name} = {isa.op('sub_epi32', lanes_of(isa, pointer, part), zero)};")
            body += [line.replace("@", name) for line in term[0]]
        both = isa.op("add_epi32" if layer.sign > 0 else "sub_epi32", "v", "w")
        body += [f"s{part} = {both};", tail.apply(f"s{part}", 0)]
    body += [f"packed = {pack(isa).name}(s0, s1, s2, s3);", *tail.clamp("packed")]
    return elementwise(
        layer, isa, "sum" if layer.sign > 0 else "difference", body,
        Array("tail", tail.parameters), tail_functions(tail),
    )  # fmt: skip


def _term(isa: Isa, x: Tensor, rescale: Rescale, up: int) -> tuple[list[str], int] | None:
    # Statements that make f of the lanes of `@`, and the largest magnitude of their result.
    values = centered_values(x)
    wanted = rescaled(rescale, values << up)
    largest = int(np.abs(wanted).max())
    factor = integer_factor(rescale, values, up)
    if np.array_equal(wanted, values * (factor or 0)):
        return [f"@ = {isa.op('mullo_epi32', '@', isa.op('set1_epi32', str(factor)))};"], largest
    multiplier, shift = int(rescale.multiplier.item()), int(rescale.shift.item())
    exponent, down = shift - 31, 31 - up
    double = rescale.rounding is Rounding.DOUBLE
    if exponent < 0 or not 0 < down <= 15 or not (double or rescale.rounding is Rounding.SINGLE):
        return None
    high, low = divmod(multiplier, 1 << down)
    first = 1 << (down - 1) if double or not exponent else 0
    second = 1 << (exponent - 1) if exponent else 0
    if not np.array_equal(
        wanted, _formula(values, high, low, down, first, second, exponent, double)
    ):
        return None

    def constant(value: int) -> str:
        return isa.op("set1_epi32", str(value))

    rest = isa.op("madd_epi16", "@", constant(low))
    rest = isa.op("srai_epi32", isa.op("add_epi32", rest, constant(first)), str(down))
    lines = [f"@ = {isa.op('add_epi32', isa.op('mullo_epi32', '@', constant(high)), rest)};"]
    if exponent:
        if double:
            sign = isa.op("srai_epi32", "@", "31")
            lines.append(f"@ = {isa.op('add_epi32', '@', sign)};")
        summed = isa.op("add_epi32", "@", constant(second))
        lines.append(f"@ = {isa.op('srai_epi32', summed, str(exponent))};")
    return lines, largest


def _formula(
    values: NDArray[np.int64],
    high: int,
    low: int,
    down: int,
    first: int,
    second: int,
    exponent: int,
    double: bool,
) -> NDArray[np.int64]:
    # What the statements compute, wrapping as lanes of 32 bits do.
    v = values * high + ((values * low + first) >> down)
    if exponent:
        v = v + (v < 0) * (-1 if double else 0) + second
    if np.abs(v).max() >= 1 << 31:
        return np.full_like(v, 1 << 40)
    return v >> exponent
