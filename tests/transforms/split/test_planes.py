"""Means of values that share a code, by loops, and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.transforms.split.planes import as_planes, average, spread


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((2, 3), (2, 3, 1, 1)), ((2, 3, 5), (2, 3, 1, 5)), ((2, 3, 4, 5), (2, 3, 4, 5))],
)
def test_every_rank_becomes_planes(shape, expected):
    feature = np.arange(math.prod(shape)).astype(np.int8).reshape(shape)
    found = as_planes(feature)
    assert found.shape == expected
    assert np.array_equal(found.reshape(-1), feature.reshape(-1))


@st.composite
def cases(draw):
    share, patch = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    shape = (
        draw(st.integers(1, 2)),
        share * draw(st.integers(1, 3)),
        draw(st.integers(1, 7)),
        draw(st.integers(1, 7)),
    )
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = sorted((draw(st.integers(-128, 127)), draw(st.integers(-128, 127))))
    return generator.integers(low, high + 1, shape).astype(np.int8), share, patch


@given(cases())
def test_means_are_rounded_with_halves_up(case):
    planes, share, patch = case
    found = average(planes, share, patch)
    count, channels, rows, columns = planes.shape
    assert found.shape == (count, channels // share, -(-rows // patch), -(-columns // patch))
    for n, c, y, x in np.ndindex(found.shape):
        group = [
            int(planes[n, k, i, j])
            for k in range(c * share, (c + 1) * share)
            for i in range(y * patch, min((y + 1) * patch, rows))
            for j in range(x * patch, min((x + 1) * patch, columns))
        ]
        assert found[n, c, y, x] == (2 * sum(group) + len(group)) // (2 * len(group))


@given(cases())
def test_every_place_gets_the_value_of_its_group(case):
    planes, share, patch = case
    means = average(planes, share, patch)
    found = spread(means, share, patch, planes.shape)
    assert found.shape == planes.shape
    for n, c, y, x in np.ndindex(found.shape):
        assert found[n, c, y, x] == means[n, c // share, y // patch, x // patch]
    assert np.array_equal(average(found, share, patch), means)


def test_extremes_do_not_overflow():
    for value in (-128, 127):
        planes = np.full((1, 4, 6, 6), value, np.int8)
        assert (average(planes, 4, 6) == value).all()
        assert (average(planes, 2, 4) == value).all()
