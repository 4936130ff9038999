"""Softmax on int8 in integers only, as gemmlowp and TensorFlow Lite compute it.

With ``d = q - max(q)`` over the row, in fixed point (Qm.n: m integer and n fraction bits, int32):

1. ``exp(beta * scale * d)`` for each of the 256 possible ``d``: d is scaled to Q5.26, the
   exponential is Q0.31;
2. each exponential is rounded to Q12.19 and summed;
3. the reciprocal of the sum by three Newton-Raphson steps, after normalizing the sum to [1, 2);
4. the product of exponential and reciprocal, rounded to steps of 1/256, minus 128.

The output has scale 1/256 and zero point -128. Source: ``reference_ops::Softmax`` and
``PreprocessSoftmaxScaling`` of TensorFlow Lite, ``fixedpoint.h`` of gemmlowp. Every function here
is exact integer arithmetic (int64 inside), so a graph that mirrors it gives the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from intaglio.transforms.fixed_point import FixedPoint, Rounding, quantize_multiplier, rescale
from intaglio.transforms.interpolation import interpolate, populate

OUTPUT_SCALE = 1.0 / 256.0
OUTPUT_ZERO_POINT = -128

#: Integer bits of the scaled differences, Q5.26.
DIFFERENCE_INTEGER_BITS = 5
#: Integer bits of the sum of exponentials, Q12.19: rows of up to 4095 equal entries fit.
SUM_INTEGER_BITS = 12
#: The final shift is this plus the number of bits of the sum above one.
OUTPUT_SHIFT = 23

_INT32_MAXIMUM = (1 << 31) - 1
_INT32_MINIMUM = -(1 << 31)

# Q0.31 constants of gemmlowp's exponential.
_EXP_MINUS_ONE_EIGHTH = 1895147668
_ONE_THIRD = 715827883
#: exp(-1/4), exp(-1/2), exp(-1), ... exp(-16) in Q0.31.
_EXP_FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
# Q2.29 constants of the Newton-Raphson division.
_48_OVER_17 = 1515870810
_MINUS_32_OVER_17 = -1010580540
_ONE_Q2 = 1 << 29

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class SoftmaxConstants:
    """What a softmax kernel is given besides its input.

    Attributes:
        multiplier: in [2^30, 2^31), Q0.31.
        left_shift: applied to the difference before the multiplication.
        difference_minimum: exponentials of smaller differences (always <= 0) count as zero.
    """

    multiplier: int
    left_shift: int
    difference_minimum: int


def softmax_constants(input_scale: float, beta: float = 1.0) -> SoftmaxConstants:
    """Derive the kernel's constants from the input scale.

    TensorFlow Lite's PreprocessSoftmaxScaling and CalculateInputRadius with 5 integer bits:
    ``beta * scale * 2^26``, at most ``2^31 - 1``, as multiplier and shift; and the largest
    difference that Q5.26 holds.

    Args:
        input_scale: scale of the int8 input.
        beta: factor of the exponent.

    Returns:
        The constants.

    Raises:
        ValueError: ``beta * scale`` is 2^-26 or less (the kernel cannot express it), or not finite.
    """
    real = float(beta) * float(input_scale) * float(1 << (31 - DIFFERENCE_INTEGER_BITS))
    if not (math.isfinite(real) and real > 1.0):
        raise ValueError(f"softmax needs 2^-26 < beta * scale < inf, not {beta} * {input_scale}")
    mantissa, left_shift = math.frexp(min(real, float(_INT32_MAXIMUM)))
    multiplier = math.floor(mantissa * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier, left_shift = 1 << 30, left_shift + 1
    # 31 in Q5.26, divided by what the left shift multiplies with.
    radius = ((1 << DIFFERENCE_INTEGER_BITS) - 1) << (31 - DIFFERENCE_INTEGER_BITS)
    return SoftmaxConstants(multiplier, left_shift, -(radius >> left_shift))


def exp_table(input_scale: float, beta: float = 1.0) -> NDArray[np.int32]:
    """The exponentials of all differences of two int8 values.

    Args:
        input_scale: scale of the int8 input.
        beta: factor of the exponent.

    Returns:
        int32[256] in Q0.31: entry ``k`` is ``exp(-beta * scale * k)``, for ``k = max(q) - q``;
        zero below the kernel's smallest difference.

    Raises:
        ValueError: as :func:`softmax_constants`.
    """
    constants = softmax_constants(input_scale, beta)
    difference = -np.arange(256, dtype=np.int64)
    kept = difference >= constants.difference_minimum
    shifted = np.where(kept, difference, 0) << constants.left_shift
    scaled = saturating_rounding_doubling_high_mul(shifted, constants.multiplier)
    return np.asarray(np.where(kept, exp_on_negative_values(scaled), 0).astype(np.int32))


def softmax_int8(
    q: ArrayLike, input_scale: float, beta: float = 1.0, axis: int = -1
) -> NDArray[np.int8]:
    """Softmax of an int8 tensor.

    Args:
        q: int8, any shape; the zero point does not matter.
        input_scale: scale of ``q``.
        beta: factor of the exponent.
        axis: the axis that is normalized.

    Returns:
        int8, the shape of ``q``, with scale 1/256 and zero point -128.

    Raises:
        ValueError: ``q`` is not int8 or the axis is empty, the row is so long that the sum of its
            exponentials overflows int32 (4096 equal entries), or as :func:`softmax_constants`.
    """
    values = np.asarray(q)
    if values.dtype != np.int8:
        raise ValueError(f"softmax_int8 takes int8, not {values.dtype}")
    if values.ndim == 0 or values.shape[axis] == 0:
        raise ValueError("softmax needs an axis with entries")
    wide = values.astype(np.int64)
    table = exp_table(input_scale, beta).astype(np.int64)
    exponentials = table[wide.max(axis=axis, keepdims=True) - wide]
    total = rounding_divide_by_pot(exponentials, SUM_INTEGER_BITS).sum(axis=axis, keepdims=True)
    if np.any(total > _INT32_MAXIMUM):
        raise ValueError("the sum of exponentials overflows int32; the row is too long")
    scale, bits_over_unit = reciprocal(total)
    product = saturating_rounding_doubling_high_mul(scale, exponentials)
    output = rounding_divide_by_pot(product, bits_over_unit + OUTPUT_SHIFT) + OUTPUT_ZERO_POINT
    return np.asarray(np.clip(output, -128, 127).astype(np.int8))


def int16_tables(precision: DTypeLike) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Tables of the 16-bit softmax: ``exp`` on [-10, 0] and ``1 / (1 + x)`` on [0, 1], in Q0.15.

    Args:
        precision: float64 (LiteRT) or float32 (TensorFlow Lite Micro).

    Returns:
        Both, int16 with 513 entries each.
    """
    kind = np.dtype(precision).type

    def exponential(x: NDArray[np.float64]) -> NDArray[Any]:
        return np.asarray(np.exp(x).astype(precision))

    def inverse(x: NDArray[np.float64]) -> NDArray[Any]:
        return np.asarray(kind(1) / (kind(1) + x.astype(precision)))

    return (
        populate(exponential, *_ends(-10.0, 0.0, precision), 32768.0, precision),
        populate(inverse, *_ends(0.0, 1.0, precision), 32768.0, precision),
    )


