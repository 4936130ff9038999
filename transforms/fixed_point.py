"""Fixed-point rescaling: a real scale as an int32 multiplier and a right shift.

An integer kernel ends in ``acc * scale``, where ``scale = s_x * s_w / s_y`` is real. Integer-only
runtimes write the scale as ``multiplier * 2**-shift`` with ``multiplier`` in [2^30, 2^31) and round
the 64-bit product. They do not agree on the rounding, so it has a name here:

========  ==========================================================================
double    ``(acc*m + 2^(s-1) + (s > 31 ? (acc >= 0 ? 2^30 : -2^30) : 0)) >> s``
single    ``(acc*m + 2^(s-1)) >> s``
wide      ``(acc*m16 + 2^(s-17)) >> (s - 16)`` with ``m16 = min((m + 2^15) >> 16, 0x7FFF)``
real      ``round_half_away(float64(acc) * scale)``, the product rounded to float64
float     ``round_half_even(float32(acc) * float32(scale))``
========  ==========================================================================

Sources: ``double`` is gemmlowp's SaturatingRoundingDoublingHighMul followed by RoundingDivideByPOT
(TensorFlow Lite's MultiplyByQuantizedMultiplier) written as one shift, as the TOSA specification
does in ``apply_scale_32``; ``single`` is the same function of TensorFlow Lite under
TFLITE_SINGLE_ROUNDING, and TOSA's SINGLE_ROUND; ``wide`` is TensorFlow Lite's 64-bit overload and
TOSA's ``apply_scale_16``; ``real`` is what LiteRT's reference FULLY_CONNECTED computes with
``std::round``; ``float`` is what onnxruntime's QLinear kernels and XNNPACK compute.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

MINIMUM_SHIFT = 2
MAXIMUM_SHIFT = 62
#: Shifts of a 53-bit mantissa in the ``real`` rounding: scales below 2^7; smaller ones than 2^-45
#: give 0 for every accumulator that is allowed.
MINIMUM_REAL_SHIFT = 46
MAXIMUM_REAL_SHIFT = 97
#: Accumulators of ``real`` are smaller in magnitude.
REAL_ACCUMULATOR_LIMIT = 1 << 44
#: Smallest shift of ``wide``: TensorFlow Lite's kernel allows exponents up to 7, 31 - 7 = 24.
MINIMUM_WIDE_SHIFT = 24
#: Accumulators of ``wide`` are in [-2^47, 2^47), as the kernel documents: their product with a
#: 15-bit multiplier fits int64.
WIDE_ACCUMULATOR_LIMIT = 1 << 47

_INT32_MINIMUM = -(1 << 31)
_INT32_MAXIMUM = (1 << 31) - 1


class Rounding(str, Enum):
    """How a runtime rounds ``acc * multiplier * 2**-shift``; see the table of this module."""

    DOUBLE = "double"
    SINGLE = "single"
    WIDE = "wide"
    REAL = "real"
    FLOAT = "float"


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """Real scales as ``multiplier * 2**-shift``.

    Attributes:
        multiplier: int32, any shape; each is 0 or in [2^30, 2^31).
        shift: int64, the shape of ``multiplier``; total right shift, each in 2..62.
    """

    multiplier: NDArray[np.int32]
    shift: NDArray[np.int64]

    def __post_init__(self) -> None:
        multiplier = np.asarray(self.multiplier, dtype=np.int64)
        shift = np.asarray(self.shift, dtype=np.int64)
        if multiplier.shape != shift.shape:
            raise ValueError(f"multiplier {multiplier.shape} and shift {shift.shape} differ")
        if np.any((multiplier != 0) & ((multiplier < 1 << 30) | (multiplier > _INT32_MAXIMUM))):
            raise ValueError("each multiplier must be 0 or in [2^30, 2^31)")
        _check_shift(shift, MINIMUM_SHIFT)
        object.__setattr__(self, "multiplier", multiplier.astype(np.int32))
        object.__setattr__(self, "shift", shift)

    @property
    def real(self) -> NDArray[np.float64]:
        """The scales that are really applied: float64, exact, same shape."""
        exponent = -self.shift.astype(np.int32)
        return np.asarray(np.ldexp(self.multiplier.astype(np.float64), exponent))


def quantize_multiplier(scale: ArrayLike) -> FixedPoint:
    """Write real scales as an int32 multiplier and a right shift.

    ``frexp`` in float64, the mantissa to Q31 with ``floor(v + 0.5)``, a mantissa that rounds up to
    1.0 carried into the exponent: TensorFlow Lite's QuantizeMultiplier.

    Args:
        scale: non-negative real scales of any shape; compute them in float64 from the float32
            scales of the tensors.

    Returns:
        The scales in fixed point, same shape. A scale of zero, or one below 2^-32 that would need
        a shift above 62, has multiplier 0 and shift 31, as TensorFlow Lite flushes it.

    Raises:
        ValueError: a scale is negative, NaN, infinite, or 2^29 and more (a shift below 2).
    """
    values = np.asarray(scale, dtype=np.float64)
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        raise ValueError("scales must be finite and not negative")
    mantissa, exponent = np.frexp(values)
    multiplier = np.floor(mantissa * float(1 << 31) + 0.5).astype(np.int64)
    carried = multiplier == 1 << 31
    multiplier = np.where(carried, 1 << 30, multiplier)
    shift = 31 - (exponent.astype(np.int64) + carried)
    flushed = (multiplier == 0) | (shift > MAXIMUM_SHIFT)
    multiplier = np.where(flushed, 0, multiplier)
    shift = np.where(flushed, 31, shift)
    if np.any(shift < MINIMUM_SHIFT):
        raise ValueError(f"scale {values.max():g} is too large for fixed point (limit 2^29)")
    return FixedPoint(multiplier.astype(np.int32), shift)


def rescale_double(acc: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> NDArray[np.int64]:
    """Rescale with the two roundings of gemmlowp; TensorFlow Lite's reference arithmetic.

    The first rounding (of the doubling high multiplication) is to nearest with ties upward, the
    second (of the remaining shift) to nearest with ties away from zero. Where ``shift < 31`` the
    original shifts the accumulator left first and would overflow int32 for large values; this
    formula keeps the exact value instead, and the caller clamps it.

    Args:
        acc: integers in the range of int32; broadcasts with the other arguments.
        multiplier: 0 or in [2^30, 2^31).
        shift: 2..62.

    Returns:
        int64, the broadcast shape, before zero point and clamp.

    Raises:
        ValueError: an accumulator is not int32, or a shift is out of range.
    """
    value, factor, total = _operands(acc, multiplier, shift)
    second = np.where(value >= 0, np.int64(1 << 30), np.int64(-(1 << 30)))
    half = np.left_shift(np.int64(1), total - 1) + np.where(total > 31, second, np.int64(0))
    return np.asarray((value * factor + half) >> total)


def rescale_single(acc: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> NDArray[np.int64]:
    """Rescale with one rounding, to nearest with ties upward.

    Args, result and errors are those of :func:`rescale_double`.
    """
    value, factor, total = _operands(acc, multiplier, shift)
    return np.asarray((value * factor + np.left_shift(np.int64(1), total - 1)) >> total)


def rescale_wide(acc: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> NDArray[np.int64]:
    """Rescale a 64-bit accumulator with a multiplier reduced to 15 bits.

    The arithmetic of TensorFlow Lite's int16x8 convolutions with int64 bias. The multiplier keeps
    only its upper bits, so the applied scale is off by up to 2^-16 of itself.

    Args:
        acc: integers in [-2^47, 2^47); broadcasts with the other arguments.
        multiplier: 0 or in [2^30, 2^31), before the reduction.
        shift: total right shift of the full multiplier, 24..62; the reduced one shifts by 16 less,
            that is 8..46. The kernel allows no scale of 2^7 or more.

    Returns:
        int64, the broadcast shape, before zero point and clamp.

    Raises:
        ValueError: an accumulator or a shift is out of range.
    """
    value = _integers(acc, "accumulators")
    if np.any((value >= WIDE_ACCUMULATOR_LIMIT) | (value < -WIDE_ACCUMULATOR_LIMIT)):
        raise ValueError("accumulators of the wide rescale must be in [-2^47, 2^47)")
    total = _integers(shift, "shifts")
    _check_shift(total, MINIMUM_WIDE_SHIFT)
    reduced_factor = np.minimum((_integers(multiplier, "multipliers") + (1 << 15)) >> 16, 0x7FFF)
    reduced_shift = total - 16
    half = np.left_shift(np.int64(1), reduced_shift - 1)
    return np.asarray((value * reduced_factor + half) >> reduced_shift)


def split_scale(scale: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Write real scales as ``mantissa * 2**-shift`` without loss: all 53 bits of float64.

    Args:
        scale: non-negative real scales of any shape, below 2^7.

    Returns:
        Mantissas, 0 or in [2^52, 2^53), and shifts in 46..97; both int64. A scale that would need a
        larger shift is below 2^-45 and has mantissa 0.

    Raises:
        ValueError: a scale is negative, not finite, or 2^7 and more.
    """
    values = np.asarray(scale, dtype=np.float64)
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        raise ValueError("scales must be finite and not negative")
    fraction, exponent = np.frexp(values)
    mantissa = np.ldexp(fraction, 53).astype(np.int64)
    shift = 53 - exponent.astype(np.int64)
    flushed = (mantissa == 0) | (shift > MAXIMUM_REAL_SHIFT)
    shift = np.where(flushed, MAXIMUM_REAL_SHIFT, shift)
    if np.any(shift < MINIMUM_REAL_SHIFT):
        raise ValueError(f"scale {values.max():g} is not below 2^7")
    return np.where(flushed, 0, mantissa), shift


