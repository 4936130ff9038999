"""ResizeLinearInteger with the neighbors of transforms.resize, against plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.transforms.resize import linear_neighbors
from tests.passes.dialect import python_integers as judge
from tests.passes.dialect.one_node import run

MODES = ("half_pixel", "align_corners", "asymmetric")


def inputs_of(x, out_h, out_w, mode):
    rows = linear_neighbors(x.shape[2], out_h, mode)
    columns = linear_neighbors(x.shape[3], out_w, mode)
    return {
        "x": x,
        "y0": rows.lower,
        "y1": rows.upper,
        "wy": rows.weight,
        "x0": columns.lower,
        "x1": columns.upper,
        "wx": columns.weight,
    }


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lead=st.sampled_from(((1, 1), (2, 3), (0, 2))),
    sizes=st.tuples(*[st.integers(1, 12)] * 4),
    mode=st.sampled_from(MODES),
    dtype=st.sampled_from((np.int8, np.int16)),
    rails=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_linear_resize_equals_python_integers(lead, sizes, mode, dtype, rails, seed):
    height, width, out_h, out_w = sizes
    generator = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    shape = (*lead, height, width)
    if rails:
        x = generator.choice(np.array([limits.min, limits.max], dtype), shape)
    else:
        x = generator.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)
    result = run("ResizeLinearInteger", inputs_of(x, out_h, out_w, mode), dtype)
    np.testing.assert_array_equal(result, judge.resize_linear(x, out_h, out_w, mode))


@pytest.mark.parametrize("mode", MODES)
def test_linear_resize_with_constant_neighbors(mode):
    x = np.random.default_rng(2).integers(-128, 128, (1, 2, 7, 5)).astype(np.int8)
    inputs = inputs_of(x, 14, 20, mode)
    constants = [name for name in inputs if name != "x"]
    result = run("ResizeLinearInteger", inputs, np.int8, constants=constants)
    np.testing.assert_array_equal(result, judge.resize_linear(x, 14, 20, mode))


def test_ties_round_away_from_zero():
    x = np.array([[[[1, 2], [1, 2]], [[-1, -2], [-1, -2]]]], np.int8)
    result = run("ResizeLinearInteger", inputs_of(x, 1, 3, "align_corners"), np.int8)
    assert result[0, 0, 0].tolist() == [1, 2, 2]
    assert result[0, 1, 0].tolist() == [-1, -2, -2]
