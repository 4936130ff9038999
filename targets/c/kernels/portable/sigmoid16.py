"""Sigmoid and hyperbolic tangent of int16 tensors from 256 values of the sigmoid.

The input is brought to units of 1/12288 and its magnitude looked up, linear between entries that
lie 512 units apart; ``tanh(v) = 2*sigmoid(2v) - 1`` has them 256 apart. Behind the last segment the
function is 1. Source: ``reference_integer_ops::Logistic`` and ``Tanh`` of TensorFlow Lite, int16.
"""

from __future__ import annotations

import numpy as np

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.portable.broadcasting import flat_loop, nothing, overwritable
from intaglio.targets.c.kernels.portable.values import fits_int32
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import Sigmoid16

#: Value and slope of the sigmoid: Q0.16 times the distance of the entries.
_MAGNITUDE = """\
/* The sigmoid of a magnitude: entries of the table are 2^{places} apart, and what lies behind
   segment 254 is {word}. Q0.{bits}. */
static inline int32_t {name}(int32_t size, const {kind} *table)
{{
    const int32_t segment = size >> {places};
    if (segment > 254) {{
        return {saturated};
    }}
    return (int32_t)table[segment] * {distance}
        + ((int32_t)table[segment + 1] - (int32_t)table[segment]) * (size & {mask});
}}"""


def apply_sigmoid16(layer: Sigmoid16, variant: str, budget: int) -> Implementation:
    """Code of a 16-bit sigmoid or hyperbolic tangent.

    Args:
        layer: The layer.
        variant: Not needed.
        budget: Not needed.

    Raises:
        InternalError: The constants are none of the kernel's.
    """
    del variant, budget
    if not layer.output.size:
        return Implementation(nothing(layer))
    half = 1 << layer.shift >> 1
    if layer.multiplier < 0 or not fits_int32(32768 * layer.multiplier + half):
        raise InternalError(f"the multiplier of '{layer.name}' is too large")
    table = np.asarray(layer.table, np.int64)
    if table.size != 256 or table.min() < 0 or table.max() > 65535:
        raise InternalError(f"the table of '{layer.name}' is none of 256 16-bit numbers")
    function = _TANH if layer.tanh else _SIGMOID
    scaled = f"x0[i] * {layer.multiplier}"
    if layer.shift:
        scaled = f"({scaled} + {half}) >> {layer.shift}"
    lines = [
        f"const int32_t v = {scaled};",
        f"const int32_t s = {function.name}(v < 0 ? -v : v, @table@);",
    ]
    if layer.tanh:
        # s - 2^23 is half of the result: sigmoid(0) is 2^23. 127 makes the negative side round
        # as the kernel does.
        lines.append("y[i] = (int16_t)((v < 0 ? 8388608 + 127 - s : s - 8388608 + 128) >> 8);")
    else:
        lines.append("y[i] = (int16_t)((v < 0 ? 33554432 + 511 - s : s + 512) >> 10);")
    return Implementation(
        flat_loop(layer.output.size, "\n".join(lines)),
        functions=(function,),
        arrays=(Array("table", table.astype(np.uint16)),),
        in_place=overwritable(layer),
    )


def _magnitude(name: str, places: int, saturated: int, word: str) -> Function:
    return Function(
        name,
        _MAGNITUDE.format(
            name=name,
            kind=c_type("uint16"),
            places=places,
            bits=16 + places,
            saturated=saturated,
            word=word,
            distance=1 << places,
            mask=(1 << places) - 1,
        ),
    )


_SIGMOID = _magnitude("sigmoid_of_magnitude", 9, 0x7FFF << 10, "32767 / 32768")
_TANH = _magnitude("tanh_of_magnitude", 8, 0xFFFF << 8, "65535 / 65536")
