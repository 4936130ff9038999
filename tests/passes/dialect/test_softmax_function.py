"""SoftmaxInteger against plain Python integers and against the numpy form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.transforms.softmax import exp_table, softmax_int8
from tests.passes.dialect import python_integers as judge
from tests.passes.dialect.one_node import run

PROPERTY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SHAPES = ((1, 1), (1, 10), (3, 1000), (0, 4), (2, 3, 5, 7), (2, 1, 4), (13,))


@st.composite
def logits(draw):
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from(SHAPES))
    center = draw(st.integers(-128, 127))
    spread = draw(st.sampled_from((0, 1, 4, 30, 255)))
    values = generator.integers(center - spread, center + spread, shape, endpoint=True)
    return np.clip(values, -128, 127).astype(np.int8)


@PROPERTY
@given(
    x=logits(),
    scale=st.floats(2**-20, 8.0) | st.sampled_from((1 / 256, 1 / 16, 0.1, 1.0)),
    last=st.booleans(),
)
def test_softmax_equals_python_integers_and_numpy(x, scale, last):
    axis = -1 if last or x.size == 0 else max(x.ndim - 2, 0)
    table = exp_table(scale)
    result = run("SoftmaxInteger", {"x": x, "exp_table": table}, np.int8, axis=axis)
    np.testing.assert_array_equal(result, judge.softmax(x, table, axis))
    np.testing.assert_array_equal(result, softmax_int8(x, scale, axis=axis))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 255, 256, 512, 513, 2048, 4095])
def test_rows_of_equal_entries(length):
    table = exp_table(1 / 16)
    for value in (-128, 0, 127):
        x = np.full((2, length), value, np.int8)
        result = run("SoftmaxInteger", {"x": x, "exp_table": table}, np.int8, axis=1)
        np.testing.assert_array_equal(result, judge.softmax(x, table, 1))
        assert abs((int(result[0, 0]) + 128) / 256 - 1 / length) <= 1 / 256


@PROPERTY
@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(0, 31), x=logits())
def test_any_exponentials(seed, bits, x):
    # Not from any scale: sums and products in corners that exponentials do not reach.
    entries = np.random.default_rng(seed).integers(0, 1 << bits, 255)
    table = np.array([2**31 - 1, *entries], np.int32)
    result = run("SoftmaxInteger", {"x": x, "exp_table": table}, np.int8)
    np.testing.assert_array_equal(result, judge.softmax(x, table, -1))


def test_softmax_with_a_constant_table():
    x = np.random.default_rng(3).integers(-128, 128, (1, 10)).astype(np.int8)
    table = exp_table(0.05)
    inputs = {"x": x, "exp_table": table}
    result = run("SoftmaxInteger", inputs, np.int8, constants=["exp_table"])
    np.testing.assert_array_equal(result, judge.softmax(x, table, -1))
