"""Parametric ReLU of int8: one multiplication of 32 bits for each element.

A result is one of 256 and an element one of 256, so far fewer bits than those of the two rescales
do: ``((x - z) * m + b) >> s`` with ``m`` and ``b`` for each sign. The constants are searched for
each channel, and taken only where they give the very results of the two rescales for all 256
values.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Implementation
from intaglio.targets.c.kernels.portable.values import centered_values, rescaled
from intaglio.targets.c.kernels.x86.blocks import elementwise, isa_of, lanes_of
from intaglio.targets.c.kernels.x86.isa import Isa
from intaglio.targets.c.kernels.x86.stores import pack
from intaglio.targets.c.network import PRelu, Rescale

#: Registers after which constants may repeat, at most: they are all stored.
_PERIODS = 16
#: Constants of a lane: multiplier above and below zero, addend above and below zero, shift.
_ROWS = 5


def prelu(layer: PRelu, variant: str) -> Implementation | None:
    """A PRelu of int8 with one slope or one a channel; None for others."""
    x, slopes = layer.inputs
    if x.dtype != "int8" or layer.output.dtype != "int8" or slopes.data is None:
        return None
    channels = x.shape[-1] if x.shape else 1
    if x.shape != layer.output.shape or slopes.size not in (1, channels) or (
        slopes.size > 1 and slopes.shape[-1] != channels
    ):  # fmt: skip
        return None
    isa = isa_of(variant)
    period = math.lcm(slopes.size, isa.bits // 8) // (isa.bits // 8)
    if period > _PERIODS:
        return None
    constants = _constants(layer, slopes.data.reshape(-1).astype(np.int64))
    if constants is None:
        return None
    lanes = np.resize(constants.T, (period * isa.bits // 8, _ROWS))
    table = lanes.reshape(-1, isa.lanes, _ROWS).transpose(0, 2, 1).astype(np.int32)
    body = [
        f"{isa.type} v, {', '.join(f's{part}' for part in range(4))};",
        "__mmask16 below;" if isa.masks else f"{isa.type} below;",
    ]
    for part in range(4):
        body += _part(isa, x.zero_point, part)
    body.append(f"packed = {pack(isa).name}(s0, s1, s2, s3);")
    for limit, name, idle in ((layer.positive.minimum, "max", -128),
                              (layer.positive.maximum, "min", 127)):  # fmt: skip
        if limit != idle:
            bound = isa.op("set1_epi8", str(limit))
            body.append(f"packed = {isa.op(f'{name}_epi8', 'packed', bound)};")
    return elementwise(
        layer, isa, "prelu", body, Array("table", table), (isa.load, pack(isa)), period
    )


def _part(isa: Isa, zero: int, part: int) -> list[str]:
    rows = [f"{isa.load.name}(table + {(_ROWS * part + row) * isa.lanes})" for row in range(_ROWS)]
    lines = [
        f"v = {isa.op('sub_epi32', lanes_of(isa, 'a', part), isa.op('set1_epi32', str(zero)))};"
    ]
    if isa.masks:
        lines.append(f"below = {isa.op('movepi32_mask', 'v')};")
        choices = [isa.op("mask_mov_epi32", rows[i], "below", rows[i + 1]) for i in (0, 2)]
    else:
        lines.append(f"below = {isa.op('srai_epi32', 'v', '31')};")
        choices = [isa.op("blendv_epi8", rows[i], rows[i + 1], "below") for i in (0, 2)]
    summed = isa.op("add_epi32", isa.op("mullo_epi32", "v", choices[0]), choices[1])
    return [*lines, f"s{part} = {isa.op('srav_epi32', summed, rows[4])};"]


def _constants(layer: PRelu, slopes: NDArray[np.int64]) -> NDArray[np.int64] | None:
    # Multipliers and addends above and below zero, and the shift, of each slope: [5, slopes].
    values = centered_values(layer.inputs[0])
    above, below = values[values >= 0], values[values < 0]
    one, two = layer.positive, layer.negative
    if (one.minimum, one.maximum) != (two.minimum, two.maximum):
        return None
    wanted = rescaled(one, above)
    found = []
    for slope in slopes.tolist():
        wanted_below = rescaled(two, below * slope)
        for shift in range(22, 7, -1):
            up = _formula(above, wanted, one, 1, shift)
            down = _formula(below, wanted_below, two, slope, shift)
            if up is not None and down is not None:
                found.append((up[0], down[0], up[1], down[1], shift))
                break
        else:
            return None
    return np.ascontiguousarray(np.array(found, np.int64).T)


def _formula(
    values: NDArray[np.int64], wanted: NDArray[np.int64], rescale: Rescale, slope: int, shift: int
) -> tuple[int, int] | None:
    # Multiplier and addend that give the wanted results of all values. Two roundings move the
    # borders between results by half a step of the first one, away from zero.
    if not values.size:
        return 0, 0
    scale = slope * math.ldexp(float(rescale.multiplier.item()), -int(rescale.shift.item()))
    middle = round(math.ldexp(scale, shift))
    half = (1 << (shift - 1)) + rescale.zero_point * (1 << shift)
    moved = round(math.ldexp(1.0, shift + 30 - int(rescale.shift.item())))
    for multiplier in (middle, *(middle + d for e in range(1, 5) for d in (e, -e))):
        if np.abs(values * multiplier).max() >= 1 << 31:
            return None
        for addend in (half, half - moved, half + moved):
            sums = values * multiplier + addend
            if np.abs(sums).max() >= 1 << 31:
                return None
            if np.array_equal(np.clip(sums >> shift, rescale.minimum, rescale.maximum), wanted):
                return multiplier, addend
    return None
