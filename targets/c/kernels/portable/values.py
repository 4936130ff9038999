"""What a rescale makes of every value that a tensor can hold, in numpy.

An int8 tensor has 256 values, an int16 tensor 65,536: few enough to prove by trying them all that
a rescale only multiplies by an integer, or that a sum fits 32 bits.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.targets.c.network import Rescale, Tensor
from intaglio.transforms.fixed_point import (
    Rounding,
    rescale_double,
    rescale_real,
    rescale_single,
    rescale_wide,
)

INT32_MINIMUM, INT32_MAXIMUM = -(1 << 31), (1 << 31) - 1


def centered_values(tensor: Tensor) -> NDArray[np.int64]:
    """``q - zero_point`` of every ``q`` that the type of ``tensor`` has, ascending."""
    limits = np.iinfo(np.dtype(tensor.dtype))
    return np.arange(limits.min, limits.max + 1, dtype=np.int64) - tensor.zero_point


def rescaled(rescale: Rescale, accumulators: NDArray[np.int64]) -> NDArray[np.int64]:
    """``clip(round(acc * multiplier * 2^-shift) + zero_point, minimum, maximum)``.

    Args:
        rescale: One scale for all.
        accumulators: Any shape.

    Returns:
        int64, the shape of ``accumulators``.

    Raises:
        InternalError: There is a scale per channel, or an accumulator is out of range.
    """
    if np.size(rescale.multiplier) != 1:
        raise InternalError("an element-wise layer has one scale, not one a channel")
    multiplier, shift = np.int64(rescale.multiplier.item()), np.int64(rescale.shift.item())
    try:
        if rescale.rounding is Rounding.REAL:
            scale = np.ldexp(np.float64(multiplier), -int(shift))
            result = rescale_real(accumulators, scale)
        else:
            function = {
                Rounding.DOUBLE: rescale_double,
                Rounding.SINGLE: rescale_single,
                Rounding.WIDE: rescale_wide,
            }[rescale.rounding]
            result = function(accumulators, multiplier, shift)
    except (KeyError, ValueError) as error:
        raise InternalError(f"a rescale cannot be computed: {error}") from error
    return np.clip(result + rescale.zero_point, rescale.minimum, rescale.maximum)


def integer_factor(rescale: Rescale, values: NDArray[np.int64], left_shift: int = 0) -> int | None:
    """The integer ``k`` with ``rescale(v << left_shift) = v * k`` for each value; None if none is.

    Zero point and clamp do not count. Scales that are powers of two have one: the operand of a sum
    that has the larger scale, and layers that only clamp.

    Args:
        rescale: One scale for all.
        values: All that can occur; not all of them 0.
        left_shift: Places that values are shifted up by first.
    """
    bare = dataclasses.replace(rescale, zero_point=0, minimum=INT32_MINIMUM, maximum=INT32_MAXIMUM)
    largest = values[np.argmax(np.abs(values))]
    factor = int(rescaled(bare, largest << left_shift)) // int(largest)
    # A few first: they mostly tell.
    for some in (values[::257], values):
        if not np.array_equal(rescaled(bare, some << left_shift), some * factor):
            return None
    return factor


def fits_int32(*values: int | np.int64) -> bool:
    """Whether every value is one of int32."""
    return all(INT32_MINIMUM <= int(value) <= INT32_MAXIMUM for value in values)


def real_scale(rescale: Rescale) -> float:
    """``multiplier * 2^-shift`` of a rescale with one scale."""
    return float(np.ldexp(np.float64(rescale.multiplier.item()), -int(rescale.shift.item())))
