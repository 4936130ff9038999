"""How depthwise convolutions are cut into units of sixteen elements."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.network import Convolution

#: Elements of a unit.
LANES = 16


@dataclasses.dataclass(frozen=True)
class Plan:
    """How rows are cut into units of sixteen elements.

    Attributes:
        blocks: Units along the channels.
        units: Units along a row.
        step: Elements from a unit of a row to the next, in the input.
        pitch: The same in the output.
        count: Elements of the last unit (along the channels or the row) that exist.
        flat: Units run along the row.
    """

    blocks: int
    units: int
    step: int
    pitch: int
    count: int
    flat: bool


def plan_of(layer: Convolution) -> Plan:
    """Units of a layer: along a row where a pixel has few channels, else along the channels."""
    window, channels = layer.window, layer.window.image[2]
    columns = window.result[1]
    if channels < LANES and LANES % channels == 0 and window.strides[1] == 1:
        elements = columns * channels
        units = -(-elements // LANES)
        return Plan(1, units, LANES, LANES, elements - (units - 1) * LANES, True)
    blocks = -(-channels // LANES)
    step = window.strides[1] * channels
    return Plan(blocks, columns, step, channels, channels - (blocks - 1) * LANES, False)


def channels_of_lanes(plan: Plan, channels: int) -> NDArray[np.int64]:
    """The channel of each lane of all blocks; lanes that do not exist repeat others."""
    return np.arange(plan.blocks * LANES) % channels


def head(layer: Convolution, pixels: int, plan: Plan) -> str:
    """Comment and signature of a tile, ``@`` being its name."""
    rows, columns = layer.window.kernel
    kind = "sixteens of a row" if plan.flat else "pixels of sixteen channels"
    return (
        f"/* {pixels} {kind} of a depthwise {rows}x{columns} convolution. */\n"
        "static void @(const uint8_t *const *rows, size_t at, const int8_t *w,\n"
        f"    const int32_t *tail, {layer.output.dtype}_t *y)\n{{"
    )
