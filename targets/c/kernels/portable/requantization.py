"""Tensors brought to another scale, or clamped: ``rescale(x - z)``, or of the magnitude.

A rescale by 1 only clamps. That of an int8 tensor is ``(x*p + r) >> s`` in 32 bits, if integers
give the exact result for all 256 values. If there are none, it is looked up in a large tensor: 256
bytes are less work than a 64-bit product for each element.
"""

from __future__ import annotations

import functools

import numpy as np

from intaglio.targets.c.kernels.base import Array, Implementation
from intaglio.targets.c.kernels.portable.affine import Affine, affine
from intaglio.targets.c.kernels.portable.broadcasting import (
    centered,
    flat_loop,
    nothing,
    overwritable,
)
from intaglio.targets.c.kernels.portable.rescaling import CLAMP, rescaling
from intaglio.targets.c.kernels.portable.values import (
    INT32_MAXIMUM,
    INT32_MINIMUM,
    centered_values,
    integer_factor,
    real_scale,
    rescaled,
)
from intaglio.targets.c.literals import c_type, number
from intaglio.targets.c.network import Requantization

#: Elements from which on a table is worth its bytes.
TABLE_ELEMENTS = 1024


def requantize(layer: Requantization, variant: str, budget: int) -> Implementation:
    """Code of a requantization.

    Args:
        layer: The layer.
        variant: Not needed.
        budget: Not needed.
    """
    del variant, budget
    if not layer.output.size:
        return Implementation(nothing(layer))
    values = centered_values(layer.inputs[0])
    accumulators = np.abs(values) if layer.magnitude else values
    if integer_factor(layer.rescale, accumulators) == 1:
        return _clamped(layer)
    found = affine_requantization(layer)
    if found is not None:
        low, high = number(layer.rescale.minimum), number(layer.rescale.maximum)
        body = f"y[i] = (int8_t)clamp({found.expression('x0[i]')}, {low}, {high});"
        call = "/* Equal to the exact rescale for each of the 256 values. */\n"
        call += flat_loop(layer.output.size, body)
        return Implementation(call, (CLAMP,), in_place=overwritable(layer))
    if layer.inputs[0].dtype == "int8" and layer.output.size >= TABLE_ELEMENTS:
        table = rescaled(layer.rescale, accumulators).astype(layer.output.dtype)
        call = f"const {c_type(layer.output.dtype)} *table = @table@ + 128;\n"
        call += flat_loop(layer.output.size, "y[i] = table[x0[i]];")
        arrays = (Array("table", table),)
        return Implementation(call, arrays=arrays, in_place=overwritable(layer))
    code = rescaling(layer.rescale)
    value = "v" if not layer.magnitude else "v < 0 ? -v : v"
    body = (
        f"const int32_t v = {centered('x0[i]', layer.inputs[0].zero_point)};\n"
        f"y[i] = ({c_type(layer.output.dtype)})({code.apply(value)});"
    )
    call = flat_loop(layer.output.size, body)
    return Implementation(call, functions=code.functions, in_place=overwritable(layer))


@functools.lru_cache(maxsize=128)
def affine_requantization(layer: Requantization) -> Affine | None:
    """The rescale in integers of 32 bits; None for other than int8 tensors, or if there are none.

    ``y = clip((x*factors[0] + offset) >> places, minimum, maximum)`` with values as stored.

    Args:
        layer: The layer.
    """
    if layer.magnitude or {layer.inputs[0].dtype, layer.output.dtype} != {"int8"}:
        return None
    return affine(
        [np.arange(-128, 128, dtype=np.int64)],
        rescaled(layer.rescale, centered_values(layer.inputs[0])),
        [real_scale(layer.rescale)],
        layer.rescale.minimum,
        layer.rescale.maximum,
    )


def _clamped(layer: Requantization) -> Implementation:
    """``clip(x - z_x + z_y)``: a rescale by 1."""
    rescale, start = layer.rescale, layer.inputs[0].zero_point
    if layer.magnitude:
        value, offset = "(v < 0 ? -v : v)", rescale.zero_point
        lines = [f"const int32_t v = {centered('x0[i]', start)};"]
    else:
        value, offset, lines = "x0[i]", rescale.zero_point - start, []
    # The clamp comes before the zero point, as in a rescale.
    low = number(max(rescale.minimum - offset, INT32_MINIMUM))
    high = number(min(rescale.maximum - offset, INT32_MAXIMUM))
    result = centered(f"clamp({value}, {low}, {high})", -offset)
    lines.append(f"y[i] = ({c_type(layer.output.dtype)})({result});")
    call = flat_loop(layer.output.size, "\n".join(lines))
    return Implementation(call, functions=(CLAMP,), in_place=overwritable(layer))
