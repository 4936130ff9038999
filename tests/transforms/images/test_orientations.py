"""Orientations of planes, and means over them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from intaglio.transforms.images.orientations import (
    COUNTS,
    mean_of_orientations,
    orient,
    orient_back,
)

PLANES = arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 7)))


@given(PLANES, st.integers(0, 7))
def test_back_is_the_inverse(plane, number):
    assert np.array_equal(orient_back(orient(plane, number), number), plane)


def test_there_are_eight():
    plane = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert len({(o.shape, o.tobytes()) for o in (orient(plane, n) for n in range(8))}) == 8


@pytest.mark.parametrize(("count", "turns"), [(1, [0]), (2, [0, 2]), (4, [0, 1, 2, 3])])
def test_which_orientations_are_run(count, turns):
    plane = np.arange(12, dtype=np.uint8).reshape(3, 4)
    seen = []

    def run(turned):
        assert turned.flags.c_contiguous
        seen.append(turned)
        return turned

    assert np.array_equal(mean_of_orientations(run, plane, count), plane)
    expected = {np.rot90(plane, turn).tobytes() for turn in turns}
    assert {turned.tobytes() for turned in seen} == expected
    assert len(seen) == count


@given(PLANES, st.sampled_from(COUNTS), st.integers(1, 3))
def test_the_mean_is_of_integers_rounded_half_up(plane, count, scale):
    """Against Python integers; the network mirrors nothing and enlarges."""

    def run(turned):
        wide = np.kron(turned, np.ones((scale, scale), np.uint8))
        weights = np.arange(1, wide.size + 1).reshape(wide.shape) % 5
        return (wide // (weights + 1)).astype(np.uint8)

    results = [
        orient_back(run(orient(plane, number)), number)
        for number in ((0,), (0, 6), (0, 6, 3, 5), range(8))[COUNTS.index(count)]
    ]
    found = mean_of_orientations(run, plane, count)
    assert found.dtype == np.uint8
    assert found.shape == results[0].shape
    for place in np.ndindex(found.shape):
        total = sum(int(result[place]) for result in results)
        assert int(found[place]) == (2 * total + count) // (2 * count)


def test_full_scale_does_not_wrap():
    white = np.full((3, 5), 255, np.uint8)
    assert np.array_equal(mean_of_orientations(lambda plane: plane, white, 8), white)


@pytest.mark.parametrize("count", [0, 3, 16])
def test_other_counts_are_refused(count):
    with pytest.raises(ValueError, match="orientations"):
        mean_of_orientations(lambda plane: plane, np.zeros((2, 2), np.uint8), count)
