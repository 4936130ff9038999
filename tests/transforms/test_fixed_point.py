"""Roundings against implementations in Python integers, written from the kernels' definitions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intaglio.transforms.fixed_point import (
    FixedPoint,
    Rounding,
    quantize_multiplier,
    requantize,
    rescale,
    rescale_double,
    rescale_float,
    rescale_real,
    rescale_single,
    rescale_wide,
    split_scale,
)

INT32 = st.integers(-(2**31), 2**31 - 1)
MULTIPLIER = st.integers(2**30, 2**31 - 1)
SHIFT = st.integers(2, 62)


def high_mul(a: int, b: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul: C division truncates."""
    if a == b == -(2**31):
        return 2**31 - 1
    product = a * b
    nudge = 2**30 if product >= 0 else 1 - 2**30
    quotient = abs(product + nudge) // 2**31
    return quotient if product + nudge >= 0 else -quotient


def divide_by_pot(x: int, exponent: int) -> int:
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if (x & mask) > threshold else 0)


def gemmlowp_double(acc: int, multiplier: int, shift: int) -> int:
    exponent = 31 - shift
    left, right = max(exponent, 0), max(-exponent, 0)
    return divide_by_pot(high_mul(acc << left, multiplier), right)


def nearest_ties_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


@settings(max_examples=600, deadline=None)
@given(INT32, MULTIPLIER, SHIFT)
@example(-1, 2**30, 62)
@example(-(2**31), 2**31 - 1, 32)
@example(2**31 - 1, 2**31 - 1, 2)
def test_double_equals_the_two_steps_of_gemmlowp(acc: int, multiplier: int, shift: int) -> None:
    assert rescale_double(acc, multiplier, shift) == gemmlowp_double(acc, multiplier, shift)


def test_double_equals_the_two_steps_around_every_tie_and_shift() -> None:
    for shift in range(2, 63):
        for multiplier in (2**30, 2**30 + 1, 3 * 2**29, 2**31 - 1):
            # The product is near one half of 2^shift at odd multiples of this.
            half = (1 << shift) // multiplier // 2
            near = {sign * odd * half for sign in (1, -1) for odd in (1, 3, 5)}
            values = {v + d for v in near for d in (-1, 0, 1)} | {2**31 - 1, -(2**31)}
            for acc in (v for v in values if -(2**31) <= v < 2**31):
                expected = gemmlowp_double(acc, multiplier, shift)
                assert rescale_double(acc, multiplier, shift) == expected, (acc, multiplier, shift)


@pytest.mark.parametrize(
    ("acc", "double", "single"),
    [(1, 1, 1), (-1, -1, 0), (3, 2, 2), (-3, -2, -1), (0, 0, 0), (2, 1, 1), (-2, -1, -1)],
)
def test_ties_of_a_half(acc: int, double: int, single: int) -> None:
    # 0.5 is multiplier 2^30 and shift 31; a shift of 32 exposes the second rounding.
    half = quantize_multiplier(0.25)
    assert half.shift == 32
    assert rescale_double(2 * acc, half.multiplier, half.shift) == double
    assert rescale_single(2 * acc, half.multiplier, half.shift) == single


def test_double_and_single_differ_on_a_double_rounding() -> None:
    # 0.499999...: the first rounding makes it 0.5, the second 1.
    multiplier, shift = 2**31 - 1, 32
    assert rescale_single(1, multiplier, shift) == 0
    assert rescale_double(1, multiplier, shift) == 1


@settings(max_examples=400, deadline=None)
@given(INT32, MULTIPLIER, SHIFT)
@example(-(2**31), 2**31 - 1, 62)
def test_single_is_the_nearest_integer_with_ties_upward(acc: int, m: int, shift: int) -> None:
    assert rescale_single(acc, m, shift) == nearest_ties_up(Fraction(acc * m, 2**shift))


