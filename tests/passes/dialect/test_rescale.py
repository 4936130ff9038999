"""RescaleDouble, RescaleSingle and RescaleWide against plain Python integers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.transforms import fixed_point
from tests.passes.dialect.one_node import INT8, INT16, INT32, run, scalars, to
from tests.passes.dialect.python_integers import rescale

ROUNDINGS = ("Double", "Single", "Wide")
VALUES_PER_EXAMPLE = 20_000
EXAMPLES = 46
MILLION = 1_000_000

#: Accumulator bits and smallest shift.
LIMITS = {"Double": (31, 2), "Single": (31, 2), "Wide": (47, 24)}

LOOSE = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def accumulator_type(rounding):
    return np.int64 if rounding == "Wide" else np.int32


def compare(rounding, acc, multiplier, shift, zero_point=0, minimum=INT32.min, maximum=INT32.max):
    inputs = {
        "acc": acc,
        "multiplier": multiplier,
        "shift": shift,
        **scalars(zero_point=zero_point, minimum=minimum, maximum=maximum),
    }
    result = run(f"Rescale{rounding}", inputs, np.int32, to=to(np.int32))
    expected = rescale(rounding, acc, multiplier, shift, zero_point, minimum, maximum)
    wrong = np.flatnonzero(result != expected)
    assert wrong.size == 0, [
        int(array.ravel()[wrong[0]]) for array in (acc, multiplier, shift, result, expected)
    ]


def boundary_accumulators(bits):
    powers = [1 << k for k in range(bits)]
    near = {p + d for p in powers for d in (-1, 0, 1)}
    values = {0, (1 << bits) - 1, -(1 << bits)} | near | {-v for v in near}
    return sorted(v for v in values if -(1 << bits) <= v < 1 << bits)


def grid(rounding):
    """Every boundary accumulator with every boundary multiplier and every shift."""
    bits, smallest_shift = LIMITS[rounding]
    draw = np.random.default_rng(7)
    multipliers = [0, 1 << 30, (1 << 30) + 1, 3 << 29, 0x7FFEFFFF, 0x7FFF0000, (1 << 31) - 1]
    multipliers += draw.integers(1 << 30, 1 << 31, 3).tolist()
    cases = itertools.product(boundary_accumulators(bits), multipliers, range(smallest_shift, 63))
    acc, multiplier, shift = (np.array(column) for column in zip(*cases, strict=True))
    return (
        acc.astype(accumulator_type(rounding)),
        multiplier.astype(np.int32),
        shift.astype(np.int8),
    )


@st.composite
def columns(draw, rounding):
    """Accumulators, multipliers and shifts; hypothesis chooses magnitudes, ties and a seed."""
    bits, smallest_shift = LIMITS[rounding]
    generator = np.random.default_rng(draw(st.integers(0, 2**63 - 1)))
    size = VALUES_PER_EXAMPLE
    magnitude = draw(st.integers(1, bits))
    # Trailing zeros of both factors make exact ties of the rounding frequent.
    acc_zeros = draw(st.integers(0, magnitude - 1))
    multiplier_zeros = draw(st.integers(0, 30))
    first_shift = draw(st.integers(smallest_shift, 62))
    last_shift = draw(st.integers(first_shift, 62))
    acc = generator.integers(-(1 << magnitude), 1 << magnitude, size) >> acc_zeros << acc_zeros
    multiplier = generator.integers(1 << 30, 1 << 31, size)
    multiplier = multiplier >> multiplier_zeros << multiplier_zeros
    shift = generator.integers(first_shift, last_shift + 1, size)
    return (
        acc.astype(accumulator_type(rounding)),
        multiplier.astype(np.int32),
        shift.astype(np.int8),
    )


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_a_million_cases_equal_python_integers(rounding):
    acc, multiplier, shift = grid(rounding)
    compare(rounding, acc, multiplier, shift)
    compared = acc.size

    @settings(LOOSE, max_examples=EXAMPLES)
    @given(columns(rounding))
    def drawn(case):
        nonlocal compared
        compare(rounding, *case)
        compared += case[0].size

    drawn()
    assert compared >= MILLION


@pytest.mark.parametrize("rounding", ["Double", "Single"])
def test_int64_accumulators_equal_int32_ones(rounding):
    acc, multiplier, shift = grid(rounding)
    compare(rounding, acc.astype(np.int64)[::7], multiplier[::7], shift[::7])


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 5, 3, 7), (0, 5, 3, 3), (3, 1, 1, 9)])
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
def test_per_channel_constants_clamp_and_zero_point(rounding, shape, dtype):
    generator = np.random.default_rng(3)
    channels = shape[1]
    limits = np.iinfo(dtype)
    acc = generator.integers(-(2**26), 2**26, shape).astype(accumulator_type(rounding))
    multiplier = generator.integers(2**30, 2**31, (channels, 1, 1)).astype(np.int32)
    shift = generator.integers(32, 44, (channels, 1, 1)).astype(np.int8)
    for zero_point, minimum, maximum in (
        (0, limits.min, limits.max),
        (INT8.min, INT8.min, INT8.max),
        (INT8.max, INT8.min, INT8.max),
        (5, 5, 100),
        (-3, 7, 7),
    ):
        inputs = {
            "acc": acc,
            "multiplier": multiplier,
            "shift": shift,
            **scalars(zero_point=zero_point, minimum=minimum, maximum=maximum),
        }
        result = run(
            f"Rescale{rounding}",
            inputs,
            dtype,
            constants=[name for name in inputs if name != "acc"],
            to=to(dtype),
        )
        expected = rescale(rounding, acc, multiplier, shift, zero_point, minimum, maximum)
        np.testing.assert_array_equal(result, expected)
        dynamic = run(f"Rescale{rounding}", inputs, dtype, to=to(dtype))
        np.testing.assert_array_equal(dynamic, expected)


@pytest.mark.parametrize("rounding", ["Double", "Single"])
@pytest.mark.parametrize("acc", [INT32.min, -(2**20), -1, 0, 1, 2**20, INT32.max])
def test_results_far_outside_the_type_saturate(rounding, acc):
    inputs = {
        "acc": np.array([acc], np.int32),
        "multiplier": np.array([2**31 - 1], np.int32),
        "shift": np.array([2], np.int8),
        **scalars(zero_point=0, minimum=INT16.min, maximum=INT16.max),
    }
    result = run(f"Rescale{rounding}", inputs, np.int16, to=to(np.int16))
    assert result[0] == (INT16.max if acc > 0 else INT16.min if acc < 0 else 0)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("result", [2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**33, 2**38])
def test_clamping_looks_at_all_64_bits(rounding, result):
    # onnxruntime's own Clip of int64 lets values in [2^31, 2^32) pass below 127 (x86).
    shift = {"Double": 16, "Single": 16, "Wide": 24}[rounding]
    step = 1 << (30 - shift) if rounding != "Wide" else 1 << (14 - (shift - 16))
    acc = np.array([sign * (result // step) for sign in (1, -1)], accumulator_type(rounding))
    inputs = {
        "acc": acc,
        "multiplier": np.array(2**30, np.int32),
        "shift": np.array(shift, np.int8),
        **scalars(zero_point=0, minimum=-128, maximum=127),
    }
    assert run(f"Rescale{rounding}", inputs, np.int8, to=to(np.int8)).tolist() == [127, -128]


def test_ties_of_the_second_rounding_go_away_from_zero():
    # 0.5, 1.5, -0.5, -1.5 exactly: 2^30 * acc / 2^31.
    half = {
        "acc": np.array([1, 3, -1, -3], np.int32),
        "multiplier": np.array(2**30, np.int32),
        **scalars(zero_point=0, minimum=-9, maximum=9),
    }
    results = {}
    for rounding in ("Double", "Single"):
        for shift, factor in ((31, 1), (40, 2**9)):
            inputs = {
                "acc": half["acc"] * np.int32(factor),
                "multiplier": half["multiplier"],
                "shift": np.array(shift, np.int8),
                **{key: half[key] for key in ("zero_point", "minimum", "maximum")},
            }
            name = f"Rescale{rounding}"
            results[rounding, shift] = run(name, inputs, np.int8, to=to(np.int8)).tolist()
    assert results["Double", 31] == [1, 2, 0, -1]
    assert results["Double", 40] == [1, 2, -1, -2]
    assert results["Single", 31] == [1, 2, 0, -1]
    assert results["Single", 40] == [1, 2, 0, -1]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@settings(LOOSE, max_examples=20)
@given(data=st.data())
def test_the_functions_equal_the_numpy_forms(rounding, data):
    acc, multiplier, shift = data.draw(columns(rounding))
    scale = fixed_point.FixedPoint(multiplier, shift.astype(np.int64))
    expected = fixed_point.requantize(acc, scale, rounding.lower(), 3, INT8.min, INT8.max, np.int8)
    inputs = {
        "acc": acc,
        "multiplier": multiplier,
        "shift": shift,
        **scalars(zero_point=3, minimum=INT8.min, maximum=INT8.max),
    }
    result = run(f"Rescale{rounding}", inputs, np.int8, to=to(np.int8))
    np.testing.assert_array_equal(result, expected)
