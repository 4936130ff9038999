"""The vectorized kernel against the same kernel on Python integers, and against real softmax."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intaglio.transforms.softmax import (
    exp_on_negative_values,
    exp_table,
    one_over_one_plus_x,
    reciprocal,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    softmax_constants,
    softmax_int8,
)

ONE = 2**31 - 1


def high_mul(a: int, b: int) -> int:
    if a == b == -(2**31):
        return ONE
    nudged = a * b + (2**30 if a * b >= 0 else 1 - 2**30)
    return nudged // 2**31 if nudged >= 0 else -(-nudged // 2**31)


def divide_by_pot(x: int, exponent: int) -> int:
    # To nearest, halves away from zero, from the magnitude.
    magnitude = (abs(x) + ((1 << exponent) >> 1)) >> exponent
    return magnitude if x >= 0 else -magnitude


def saturate(x: int) -> int:
    return min(max(x, -(2**31)), ONE)


def scalar_exp(a: int) -> int:
    """gemmlowp's exp_on_negative_values<5>, one value."""
    if a == 0:
        return ONE
    fraction = a % 2**24 - 2**24
    x = saturate(fraction * 32) + 2**28
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    inner = high_mul(divide_by_pot(x4, 2) + x3, 715827883) + x2
    result = 1895147668 + high_mul(1895147668, x + divide_by_pot(inner, 1))
    remainder = fraction - a
    for exponent in range(-2, 5):
        factor = math.floor(math.exp(-(2.0**exponent)) * 2**31 + 0.5)
        if remainder & (1 << (26 + exponent)):
            result = high_mul(result, factor)
    return result


def scalar_reciprocal(total: int) -> tuple[int, int]:
    """GetReciprocal with 12 integer bits."""
    headroom_plus_one = 32 - total.bit_length()
    a = (total << headroom_plus_one) - 2**31
    half = (a + ONE + 1) // 2
    x = 1515870810 + high_mul(half, -1010580540)
    for _ in range(3):
        x += saturate(4 * high_mul(x, 2**29 - high_mul(half, x)))
    return saturate(2 * x), 12 - headroom_plus_one


def scalar_softmax(row: list[int], scale: float, beta: float) -> list[int]:
    real = min(beta * scale * 2**26, float(ONE))
    mantissa, left = math.frexp(real)
    multiplier = math.floor(mantissa * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, left = 2**30, left + 1
    difference_minimum = -math.floor(31 * 2.0**26 / 2.0**left)
    exponentials = [
        scalar_exp(high_mul((q - max(row)) << left, multiplier))
        if q - max(row) >= difference_minimum
        else None
        for q in row
    ]
    total = sum(divide_by_pot(e, 12) for e in exponentials if e is not None)
    scale_q31, bits = scalar_reciprocal(total)
    return [
        -128
        if e is None
        else min(max(divide_by_pot(high_mul(scale_q31, e), bits + 23) - 128, -128), 127)
        for e in exponentials
    ]


SCALE = st.floats(1e-7, 30.0)
ROW = st.lists(st.integers(-128, 127), min_size=1, max_size=40)


@settings(max_examples=250, deadline=None)
@given(ROW, SCALE, st.sampled_from([1.0, 0.5, 3.0]))
@example([-128, 127], 20.0, 1.0)
@example([0], 0.1, 1.0)
@example([5] * 40, 0.1, 1.0)
@example([-128, -127, 127, 126], 1 / 8, 1.0)
def test_softmax_equals_the_kernel_on_python_integers(
    row: list[int], scale: float, beta: float
) -> None:
    result = softmax_int8(np.array(row, np.int8), scale, beta)
    assert result.dtype == np.int8
    assert result.tolist() == scalar_softmax(row, scale, beta)


# 512 is a tie that the largest Q0.31 value, just below one, rounds down.
@pytest.mark.parametrize(
    ("n", "entry"), [(1, 127), (2, 0), (256, -127), (300, -127), (512, -128), (4095, -128)]
)
def test_rows_of_equal_entries(n: int, entry: int) -> None:
    row = [3] * n
    result = softmax_int8(np.array(row, np.int8), 0.1)
    assert result.tolist() == scalar_softmax(row, 0.1, 1.0)
    assert set(result.tolist()) == {entry}


def test_a_row_whose_sum_overflows_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        softmax_int8(np.zeros(4096, np.int8), 0.1)
    # Length alone is no reason.
    row = np.full(5000, -128, np.int8)
    row[0] = 127
    assert softmax_int8(row, 1.0)[0] == 127


@pytest.mark.parametrize("scale", [1e-3, 0.02, 0.1, 1.0])
def test_softmax_is_within_one_step_of_the_real_one(scale: float) -> None:
    q = np.random.default_rng(1).integers(-128, 128, (500, 12)).astype(np.int8)
    e = np.exp((q.astype(float) - q.max(axis=1, keepdims=True)) * scale)
    real = np.clip(np.rint(256 * e / e.sum(axis=1, keepdims=True)) - 128, -128, 127)
    assert np.abs(softmax_int8(q, scale) - real).max() <= 1


def test_any_axis() -> None:
    q = np.random.default_rng(2).integers(-128, 128, (3, 4, 5)).astype(np.int8)
    expected = np.moveaxis(softmax_int8(np.moveaxis(q, 1, -1), 0.07), -1, 1)
    np.testing.assert_array_equal(softmax_int8(q, 0.07, axis=1), expected)


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**31), 0))
@example(-(2**24))
@example(-(2**24) + 1)
@example(-1)
@example(-31 * 2**26)
def test_exponential(a: int) -> None:
    result = int(exp_on_negative_values(a))
    assert result == scalar_exp(a)
    assert abs(result / 2**31 - math.exp(a / 2**26)) < 4e-7


