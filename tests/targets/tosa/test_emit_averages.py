"""AVG_POOL2D's own rounding is that of the integer graph where its zero points are 0."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.targets.tosa.emitters.averages import divides_exactly, reciprocal
from tests.property.lowering_checks import Options, canonical
from tests.targets.tflite.test_emit_operators import GRAPHS, feeds_of
from tests.targets.tosa.emission import assert_same_bits, emit_float

POOLS = sorted(name for name in GRAPHS if name.startswith("average"))


@pytest.mark.parametrize(
    "count", [1, 2, 3, 4, 6, 9, 25, 49, 64, 100, 225, 1024, 1296, 3600, 65_536]
)
def test_every_sum_is_divided_exactly(count):
    assert divides_exactly(count)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 4096), st.data())
def test_halves_leave_zero(count, data):
    total = data.draw(st.integers(-128 * count, 127 * count))
    multiplier, shift = reciprocal(count)
    assert 1 << 30 <= multiplier < 1 << 32
    if not divides_exactly(count):
        return
    magnitude = int(Fraction(abs(total), count) + Fraction(1, 2))
    wanted = magnitude if total >= 0 else -magnitude
    assert (total * multiplier + (1 << (shift - 1))) >> shift == wanted


def test_a_multiplier_without_excess_would_not_do():
    # 2.5 below zero is a tie; without the excess it goes up.
    multiplier, shift = 1 << 30, 32
    assert (-10 * multiplier + (1 << (shift - 1))) >> shift == -2
    multiplier, shift = reciprocal(4)
    assert (-10 * multiplier + (1 << (shift - 1))) >> shift == -3


@pytest.mark.parametrize("name", POOLS)
def test_an_average_is_one_operator(environment, name):
    proto = canonical(GRAPHS[name]())
    emission = emit_float(proto, feeds_of(proto), Options(activations="int8", profile="tflm"))
    assert "AVG_POOL2D" in emission.emitted.operators
    assert not {"INTDIV", "GREATER", "SELECT"} & set(emission.emitted.operators)
    assert assert_same_bits(emission, range(3)) > 0
