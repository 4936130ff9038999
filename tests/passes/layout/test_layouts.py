"""Orders of dimensions as values: combined, normalized, applied."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.passes.layout.layouts import (
    CHANNELS_LAST,
    Layout,
    Shuffle,
    moves_data,
    moves_of_ones,
    normalize,
    reshape_target,
    step_between,
    stored_array,
    stored_dims,
    through,
)


def numbered(dims):
    return np.arange(math.prod(dims)).reshape(dims)


@st.composite
def layouts(draw, dims):
    perm = tuple(draw(st.permutations(range(len(dims)))))
    shuffles = []
    for axis, dim in enumerate(dims):
        if dim in (4, 6) and draw(st.booleans()):
            sizes = draw(st.sampled_from([(2, dim // 2), (dim // 2, 2), (2, 1, dim // 2)]))
            order = tuple(draw(st.permutations(range(len(sizes)))))
            shuffles.append(Shuffle(axis, sizes, order))
    return Layout(perm, tuple(shuffles))


@st.composite
def dims_and_layouts(draw, count):
    dims = tuple(draw(st.lists(st.sampled_from([1, 1, 2, 3, 4, 6]), min_size=1, max_size=4)))
    return dims, [draw(layouts(dims)) for _ in range(count)]


@given(dims_and_layouts(2))
def test_normalized_layouts_are_equal_exactly_when_the_arrays_are(drawn):
    dims, (first, second) = drawn
    same = stored_dims(dims, first) == stored_dims(dims, second) and np.array_equal(
        stored_array(numbered(dims), first), stored_array(numbered(dims), second)
    )
    assert (normalize(first, dims) == normalize(second, dims)) == same


@given(dims_and_layouts(2))
def test_the_step_between_two_layouts_transposes_one_into_the_other(drawn):
    dims, (first, second) = drawn
    step = step_between(first, second, len(dims))
    if step is not None:
        stored = stored_array(numbered(dims), first)
        np.testing.assert_array_equal(stored.transpose(step), stored_array(numbered(dims), second))
        moved = stored.transpose(step)
        assert moves_data(step, stored.shape) == (stored.ravel().tolist() != moved.ravel().tolist())


@given(dims_and_layouts(2))
def test_the_layout_of_a_transpose_says_how_the_tensor_itself_is_stored(drawn):
    dims, (layout, other) = drawn
    turned = numbered(dims).transpose(other.perm)
    layout = Layout(layout.perm)
    np.testing.assert_array_equal(
        stored_array(turned, layout), stored_array(numbered(dims), through(layout, other.perm))
    )


def test_shuffles_of_a_transpose_move_with_their_axes():
    x = numbered((6, 5))
    layout = Layout((0, 1), (Shuffle(1, (2, 3), (1, 0)),))
    np.testing.assert_array_equal(
        stored_array(x.T, layout), stored_array(x, through(layout, (1, 0)))
    )


@pytest.mark.parametrize(
    ("start", "target", "said"),
    [
        ((2, 3), (6,), [6]),
        (("N", 3, 4), ("N", 12), [0, 12]),
        (("N", 3, 4), (12, "N"), [12, -1]),
        (("N", "H", 3), ("N", 3, "H"), [0, 3, -1]),
        (("N", "H", 1), (1, "N", "H"), None),
        ((0, 3), (0, 3), None),
    ],
)
def test_a_reshape_says_open_dimensions_by_place_or_once(start, target, said):
    assert reshape_target(start, target) == said


def test_reshapes_that_only_move_ones_are_known():
    assert moves_of_ones((1, 4, 5, 1), (1, 1, 4, 5)) == (0, 3, 1, 2)
    assert moves_of_ones((1, 4, 5, 1), (1, 1, 5, 4)) is None
    assert moves_of_ones((1, 4), (1, 4, 1)) is None


def test_a_transpose_of_ones_to_the_same_sizes_is_nothing():
    assert normalize(Layout((3, 1, 2, 0)), (1, 4, 5, 1)) is None
    assert normalize(Layout(CHANNELS_LAST), (1, 1, 1, 8)) is not None
    assert normalize(Layout(CHANNELS_LAST), (2, 1, 1, 1)) is None