def test_exponential_of_zero_is_the_largest_value() -> None:
    assert exp_on_negative_values(np.array([0, -1])).tolist() == [ONE, scalar_exp(-1)]


@settings(max_examples=300, deadline=None)
@given(st.integers(1, ONE))
@example(1)
@example(2**19)
@example(2**30)
@example(ONE)
def test_reciprocal(total: int) -> None:
    inverse, bits = reciprocal(total)
    assert (int(inverse), int(bits)) == scalar_reciprocal(total)
    assert int(inverse) / 2**31 * 2.0**-bits == pytest.approx(2**19 / total, rel=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, ONE))
def test_one_over_one_plus_x(a: int) -> None:
    assert int(one_over_one_plus_x(a)) / 2**31 == pytest.approx(1 / (1 + a / 2**31), abs=1e-7)


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**31), ONE), st.integers(-(2**31), ONE))
@example(-(2**31), -(2**31))
@example(2**30, 1)
@example(-(2**30), 1)
@example(-(2**31), 1)
def test_high_mul(a: int, b: int) -> None:
    assert saturating_rounding_doubling_high_mul(a, b) == high_mul(a, b)


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**31), ONE), st.integers(0, 62))
@example(-3, 1)
@example(3, 1)
@example(-(2**31), 32)
@example(ONE, 34)
def test_divide_by_pot(x: int, exponent: int) -> None:
    assert rounding_divide_by_pot(x, exponent) == divide_by_pot(x, exponent)


def test_exp_table_is_zero_below_the_smallest_difference() -> None:
    constants = softmax_constants(1.0)
    assert (constants.multiplier, constants.left_shift) == (2**30, 27)
    # 31 / 2 of the scaled difference's range, since the mantissa is a half.
    assert constants.difference_minimum == -15
    table = exp_table(1.0)
    assert table.dtype == np.int32
    assert table.shape == (256,)
    assert table[0] == ONE
    assert table[15] == scalar_exp(-15 * 2**26) > 0
    assert not table[16:].any()


def test_constants_are_capped_for_huge_scales_and_refused_for_tiny_ones() -> None:
    constants = softmax_constants(1e6)
    assert constants.multiplier == ONE
    assert constants.difference_minimum == 0
    np.testing.assert_array_equal(exp_table(1e6), [ONE, *[0] * 255])
    for scale in (0.0, -1.0, math.nan, math.inf, 2.0**-26):
        with pytest.raises(ValueError, match="softmax needs"):
            softmax_constants(scale)


def test_a_multiplier_that_rounds_up_carries() -> None:
    constants = softmax_constants(math.nextafter(1.0, 0.0))
    assert (constants.multiplier, constants.left_shift) == (2**30, 27)


def test_other_types_and_empty_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        softmax_int8(np.zeros(3, np.uint8), 0.1)
    with pytest.raises(ValueError, match="axis"):
        softmax_int8(np.zeros((3, 0), np.int8), 0.1)
