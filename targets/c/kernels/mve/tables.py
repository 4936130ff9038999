"""Tables of int8 tensors: sixteen results with one gathering load."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.mve.assembly import assembly
from intaglio.targets.c.kernels.portable.values import centered_values, rescaled
from intaglio.targets.c.network import Requantization, Table

#: Elements from which on a table of 256 bytes is better than arithmetic.
_WORTH = 512
#: Tables whose entries 16 bits can count.
_MOST_TABLES = 256

_LOOK_UP = assembly(
    [
        "wlstp.8 lr, %3, 2f",
        "1:",
        "vldrb.u8 q0, [%0], #16",
        "vldrb.u8 q1, [%2, q0]",
        "vstrb.8 q1, [%1], #16",
        "letp lr, 1b",
        "2:",
    ],
    ': "+r"(x), "+r"(y) : "r"(table), "r"(size) : "lr", "d0", "d1", "d2", "d3", "memory"',
)

LOOK_UP = Function(
    "mve_look_up",
    f"""\
/* The table begins with the entry of 0; those of negative numbers are behind 127's. */
static void mve_look_up(const int8_t *table, const int8_t *x, int8_t *y, int32_t size)
{{
{_LOOK_UP}
}}""",
)

LOOK_UP_CHANNELS = Function(
    "mve_look_up_channels",
    """\
/* Likewise with a table for each of the channels of a pixel. */
static void mve_look_up_channels(const int8_t *table, const int8_t *x, int8_t *y, int32_t pixels,
                                 int32_t channels)
{
    int32_t pixel, first;
    for (pixel = 0; pixel < pixels; pixel++) {
        uint16x8_t tables = vmulq_n_u16(vidupq_n_u16(0, 1), 256);
        for (first = 0; first < channels; first += 8) {
            const mve_pred16_t some = vctp16q((uint32_t)(channels - first));
            const uint16x8_t value = vldrbq_z_u16((const uint8_t *)x + first, some);
            const uint16x8_t place = vaddq_u16(tables, value);
            vstrbq_p_s16(y + first, vldrbq_gather_offset_z_s16(table, place, some), some);
            tables = vaddq_n_u16(tables, 8 * 256);
        }
        x += channels;
        y += channels;
    }
}""",
)


def look_up(layer: Table, variant: str, budget: int) -> Implementation | None:
    """Code of a table; None for results of other types."""
    del variant, budget
    if layer.inputs[0].dtype != "int8" or layer.output.dtype != "int8" or not layer.output.size:
        return None
    table = np.asarray(layer.table)
    if table.dtype != np.int8:
        return None
    size = layer.output.size
    if table.ndim == 1:
        return _one(table, size)
    channels = len(table)
    if not 1 < channels <= _MOST_TABLES or layer.output.shape[-1] != channels:
        return None
    call = f"mve_look_up_channels(@table@, x0, y, {size // channels}, {channels});"
    arrays = (Array("table", np.roll(table, 128, axis=1)),)
    return Implementation(call, (LOOK_UP_CHANNELS,), arrays, in_place=(0,))


def requantize(layer: Requantization, variant: str, budget: int) -> Implementation | None:
    """Code of a requantization of a large int8 tensor to int8; None for others."""
    del variant, budget
    if layer.inputs[0].dtype != "int8" or layer.output.dtype != "int8":
        return None
    if layer.output.size < _WORTH:
        return None
    values = centered_values(layer.inputs[0])
    results = rescaled(layer.rescale, np.abs(values) if layer.magnitude else values)
    return _one(results.astype(np.int8), layer.output.size)


def _one(table: NDArray[np.int8], size: int) -> Implementation:
    arrays = (Array("table", np.roll(table, 128)),)
    return Implementation(
        f"mve_look_up(@table@, x0, y, {size});", (LOOK_UP,), arrays, in_place=(0,)
    )
