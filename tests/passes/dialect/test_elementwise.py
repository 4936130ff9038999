"""Add, Sub, Mul and PRelu of the dialect against plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.passes.dialect import python_integers as judge
from tests.passes.dialect.one_node import run, scalars, to

PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

#: Pairs of shapes that broadcast: equal, per channel, scalar, one channel, empty, odd.
SHAPES = (
    ((2, 3, 5, 7), (2, 3, 5, 7)),
    ((1, 4, 3, 3), (4, 1, 1)),
    ((3, 1, 5, 1), (1, 4, 1, 2)),
    ((7,), (7,)),
    ((5, 1), (1,)),
    ((2, 9), ()),
    ((0, 3, 2, 2), (3, 1, 1)),
)

ROUNDINGS = ("Double", "Single")


def integers(generator, dtype, shape, spread):
    """Random integers; a small spread or the rails themselves make ties and saturation frequent."""
    limits = np.iinfo(dtype)
    if spread == "rails":
        return generator.choice(np.array([limits.min, limits.max], dtype), shape)
    low, high = (limits.min, limits.max) if spread == "full" else (-3, 3)
    return generator.integers(low, high, shape, endpoint=True).astype(dtype)


@st.composite
def operand_pairs(draw, dtypes=(np.int8, np.int16)):
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    left, right = draw(st.sampled_from(SHAPES))
    spread = st.sampled_from(("full", "rails", "near zero"))
    a = integers(generator, draw(st.sampled_from(dtypes)), left, draw(spread))
    b = integers(generator, draw(st.sampled_from(dtypes)), right, draw(spread))
    return (a, b) if draw(st.booleans()) else (b, a)


def zero_points(dtype):
    """Any int8 zero point, rails included; int16 is symmetric."""
    if np.dtype(dtype) == np.int8:
        return st.integers(-128, 127) | st.sampled_from((-128, 0, 127))
    return st.just(0)


multipliers = st.integers(2**30, 2**31 - 1) | st.sampled_from((2**30, 3 * 2**29, 2**31 - 1))


@st.composite
def output_stages(draw, dtype):
    limits = np.iinfo(dtype)
    zero_point = draw(zero_points(dtype))
    bounds = draw(st.sampled_from(("type", "relu", "narrow")))
    minimum = limits.min if bounds == "type" else zero_point
    maximum = min(zero_point + 5, limits.max) if bounds == "narrow" else limits.max
    return {"zero_point": zero_point, "minimum": int(minimum), "maximum": int(maximum)}


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("operator", "sign"), [("Add", 1), ("Sub", -1)])
@PROPERTY
@given(data=st.data())
def test_sums_equal_python_integers(rounding, operator, sign, data):
    a, b = data.draw(operand_pairs())
    dtype = data.draw(st.sampled_from((np.int8, np.int16)))
    wide = np.int16 in (a.dtype, b.dtype)
    parameters = {
        "a_zero_point": data.draw(zero_points(a.dtype)),
        "b_zero_point": data.draw(zero_points(b.dtype)),
        "left_shift": 15 if wide else 20,
        "a_multiplier": data.draw(multipliers),
        "a_shift": data.draw(st.integers(31, 40)),
        "b_multiplier": data.draw(multipliers),
        "b_shift": data.draw(st.integers(31, 40)),
        "multiplier": data.draw(multipliers),
        "shift": data.draw(st.integers(38, 60)),
        **data.draw(output_stages(dtype)),
    }
    inputs = {"a": a, "b": b, **scalars(**parameters)}
    rank = max(a.ndim, b.ndim)
    result = run(f"{operator}{rounding}", inputs, dtype, rank=rank, to=to(dtype))
    np.testing.assert_array_equal(result, judge.add(rounding, sign, a, b, parameters))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@PROPERTY
@given(data=st.data())
def test_products_equal_python_integers(rounding, data):
    a, b = data.draw(operand_pairs())
    dtype = data.draw(st.sampled_from((np.int8, np.int16)))
    parameters = {
        "a_zero_point": data.draw(zero_points(a.dtype)),
        "b_zero_point": data.draw(zero_points(b.dtype)),
        "multiplier": data.draw(multipliers),
        "shift": data.draw(st.integers(2, 62)),
        **data.draw(output_stages(dtype)),
    }
    inputs = {"a": a, "b": b, **scalars(**parameters)}
    rank = max(a.ndim, b.ndim)
    result = run(f"Mul{rounding}", inputs, dtype, rank=rank, to=to(dtype))
    np.testing.assert_array_equal(result, judge.mul(rounding, a, b, parameters))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@PROPERTY
@given(data=st.data())
def test_prelu_equals_python_integers(rounding, data):
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shape, slope_shape = data.draw(
        st.sampled_from(
            (
                ((2, 3, 5, 7), (3, 1, 1)),
                ((1, 1, 4, 4), (1, 1, 1)),
                ((4, 6), (6,)),
                ((4, 6), (1,)),
                ((0, 3, 2, 2), (3, 1, 1)),
            )
        )
    )
    spread = st.sampled_from(("full", "rails", "near zero"))
    x = integers(
        generator, data.draw(st.sampled_from((np.int8, np.int16))), shape, data.draw(spread)
    )
    slope = integers(generator, np.int8, slope_shape, data.draw(spread))
    dtype = data.draw(st.sampled_from((np.int8, np.int16)))
    parameters = {
        "x_zero_point": data.draw(zero_points(x.dtype)),
        "positive_multiplier": data.draw(multipliers),
        "positive_shift": data.draw(st.integers(28, 36)),
        "negative_multiplier": data.draw(multipliers),
        "negative_shift": data.draw(st.integers(28, 44)),
        **data.draw(output_stages(dtype)),
    }
    numbers = scalars(**parameters)
    inputs = {"x": x, "x_zero_point": numbers.pop("x_zero_point"), "slope": slope, **numbers}
    result = run(f"PRelu{rounding}", inputs, dtype, to=to(dtype))
    np.testing.assert_array_equal(result, judge.prelu(rounding, x, slope, parameters))


def test_every_pair_of_int8_values_adds_exactly():
    every = np.arange(-128, 128, dtype=np.int8)
    a, b = every[:, None], every[None, :]
    parameters = {
        "a_zero_point": 0,
        "b_zero_point": 127,
        "left_shift": 20,
        "a_multiplier": 2**30,
        "a_shift": 31,
        "b_multiplier": 1717986918,
        "b_shift": 33,
        "multiplier": 2**30,
        "shift": 49,
        "zero_point": 0,
        "minimum": -128,
        "maximum": 127,
    }
    inputs = {"a": a, "b": b, **scalars(**parameters)}
    constants = [name for name in inputs if name not in "ab"]
    for operator, sign in (("Add", 1), ("Sub", -1)):
        name = f"{operator}Double"
        expected = judge.add("Double", sign, a, b, parameters)
        result = run(name, inputs, np.int8, constants=constants, to=to(np.int8))
        np.testing.assert_array_equal(result, expected)
        assert {-128, 127} <= set(result.ravel().tolist())