def _ends(low: float, high: float, precision: DTypeLike) -> tuple[float, float]:
    """The ends of an interval as LUTPopulate computes them in float64, from 1/65535 of it."""
    if np.dtype(precision) == np.float32:
        return low, high
    step = (high - low) / 65535.0
    zero_point = 32767 if high == 0.0 else -32768
    return step * (-32768 - zero_point), step * (32767 - zero_point)


def softmax_int16(
    q: ArrayLike,
    input_scale: float,
    tables: tuple[NDArray[np.int16], NDArray[np.int16]],
    axis: int = -1,
) -> NDArray[np.int16]:
    """Softmax of an int16 tensor.

    Args:
        q: int16, any shape.
        input_scale: scale of ``q``.
        tables: of :func:`int16_tables`.
        axis: the axis that is normalized.

    Returns:
        int16, the shape of ``q``, with scale 1/32768 and zero point 0.

    Raises:
        ValueError: the input scale is beyond what the kernel holds.
    """
    wide = np.asarray(q).astype(np.int64)
    difference = wide - wide.max(axis=axis, keepdims=True)
    scaled = rescale(difference, int16_scale(input_scale), Rounding.DOUBLE) + 32767
    exponential = interpolate(np.clip(scaled, -32768, 32767), tables[0])
    total = exponential.sum(axis=axis, keepdims=True)
    bits = 31 - _count_leading_zeros(total)
    centered = (((total << (30 - bits)) + (1 << 13)) >> 14) - 98304
    reciprocal = interpolate(np.clip(centered, -32768, 32767), tables[1])
    product = (exponential * reciprocal + (np.int64(1) << (bits - 1))) >> bits
    return np.asarray(np.clip(product, 0, 32767).astype(np.int16))


