"""Sums of whole multiples: the function itself for every pair of int8, or none at all."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.targets.tosa.emitters.arithmetic import Operand
from intaglio.targets.tosa.emitters.common import Stage
from intaglio.targets.tosa.emitters.sums import whole_sum
from tests.property.lowering_checks import Options, canonical
from tests.targets.tflite.test_emit_operators import GRAPHS, feeds_of
from tests.targets.tosa.emission import assert_same_bits, emit_float

codes = st.integers(-128, 127)
scales = st.floats(1e-4, 100).map(lambda x: float(np.float32(x)))


def fixed(real: float) -> tuple[int, int]:
    """Multiplier in Q31 and total right shift."""
    mantissa, exponent = math.frexp(real)
    multiplier = math.floor(mantissa * 2**31 + 0.5)
    if multiplier == 1 << 31:
        multiplier, exponent = 1 << 30, exponent + 1
    return multiplier, 31 - exponent


def rescaled(acc: int, multiplier: int, shift: int, double: bool) -> int:
    """TOSA's apply_scale_32, in Python's integers."""
    nudge = 1 << (shift - 1)
    if double and shift > 31:
        nudge += 1 << 30 if acc >= 0 else -(1 << 30)
    return (acc * multiplier + nudge) >> shift


def case_of(a, b, ratio, points, limits, double):
    larger = 2 * max(a, b)
    first, second = (
        Operand(point, 20, *fixed(scale / larger))
        for scale, point in zip((a, b), points, strict=False)
    )
    multiplier, shift = fixed(larger / (2**20 * max(a, b) * ratio))
    stage = Stage(np.array([multiplier]), np.array([shift]), points[2], limits, double)
    return first, second, stage


@settings(max_examples=40, deadline=None)
@given(
    scales,
    scales.filter(lambda x: x > 1e-3),
    st.floats(0.3, 3),
    st.tuples(codes, codes, codes),
    st.sampled_from([(-128, 127), (-3, 90)]),
    st.booleans(),
    st.sampled_from([1, -1]),
    st.data(),
)
def test_a_whole_sum_is_the_function_in_plain_integers(
    a, b, ratio, points, limits, double, sign, data
):
    first, second, stage = case_of(a, b, ratio, points, limits, double)
    found = whole_sum(first, second, sign, stage)
    if found is None:
        return
    assert 0 < found.first < 1 << 15
    assert 0 < found.second < 1 << 15
    assert 2 <= found.shift <= 62
    low, high = limits
    for x, y in data.draw(st.lists(st.tuples(codes, codes), min_size=50, max_size=50)):
        parts = [
            rescaled((v - o.zero_point) << o.left, o.multiplier, o.shift, double)
            for v, o in ((x, first), (y, second))
        ]
        wanted = rescaled(
            parts[0] + sign * parts[1], int(stage.multiplier[0]), int(stage.shift[0]), double
        )
        total = found.first * (x - points[0]) + sign * found.second * (y - points[1])
        assert abs(total) < 1 << (found.shift - 1)
        own = rescaled(total, found.multiplier, found.shift, found.double)
        assert min(max(own + points[2], low), high) == min(max(wanted + points[2], low), high)


def test_ordinary_scales_have_a_whole_sum():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(50):
        a, b, ratio = np.exp(rng.uniform(-1, 1, 3))
        points = tuple(int(p) for p in rng.integers(-128, 128, 3))
        found += (
            whole_sum(
                *case_of(a, b, ratio, points, (-128, 127), True)[:2],
                1,
                case_of(a, b, ratio, points, (-128, 127), True)[2],
            )
            is not None
        )
    assert found >= 40


def test_scales_too_far_apart_have_none():
    first, second, stage = case_of(1.0, 2.0**-18, 1.0, (0, 0, 0), (-128, 127), True)
    assert Fraction(second.multiplier, 1 << second.shift) < Fraction(1, 1 << 16)
    assert whole_sum(first, second, 1, stage) is None


@pytest.mark.parametrize("name", ["add", "sub"])
def test_a_sum_is_one_operator_between_rescales(name):
    proto = canonical(GRAPHS[name]())
    emission = emit_float(proto, feeds_of(proto), Options(activations="int8", profile="tflm"))
    assert emission.emitted.operators.count("RESCALE") == 3
    assert emission.emitted.operators.count(name.upper()) == 1


@pytest.mark.parametrize("profile", ["tflm", "tosa-single"])
def test_the_long_way_gives_the_same_bits(environment, profile, monkeypatch):
    monkeypatch.setattr("intaglio.targets.tosa.emitters.sums.whole_sum", lambda *_: None)
    proto = canonical(GRAPHS["add"]())
    emission = emit_float(proto, feeds_of(proto), Options(activations="int8", profile=profile))
    assert assert_same_bits(emission, range(2)) > 0
