"""Parametric ReLU: one rescale for values at and above zero, one for the others times a slope.

``v = x - z; v >= 0 ? positive(v) : negative(v * slope)``. Source: TensorFlow Lite's ``PRELU``.
"""

from __future__ import annotations

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.base import Implementation
from intaglio.targets.c.kernels.portable.broadcasting import (
    broadcast_loops,
    centered,
    overwritable,
)
from intaglio.targets.c.kernels.portable.rescaling import rescaling
from intaglio.targets.c.kernels.portable.values import centered_values, fits_int32
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import PRelu


def prelu(layer: PRelu, variant: str, budget: int) -> Implementation:
    """Code of a PRelu.

    Args:
        layer: The layer.
        variant: Not needed.
        budget: Not needed.

    Raises:
        InternalError: A product would not fit 32 bits.
    """
    del variant, budget
    data, slopes = layer.inputs
    ends = [centered_values(tensor)[[0, -1]] for tensor in (data, slopes)]
    if not fits_int32(*(a * b for a in ends[0] for b in ends[1])):
        raise InternalError(f"the products of '{layer.name}' do not fit 32 bits")
    positive, negative = rescaling(layer.positive), rescaling(layer.negative)
    kind = c_type(layer.output.dtype)
    call = broadcast_loops(
        layer,
        [
            lambda index: [f"const int32_t v = {centered(f'x0[{index}]', data.zero_point)};"],
            lambda index: [f"const int32_t slope = x1[{index}];"],
        ],
        lambda index: (
            f"if (v >= 0) {{\n    y[{index}] = ({kind})({positive.apply('v')});\n}} else {{\n"
            f"    y[{index}] = ({kind})({negative.apply('v * slope')});\n}}"
        ),
    )
    functions = (*positive.functions, *negative.functions)
    return Implementation(call, functions=functions, in_place=overwritable(layer))