def rescale_real(acc: ArrayLike, scale: ArrayLike) -> NDArray[np.int64]:
    """Rescale in float64, ties away from zero, as LiteRT's reference FULLY_CONNECTED does.

    Args:
        acc: integers in (-2^44, 2^44); broadcasts with ``scale``.
        scale: real scales in float64, not narrowed to fixed point.

    Returns:
        int64, the broadcast shape, before zero point and clamp.

    Raises:
        ValueError: an accumulator is out of range.
    """
    value = _integers(acc, "accumulators")
    if np.any(np.abs(value) >= REAL_ACCUMULATOR_LIMIT):
        raise ValueError("accumulators of the real rescale must be in (-2^44, 2^44)")
    product = value.astype(np.float64) * np.asarray(scale, np.float64)
    whole = np.trunc(product)
    return np.asarray(whole + np.copysign(np.abs(product - whole) >= 0.5, product)).astype(np.int64)


def rescale_float(acc: ArrayLike, scale: ArrayLike) -> NDArray[np.int64]:
    """Rescale in float32, ties to even, as onnxruntime's QLinear kernels do.

    Args:
        acc: integers in the range of int32; broadcasts with ``scale``.
        scale: real scales, rounded to float32 first.

    Returns:
        int64, the broadcast shape, before zero point and clamp.

    Raises:
        ValueError: an accumulator is not int32.
    """
    value = _int32_values(acc).astype(np.float32)
    return np.asarray(np.rint(value * np.asarray(scale, dtype=np.float32)).astype(np.int64))


