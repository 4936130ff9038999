"""Softmax of int16 rows from two interpolated tables (``passes/dialect/softmax.py``).

Differences to the row's peak are brought to steps of 10/65535 and their exponentials looked up; the
sum is shifted to [1, 2), and its reciprocal looked up, too. The exponentials wait in the output.
"""

from __future__ import annotations

import numpy as np

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.base import Array, Implementation
from intaglio.targets.c.kernels.portable.broadcasting import flat_loop, nothing, overwritable
from intaglio.targets.c.kernels.portable.rescaling import CLAMP, rescaling
from intaglio.targets.c.kernels.portable.tables import INTERPOLATED
from intaglio.targets.c.kernels.portable.values import fits_int32
from intaglio.targets.c.network import Rescale, Softmax16
from intaglio.transforms.fixed_point import Rounding
from intaglio.transforms.interpolation import interpolate

_ROW = """\
const int16_t *from = x0 + row * {length};
int16_t *to = y + row * {length};
int32_t peak = from[0];
for (int32_t i = 1; i < {length}; i++) {{
    peak = from[i] > peak ? from[i] : peak;
}}
int32_t sum = 0;
for (int32_t i = 0; i < {length}; i++) {{
    const int32_t scaled = {scaled};
    to[i] = (int16_t)interpolated(scaled, @exponentials@);
    sum += to[i];
}}
/* The sum is in [2^bits, 2^(bits + 1)); in steps of 2^(bits - 16), less 1.5, it is in int16. */
int32_t bits = 14;
while (sum >> bits > 1) {{
    bits++;
}}
const uint32_t normalized = (((uint32_t)sum << (30 - bits)) + 8192u) >> 14;
const int32_t reciprocal = interpolated(clamp((int32_t)normalized - 98304, -32768, 32767),
                                        @reciprocals@);
for (int32_t i = 0; i < {length}; i++) {{
    const uint32_t product = (uint32_t)(to[i] * reciprocal);
    const uint32_t level = (product + (UINT32_C(1) << (bits - 1))) >> bits;
    to[i] = (int16_t)(level < 32767 ? level : 32767);
}}"""


def apply_softmax16(layer: Softmax16, variant: str, budget: int) -> Implementation:
    """Code of an int16 softmax.

    Args:
        layer: The layer.
        variant: Not needed.
        budget: Not needed.

    Raises:
        InternalError: Rows are too long, or the tables are none of exponentials and reciprocals.
    """
    del variant, budget
    if not layer.output.size:
        return Implementation(nothing(layer))
    length = layer.output.shape[-1]
    exponentials = np.asarray(layer.constants["exp_table"], np.int16).reshape(-1)
    reciprocals = np.asarray(layer.constants["reciprocal_table"], np.int16).reshape(-1)
    # The peak's own exponential keeps the sum from being less than 2^14.
    largest = int(interpolate(32767, exponentials))
    if min(exponentials.min(), reciprocals.min()) < 0 or largest < 1 << 14:
        raise InternalError(f"the tables of '{layer.name}' are none of a softmax")
    if not fits_int32(length * int(exponentials.max())):
        raise InternalError(f"the rows of '{layer.name}' are too long: {length} elements")
    scale = rescaling(
        Rescale(
            Rounding.DOUBLE,
            np.asarray(layer.constants["multiplier"], np.int64).reshape(1),
            np.asarray(layer.constants["shift"], np.int64).reshape(1),
            zero_point=32767,
            minimum=-32768,
            maximum=32767,
        )
    )
    row = _ROW.format(length=length, scaled=scale.apply("from[i] - peak"))
    return Implementation(
        flat_loop(layer.output.size // length, row, "row"),
        functions=(*scale.functions, CLAMP, INTERPOLATED),
        arrays=(Array("exponentials", exponentials), Array("reciprocals", reciprocals)),
        in_place=overwritable(layer),
    )
