"""Parametric ReLU of int8: one multiplication of 32 bits for each element.

A result is one of 256 and an element one of 256, so far fewer bits than those of the two rescales
do: ``((x - z) * m + b) >> s`` with a multiplier for each sign. The constants are searched for each
channel, and taken only where they give the very results of the two rescales for all 256 values.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Implementation
from intaglio.targets.c.kernels.portable.values import centered_values, rescaled
from intaglio.targets.c.kernels.x86.blocks import elementwise, isa_of, lanes_of
from intaglio.targets.c.kernels.x86.isa import Isa
from intaglio.targets.c.kernels.x86.tails import pack
from intaglio.targets.c.network import PRelu

#: Registers after which constants may repeat, at most: they are all stored.
_PERIODS = 16


def prelu(layer: PRelu, variant: str, budget: int) -> Implementation | None:
    """A PRelu of int8 with one slope or one a channel; None for others."""
    del budget
    x, slopes = layer.inputs
    if x.dtype != "int8" or layer.output.dtype != "int8" or slopes.data is None:
        return None
    channels = x.shape[-1]
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
    lanes = np.resize(constants.T, (period * isa.bits // 8, 4))
    table = lanes.reshape(-1, isa.lanes, 4).transpose(0, 2, 1).astype(np.int32)
    body = [f"{isa.type} v, {', '.join(f's{part}' for part in range(4))};"]
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
    at = [f"{isa.load.name}(table + {(4 * part + which) * isa.lanes})" for which in range(4)]
    lines = [f"v = {isa.op('sub_epi32', lanes_of(isa, 'a', part), isa.op('set1_epi32', str(zero)))};"]
    if isa.masks:
        sign = isa.op("movepi32_mask", "v")
        factor = isa.op("mask_mov_epi32", at[0], sign, at[1])
    else:
        sign = isa.op("srai_epi32", "v", "31")
        factor = isa.op("blendv_epi8", at[0], at[1], sign)
    summed = isa.op("add_epi32", isa.op("mullo_epi32", "v", factor), at[2])
    return [*lines, f"s{part} = {isa.op('srav_epi32', summed, at[3])};"]


def _constants(layer: PRelu, slopes: NDArray[np.int64]) -> NDArray[np.int64] | None:
    # Multiplier above and below zero, addend and shift of each slope: [4, slopes].
    values = centered_values(layer.inputs[0])
    above, below = values[values >= 0], values[values < 0]
    low = max(layer.positive.minimum, layer.negative.minimum)
    high = min(layer.positive.maximum, layer.negative.maximum)
    for scale in (layer.positive, layer.negative):
        if (scale.minimum, scale.maximum) != (low, high):
            return None
        if scale.zero_point != layer.positive.zero_point:
            return None
    zero, found = layer.positive.zero_point, []
    one = _real(layer.positive.multiplier, layer.positive.shift)
    step = _real(layer.negative.multiplier, layer.negative.shift)
    for slope in slopes.tolist():
        for shift in range(22, 7, -1):
            addend = (1 << (shift - 1)) + zero * (1 << shift)
            up = _multiplier(above, rescaled(layer.positive, above), one, addend, shift, low, high)
            wanted = rescaled(layer.negative, below * slope)
            down = _multiplier(below, wanted, step * slope, addend, shift, low, high)
            if up is not None and down is not None:
                found.append((up, down, addend, shift))
                break
        else:
            return None
    return np.array(found, np.int64).T


def _real(multiplier: NDArray[np.int64], shift: NDArray[np.int64]) -> float:
    return math.ldexp(float(multiplier.item()), -int(shift.item()))


def _multiplier(
    values: NDArray[np.int64],
    wanted: NDArray[np.int64],
    scale: float,
    addend: int,
    shift: int,
    low: int,
    high: int,
) -> int | None:
    # The multiplier that gives the wanted results of all values, the nearest to the scale.
    middle = round(math.ldexp(scale, shift))
    for multiplier in (middle, *(middle + d for e in range(1, 9) for d in (e, -e))):
        sums = values * multiplier + addend
        if not sums.size:
            return 0
        if np.abs(values * multiplier).max() >= 1 << 31 or np.abs(sums).max() >= 1 << 31:
            return None
        if np.array_equal(np.clip(sums >> shift, low, high), wanted):
            return multiplier
    return None