def int16_scale(input_scale: float) -> FixedPoint:
    """How differences of int16 inputs are brought to 10/65535, the step of the exponentials.

    Args:
        input_scale: float32 scale of the input.

    Returns:
        The factor in fixed point.

    Raises:
        ValueError: the scale is too large.
    """
    return quantize_multiplier(float(np.float32(input_scale)) / (10.0 / 65535.0))


def saturating_rounding_doubling_high_mul(a: ArrayLike, b: ArrayLike) -> Integers:
    """``round(a * b / 2^31)``, ties upward: the product of two Q0.31 numbers.

    Args:
        a: integers in the range of int32; broadcasts.
        b: integers in the range of int32; broadcasts.

    Returns:
        int64 in the range of int32; ``-2^31 * -2^31`` saturates to ``2^31 - 1``.
    """
    # gemmlowp truncates (ab + nudge) / 2^31 with a nudge of 1 - 2^30 for negative products, which
    # is the floor of (ab + 2^30) / 2^31.
    product = np.asarray(a, dtype=np.int64) * np.asarray(b, dtype=np.int64)
    return np.asarray(np.minimum((product + (1 << 30)) >> 31, _INT32_MAXIMUM))


def rounding_divide_by_pot(x: ArrayLike, exponent: ArrayLike) -> Integers:
    """``round(x / 2^exponent)``, ties away from zero.

    Args:
        x: integers in the range of int32; broadcasts.
        exponent: 0..62. gemmlowp's function is not defined above 31, although rows of 512 and more
            nearly equal entries get there (LiteRT 2.3's reference kernel ends the process); the
            mathematical value, zero for every int32, is given.

    Returns:
        int64.
    """
    value = np.asarray(x, dtype=np.int64)
    power = np.asarray(exponent, dtype=np.int64)
    mask = np.left_shift(np.int64(1), power) - 1
    threshold = (mask >> 1) + (value < 0)
    return np.asarray((value >> power) + ((value & mask) > threshold))


def exp_on_negative_values(a: ArrayLike, integer_bits: int = DIFFERENCE_INTEGER_BITS) -> Integers:
    """``exp(a)`` for ``a <= 0``: a polynomial on [-1/4, 0) times one factor a bit of the rest.

    Args:
        a: with ``integer_bits`` integer bits and ``31 - integer_bits`` fraction bits,
            -2^31 <= a <= 0.
        integer_bits: at most 5.

    Returns:
        int64, Q0.31 in 0..2^31 - 1; exactly the largest for ``a == 0``.
    """
    value = np.asarray(a, dtype=np.int64)
    quarter = 1 << (29 - integer_bits)
    # The part of a in [-1/4, 0), and the multiple of 1/4 that remains.
    fraction = (value & (quarter - 1)) - quarter
    remainder = fraction - value
    result = exp_on_quarter_interval(fraction << integer_bits)
    for bit, factor in enumerate(_EXP_FACTORS[: integer_bits + 2], start=29 - integer_bits):
        scaled = saturating_rounding_doubling_high_mul(result, factor)
        result = np.where((remainder >> bit) & 1, scaled, result)
    return np.asarray(np.where(value == 0, _INT32_MAXIMUM, result))


