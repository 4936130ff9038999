"""Products of two tensors, element by element: ``rescale((a - z_a) * (b - z_b))``."""

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
from intaglio.targets.c.network import Multiplication


def multiply(layer: Multiplication, variant: str, budget: int) -> Implementation:
    """Code of an element-wise product.

    Args:
        layer: The layer.
        variant: Not needed.
        budget: Not needed.

    Raises:
        InternalError: A product would not fit 32 bits.
    """
    del variant, budget
    first, second = layer.inputs
    ends = [centered_values(tensor)[[0, -1]] for tensor in (first, second)]
    if not fits_int32(*(a * b for a in ends[0] for b in ends[1])):
        raise InternalError(f"the products of '{layer.name}' do not fit 32 bits")
    code = rescaling(layer.rescale)
    call = broadcast_loops(
        layer,
        [
            lambda index: [f"const int32_t a = {centered(f'x0[{index}]', first.zero_point)};"],
            lambda index: [f"const int32_t b = {centered(f'x1[{index}]', second.zero_point)};"],
        ],
        lambda index: f"y[{index}] = ({c_type(layer.output.dtype)})({code.apply('a * b')});",
    )
    return Implementation(call, functions=code.functions, in_place=overwritable(layer))
