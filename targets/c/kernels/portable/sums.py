"""Sums and differences: ``rescale(f(a) + sign * f(b))``, ``f(v) = rescale_v((v - z) << n)``.

Two int8 operands make 65,536 pairs, and for nearly all constants there are integers with
``(a*p + b*q + r) >> s`` equal to the formula for every pair: two multiplications of 32 bits in
place of two or three of 64. Otherwise the formula is computed as it stands, but that ``f`` of the
operand with the larger scale is a multiplication by a power of two, since its scale is one half
exactly; trying all its values tells.

Source of the formula: TensorFlow Lite's ``reference_integer_ops::Add``.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.portable.affine import Affine, affine
from intaglio.targets.c.kernels.portable.broadcasting import (
    broadcast_loops,
    centered,
    overwritable,
)
from intaglio.targets.c.kernels.portable.rescaling import CLAMP, rescaling
from intaglio.targets.c.kernels.portable.values import (
    centered_values,
    fits_int32,
    integer_factor,
    real_scale,
    rescaled,
)
from intaglio.targets.c.literals import c_type, number
from intaglio.targets.c.network import Rescale, Sum, Tensor


def add(layer: Sum, variant: str, budget: int) -> Implementation:
    """Code of a sum or a difference.

    Args:
        layer: The layer.
        variant: Not needed.
        budget: Not needed.

    Raises:
        InternalError: A value would not fit 32 bits.
    """
    del variant, budget
    found = affine_sum(layer)
    if found is not None:
        return _of_integers(layer, found)
    first = _Operand(layer.inputs[0], layer.first, layer.left_shift)
    second = _Operand(layer.inputs[1], layer.second, layer.left_shift)
    ends = _ends(layer)
    if not fits_int32(*ends):
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


@functools.lru_cache(maxsize=128)
def affine_sum(layer: Sum) -> Affine | None:
    """The sum in integers of 32 bits; None where it has other than int8 tensors, or there are none.

    ``y = clip((x0*factors[0] + x1*factors[1] + offset) >> places, minimum, maximum)`` with the
    values as they are stored: the zero points are in the offset.

    Args:
        layer: The layer. Results are remembered, since every processor asks.
    """
    if any(tensor.dtype != "int8" for tensor in (*layer.inputs, layer.output)):
        return None
    if not fits_int32(*_ends(layer)):
        return None
    first = rescaled(layer.first, centered_values(layer.inputs[0]) << layer.left_shift)
    second = rescaled(layer.second, centered_values(layer.inputs[1]) << layer.left_shift)
    results = rescaled(layer.rescale, first[:, None] + layer.sign * second[None, :])
    stored: NDArray[np.int64] = np.arange(-128, 128, dtype=np.int64)
    scale = real_scale(layer.rescale) * 2.0**layer.left_shift
    return affine(
        np.meshgrid(stored, stored, indexing="ij"),
        results,
        (scale * real_scale(layer.first), layer.sign * scale * real_scale(layer.second)),
        layer.rescale.minimum,
        layer.rescale.maximum,
    )


def _of_integers(layer: Sum, found: Affine) -> Implementation:
    """Code of a sum that is ``(x0*p + x1*q + r) >> s``."""
    rescale, (first, second) = layer.rescale, found.factors
    low, high = number(rescale.minimum), number(rescale.maximum)
    loops = broadcast_loops(
        layer,
        [
            lambda index: [f"const int32_t a = x0[{index}] * {number(first)};"],
            lambda index: [
                f"const int32_t b = x1[{index}] * {number(second)} {_signed(found.offset)};"
            ],
        ],
        lambda index: f"y[{index}] = (int8_t)clamp((a + b) >> {found.places}, {low}, {high});",
    )
    comment = "/* Equal to the exact sum of rescaled values for each of the 65536 pairs. */"
    return Implementation(f"{comment}\n{loops}", (CLAMP,), in_place=overwritable(layer))


def _ends(layer: Sum) -> tuple[int, int]:
    """Smallest and largest sum: ``f`` never falls."""
    first, second = (
        rescaled(rescale, centered_values(tensor)[[0, -1]] << layer.left_shift)
        for rescale, tensor in zip((layer.first, layer.second), layer.inputs, strict=True)
    )
    ends = first + layer.sign * second[:: layer.sign]
    return int(ends[0]), int(ends[1])


class _Operand:
    """``f`` of one operand.

    Args:
        tensor: The operand.
        rescale: Its rescale.
        left_shift: Places that it is shifted up by first.
    """

    def __init__(self, tensor: Tensor, rescale: Rescale, left_shift: int) -> None:
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


def _signed(value: int) -> str:
    return f"{'-' if value < 0 else '+'} {abs(value)}"