def exp_on_quarter_interval(a: ArrayLike) -> Integers:
    """``exp(a)`` for ``-1/4 <= a < 0``: a Taylor polynomial of degree four around -1/8.

    Args:
        a: Q0.31, -2^29 <= a < 0.

    Returns:
        int64, Q0.31.
    """
    multiply = saturating_rounding_doubling_high_mul
    x = np.asarray(a, dtype=np.int64) + (1 << 28)
    x2 = multiply(x, x)
    x3 = multiply(x2, x)
    x4 = multiply(x2, x2)
    # x4/24 + x3/6 + x2/2, written as ((x4/4 + x3)/3 + x2)/2.
    tail = rounding_divide_by_pot(multiply(rounding_divide_by_pot(x4, 2) + x3, _ONE_THIRD) + x2, 1)
    return np.asarray(_EXP_MINUS_ONE_EIGHTH + multiply(_EXP_MINUS_ONE_EIGHTH, x + tail))


def one_over_one_plus_x(a: ArrayLike) -> Integers:
    """``1 / (1 + a)`` for ``0 <= a < 1`` by three Newton-Raphson steps.

    Args:
        a: Q0.31, 0 <= a < 2^31.

    Returns:
        int64, Q0.31 in the range of int32.
    """
    # 2 / (1 + a) in Q2.29 is, halved, 1 / (1 + a) in Q1.30; one bit up is Q0.31.
    return _saturate(_two_over_one_plus_x(a) << 1)


def one_minus_x_over_one_plus_x(a: ArrayLike) -> Integers:
    """``(1 - a) / (1 + a)`` for ``0 <= a < 1``.

    Args and result are those of :func:`one_over_one_plus_x`.
    """
    return _saturate((_two_over_one_plus_x(a) - _ONE_Q2) << 2)


def _two_over_one_plus_x(a: ArrayLike) -> Integers:
    multiply = saturating_rounding_doubling_high_mul
    # gemmlowp's RoundingHalfSum(a, 1.0); the sum is positive, so its tie goes upward.
    half_denominator = (np.asarray(a, dtype=np.int64) + _INT32_MAXIMUM + 1) >> 1
    x = _48_OVER_17 + multiply(half_denominator, _MINUS_32_OVER_17)
    for _ in range(3):
        error = _ONE_Q2 - multiply(half_denominator, x)
        # The product of two Q2.29 numbers is Q4.27; two bits up make it Q2.29 again.
        x = x + _saturate(multiply(x, error) << 2)
    return np.asarray(x)


def reciprocal(total: ArrayLike) -> tuple[Integers, Integers]:
    """The reciprocal of a sum of exponentials.

    The sum is shifted to [1, 2) and inverted there; TensorFlow Lite's GetReciprocal.

    Args:
        total: Q12.19, 1 <= total < 2^31.

    Returns:
        The reciprocal of the normalized sum in Q0.31 and the number of bits of the sum above one:
        ``1 / sum = reciprocal * 2^-bits``. Both int64, the shape of ``total``.

    Raises:
        ValueError: a sum is out of range.
    """
    value = np.asarray(total, dtype=np.int64)
    if np.any((value < 1) | (value > _INT32_MAXIMUM)):
        raise ValueError("the sum of exponentials must be a positive int32")
    headroom_plus_one = _count_leading_zeros(value)
    minus_one = (value << headroom_plus_one) - (1 << 31)
    return one_over_one_plus_x(minus_one), SUM_INTEGER_BITS - headroom_plus_one


def _count_leading_zeros(value: Integers) -> Integers:
    """Leading zeros of positive int32 values; frexp is exact on them."""
    _, exponent = np.frexp(value.astype(np.float64))
    return np.asarray(32 - exponent.astype(np.int64))


def _saturate(value: Integers) -> Integers:
    return np.asarray(np.clip(value, _INT32_MINIMUM, _INT32_MAXIMUM))