def rescale(acc: ArrayLike, fixed_point: FixedPoint, rounding: Rounding | str) -> NDArray[np.int64]:
    """Rescale accumulators with the named rounding.

    Args:
        acc: integers; the range and the broadcasting are those of the function of that rounding.
        fixed_point: the scales; they broadcast with ``acc`` from the last axis.
        rounding: which arithmetic. For ``float`` the scale is ``float32(fixed_point.real)``, which
            in rare cases is one unit in the last place off the float32 of the original scale; use
            :func:`rescale_float` where that matters. ``real`` likewise takes 31 of the scale's 53
            bits here; use :func:`rescale_real`.

    Returns:
        int64, the broadcast shape, before zero point and clamp.

    Raises:
        ValueError: no such rounding, or an operand is out of range.
    """
    kind = Rounding(rounding)
    if kind is Rounding.FLOAT:
        return rescale_float(acc, fixed_point.real)
    if kind is Rounding.REAL:
        return rescale_real(acc, fixed_point.real)
    function = {
        Rounding.DOUBLE: rescale_double,
        Rounding.SINGLE: rescale_single,
        Rounding.WIDE: rescale_wide,
    }[kind]
    return function(acc, fixed_point.multiplier, fixed_point.shift)


def requantize(
    acc: ArrayLike,
    fixed_point: FixedPoint,
    rounding: Rounding | str,
    zero_point: ArrayLike,
    minimum: int,
    maximum: int,
    dtype: DTypeLike,
) -> NDArray[Any]:
    """Rescale, add the zero point, clamp and narrow: the end of every integer kernel.

    Args:
        acc: integers, as :func:`rescale` takes them.
        fixed_point: the scales.
        rounding: which arithmetic.
        zero_point: integer zero point of the output; broadcasts.
        minimum: smallest result (that of the type, or of a fused activation).
        maximum: largest result.
        dtype: integer type of the result; must hold ``minimum`` and ``maximum``.

    Returns:
        The requantized values, the broadcast shape, of ``dtype``.

    Raises:
        ValueError: the clamp is empty or does not fit ``dtype``, or as :func:`rescale`.
    """
    narrow: np.dtype[Any] = np.dtype(dtype)
    limits = np.iinfo(narrow)
    if not limits.min <= minimum <= maximum <= limits.max:
        raise ValueError(f"clamp [{minimum}, {maximum}] is empty or does not fit {narrow}")
    shifted = rescale(acc, fixed_point, rounding) + _integers(zero_point, "zero points")
    return np.asarray(np.clip(shifted, minimum, maximum).astype(narrow))


def _operands(
    acc: ArrayLike, multiplier: ArrayLike, shift: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    total = _integers(shift, "shifts")
    _check_shift(total, MINIMUM_SHIFT)
    return _int32_values(acc), _integers(multiplier, "multipliers"), total


def _integers(values: ArrayLike, what: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{what} must be integers, not {array.dtype}")
    return array.astype(np.int64)


def _int32_values(acc: ArrayLike) -> NDArray[np.int64]:
    # Beyond int32 the 64-bit product could wrap silently, and no kernel holds such a value.
    value = _integers(acc, "accumulators")
    if value.size and (value.min() < _INT32_MINIMUM or value.max() > _INT32_MAXIMUM):
        raise ValueError("accumulators must fit int32")
    return value


def _check_shift(shift: NDArray[np.int64], minimum: int) -> None:
    if np.any((shift < minimum) | (shift > MAXIMUM_SHIFT)):
        raise ValueError(f"each shift must be in {minimum}..{MAXIMUM_SHIFT}")
