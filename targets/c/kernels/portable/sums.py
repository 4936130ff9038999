"""Sums and differences: ``rescale(f(a) + sign * f(b))``, ``f(v) = rescale_v((v - z) << n)``.

``f`` of the operand with the larger scale is a multiplication by a power of two, since its scale is
one half exactly; that is recognized by trying all its values. So a sum has two rescales more often
than three. Source of the arithmetic: TensorFlow Lite's ``reference_integer_ops::Add``.
"""

from __future__ import annotations

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.portable.broadcasting import (
    broadcast_loops,
    centered,
    overwritable,
)
from intaglio.targets.c.kernels.portable.rescaling import rescaling
from intaglio.targets.c.kernels.portable.values import (
    centered_values,
    fits_int32,
    integer_factor,
    rescaled,
)
from intaglio.targets.c.literals import c_type, number
from intaglio.targets.c.network import Rescale, Sum, Tensor


def sum_of(layer: Sum, variant: str, budget: int) -> Implementation:
    """Code of a sum or a difference.

    Args:
        layer: The layer.
        variant: Not needed.
        budget: Not needed.

    Raises:
        InternalError: A value would not fit 32 bits.
    """
    del variant, budget
    first = _Operand(layer.inputs[0], layer.first, layer.left_shift)
    second = _Operand(layer.inputs[1], layer.second, layer.left_shift)
    low, high = (second.low, second.high) if layer.sign > 0 else (-second.high, -second.low)
    if not fits_int32(first.low + low, first.high + high):
        raise InternalError(f"the sum of '{layer.name}' does not fit 32 bits")
    total = rescaling(layer.rescale)
    result = total.apply("a + b" if layer.sign > 0 else "a - b")
    call = broadcast_loops(
        layer,
        [
            lambda index: [f"const int32_t a = {first.expression(f'x0[{index}]')};"],
            lambda index: [f"const int32_t b = {second.expression(f'x1[{index}]')};"],
        ],
        lambda index: f"y[{index}] = ({c_type(layer.output.dtype)})({result});",
    )
    return Implementation(
        call,
        functions=(*first.functions, *second.functions, *total.functions),
        in_place=overwritable(layer),
    )


class _Operand:
    """``f`` of one operand.

    Args:
        tensor: The operand.
        rescale: Its rescale.
        left_shift: Places that it is shifted up by first.
    """

    def __init__(self, tensor: Tensor, rescale: Rescale, left_shift: int) -> None:
        shifted = centered_values(tensor) << left_shift
        results = rescaled(rescale, shifted)
        self.low, self.high = int(results.min()), int(results.max())
        self._zero_point = tensor.zero_point
        self._code = rescaling(rescale)
        self._places = left_shift
        self._factor = integer_factor(rescale, centered_values(tensor), left_shift)

    @property
    def functions(self) -> tuple[Function, ...]:
        """What its expression calls."""
        return self._code.functions if self._factor is None else ()

    def expression(self, value: str) -> str:
        """The operand's share of the sum, given the operand."""
        moved = centered(value, self._zero_point)
        if self._factor is not None:
            return _times(moved, self._factor)
        return self._code.apply(_times(moved, 1 << self._places))


def _times(value: str, factor: int) -> str:
    if factor == 1:
        return value
    return f"({value}) * {number(factor)}" if " " in value else f"{value} * {number(factor)}"