def tflite_wide(acc: int, multiplier: int, exponent: int) -> int:
    reduced = (multiplier + (1 << 15)) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF
    total = 15 - exponent
    return (acc * reduced + (1 << (total - 1))) >> total


@settings(max_examples=400, deadline=None)
@given(st.integers(-(2**47), 2**47 - 1), MULTIPLIER, st.integers(-31, 7))
@example(-(2**47), 2**31 - 1, -31)
@example(2**47 - 1, 0x7FFF0000, 7)
@example(1, 0x7FFEFFFF, 0)
def test_wide_equals_the_64_bit_overload(acc: int, multiplier: int, exponent: int) -> None:
    assert rescale_wide(acc, multiplier, 31 - exponent) == tflite_wide(acc, multiplier, exponent)


def test_wide_is_the_nearest_of_the_reduced_product() -> None:
    reduced = Fraction((1518500250 + 2**15) // 2**16)
    for acc in (-(2**46) + 12345, -77, 0, 5, 2**40 + 1):
        expected = nearest_ties_up(reduced * acc / 2**24)
        assert rescale_wide(acc, 1518500250, 40) == expected


@settings(max_examples=200, deadline=None)
@given(INT32, st.floats(1e-9, 4.0))
def test_float_rounds_the_float32_product_to_even(acc: int, scale: float) -> None:
    product = np.float32(acc) * np.float32(scale)
    assert rescale_float(acc, scale) == round(Fraction(float(product)))


def test_float_ties_go_to_even() -> None:
    assert rescale_float([1, 3, 5, -1, -3], 0.5).tolist() == [0, 2, 2, 0, -2]


@settings(max_examples=400, deadline=None)
@given(st.floats(2.0**-32, 2.0**29, exclude_max=True, allow_subnormal=False))
@example(math.nextafter(1.0, 0.0))
@example(2.0**-32)
@example(1.0)
def test_multiplier_and_shift_are_the_nearest(scale: float) -> None:
    try:
        fixed = quantize_multiplier(scale)
    except ValueError:
        assert scale > 2.0**29 * (1 - 2.0**-31)
        return
    assert 2**30 <= fixed.multiplier < 2**31
    assert 2 <= fixed.shift <= 62
    error = abs(Fraction(int(fixed.multiplier)) / 2 ** int(fixed.shift) - Fraction(scale))
    assert error <= Fraction(scale) / 2**31
    assert float(fixed.real) == int(fixed.multiplier) * 2.0 ** -int(fixed.shift)


def test_a_mantissa_that_rounds_up_carries_into_the_exponent() -> None:
    fixed = quantize_multiplier(math.nextafter(1.0, 0.0))
    assert (int(fixed.multiplier), int(fixed.shift)) == (2**30, 30)


def test_the_half_of_a_mantissa_rounds_up() -> None:
    # (2^30 + 0.5) / 2^31 and the next odd one: neither truncation nor ties to even.
    fixed = quantize_multiplier([(2**30 + 0.5) / 2**31, (2**30 + 1.5) / 2**31])
    assert fixed.multiplier.tolist() == [2**30 + 1, 2**30 + 2]


def test_tiny_scales_are_flushed_at_the_limit_of_the_shift() -> None:
    fixed = quantize_multiplier([0.0, 5e-324, math.nextafter(2.0**-32, 0.0) * 0.999, 2.0**-32])
    assert fixed.multiplier.tolist() == [0, 0, 0, 2**30]
    assert fixed.shift.tolist() == [31, 31, 31, 62]
    for rounding in ("double", "single", "wide", "float"):
        assert rescale([7, 7, 7, 7], fixed, rounding).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("scale", [-1.0, math.nan, math.inf, 2.0**29, 1e300])
def test_scales_that_have_no_fixed_point_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        quantize_multiplier([1.0, scale])


def test_scales_keep_their_shape_and_broadcast_over_channels() -> None:
    scales = np.array([[0.5], [0.25], [0.001]])
    fixed = quantize_multiplier(scales)
    assert fixed.multiplier.shape == fixed.shift.shape == (3, 1)
    assert fixed.multiplier.dtype == np.int32
    assert fixed.shift.dtype == np.int64
    acc = np.arange(-6, 6, dtype=np.int32).reshape(3, 4)
    for rounding in Rounding:
        together = rescale(acc, fixed, rounding)
        assert together.dtype == np.int64
        for i in range(3):
            alone = rescale(acc[i], quantize_multiplier(scales[i]), rounding)
            np.testing.assert_array_equal(together[i], alone)


def test_rescale_dispatches_by_name() -> None:
    fixed = FixedPoint(np.array([2**31 - 1], np.int32), np.array([32]))
    results = {r.value: int(rescale([1], fixed, r.value)[0]) for r in Rounding}
    assert results == {"double": 1, "single": 0, "wide": 0, "real": 0, "float": 0}
    with pytest.raises(ValueError, match="triple"):
        rescale([1], fixed, "triple")


def test_the_real_rescale_is_that_of_float64() -> None:
    scale = 1 / 6
    # 3 / 6 is a tie only after the product was rounded to float64; ties go away from zero.
    assert rescale_real([3, -3, 9, 2], scale).tolist() == [1, -1, 2, 0]
    assert rescale_real([10, -10, 6], 0.25).tolist() == [3, -3, 2]
    with pytest.raises(ValueError, match="2\\^44"):
        rescale_real([1 << 44], 0.25)


def test_scales_split_without_loss() -> None:
    scales = np.array([1 / 3, 0.75, 2.0**-40, 100.0, 0.0, 1e-30])
    mantissa, shift = split_scale(scales)
    assert np.ldexp(mantissa.astype(np.float64), -shift)[:5].tolist() == scales[:5].tolist()
    assert mantissa[5] == 0
    assert shift.min() >= 46
    assert shift.max() <= 97
    for scale in (128.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="scale"):
            split_scale(scale)


def test_operands_out_of_their_domain_are_refused() -> None:
    for function in (rescale_double, rescale_single):
        with pytest.raises(ValueError, match="int32"):
            function(2**31, 2**30, 31)
        for shift in (1, 63):
            with pytest.raises(ValueError, match="shift"):
                function(1, 2**30, shift)
    with pytest.raises(ValueError, match="2\\^47"):
        rescale_wide(2**47, 2**30, 31)
    with pytest.raises(ValueError, match="shift"):
        rescale_wide(1, 2**30, 23)
    with pytest.raises(ValueError, match="integers"):
        rescale_double(1.5, 2**30, 31)


def test_fixed_point_checks_its_fields() -> None:
    with pytest.raises(ValueError, match="multiplier"):
        FixedPoint(np.array([5], np.int32), np.array([31]))
    with pytest.raises(ValueError, match="shift"):
        FixedPoint(np.array([2**30], np.int32), np.array([63]))
    with pytest.raises(ValueError, match="differ"):
        FixedPoint(np.array([2**30], np.int32), np.array([31, 31]))


def test_requantize_adds_the_zero_point_before_it_clamps() -> None:
    half = quantize_multiplier(0.5)
    result = requantize([-1000, -20, 0, 20, 1000], half, "double", -5, -128, 127, "int8")
    assert result.dtype == np.int8
    assert result.tolist() == [-128, -15, -5, 5, 127]
    relu = requantize([-1000, -20, 0, 20, 1000], half, "double", -5, -5, 100, np.int8)
    assert relu.tolist() == [-5, -5, -5, 5, 100]


@pytest.mark.parametrize(("minimum", "maximum"), [(-129, 127), (0, 128), (5, 4)])
def test_requantize_refuses_a_clamp_that_does_not_fit(minimum: int, maximum: int) -> None:
    with pytest.raises(ValueError, match="clamp"):
        requantize([1], quantize_multiplier([0.5]), "double", 0, minimum, maximum, "int8")
