"""Look-up tables of int8 tensors, and interpolated ones of int16 tensors."""

from __future__ import annotations

import numpy as np

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.portable.broadcasting import flat_loop, nothing, overwritable
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import InterpolatedTable, Table

#: ``t[i] + (((t[i+1] - t[i])*d + 64) >> 7)``, TensorFlow Lite's LUTLookup without its 16-bit slope.
INTERPOLATED = Function(
    "interpolated",
    """\
/* Looks value, in the range of int16, up in 513 entries that lie 128 steps apart; linear between
   two of them. */
static inline int32_t interpolated(int32_t value, const int16_t *table)
{
    const int16_t *entry = table + ((value + 32768) >> 7);
    const int32_t rise = ((int32_t)entry[1] - entry[0]) * (value & 127);
    return entry[0] + ((rise + 64) >> 7);
}""",
)


def look_up(layer: Table, variant: str, budget: int) -> Implementation:
    """Code of a table, one for all or one for each channel of the last axis.

    Args:
        layer: The layer.
        variant: Not needed.
        budget: Not needed.

    Raises:
        InternalError: The number of tables is not that of the channels.
    """
    del variant, budget
    if not layer.output.size:
        return Implementation(nothing(layer))
    entries = np.asarray(layer.table)
    channels = 1 if entries.ndim == 1 else len(entries)
    # Inputs are signed, so they count from the entry of 0.
    lines = [f"const {c_type(entries.dtype.name)} *table = @table@ + 128;"]
    if channels == 1:
        lines.append(flat_loop(layer.output.size, "y[i] = table[x0[i]];"))
    else:
        if layer.output.shape[-1] != channels:
            raise InternalError(f"'{layer.name}' has {channels} tables for other channels")
        body = f"y[i * {channels} + c] = table[c * 256 + x0[i * {channels} + c]];"
        rows = flat_loop(channels, body, "c")
        lines.append(flat_loop(layer.output.size // channels, rows))
    arrays = (Array("table", entries),)
    return Implementation("\n".join(lines), arrays=arrays, in_place=overwritable(layer))


def look_up_between(layer: InterpolatedTable, variant: str, budget: int) -> Implementation:
    """Code of a table of an int16 tensor.

    Args:
        layer: The layer.
        variant: Not needed.
        budget: Not needed.
    """
    del variant, budget
    if not layer.output.size:
        return Implementation(nothing(layer))
    call = flat_loop(layer.output.size, "y[i] = (int16_t)interpolated(x0[i], @table@);")
    return Implementation(
        call,
        functions=(INTERPOLATED,),
        arrays=(Array("table", np.asarray(layer.table, np.int16)),),
        in_place=overwritable(layer),
    )
