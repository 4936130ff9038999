"""Neighbors and weights of linear resizing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.transforms.resize import COORDINATE_MODES, linear_neighbors

sizes = st.integers(1, 900)


@given(sizes, sizes, st.sampled_from(COORDINATE_MODES))
def test_neighbors_are_adjacent_and_inside(input_size, output_size, mode):
    lower, upper, weight = linear_neighbors(input_size, output_size, mode)
    assert lower.shape == upper.shape == weight.shape == (output_size,)
    assert (lower.dtype, upper.dtype, weight.dtype) == (np.int64, np.int64, np.int32)
    assert lower.min() >= 0
    assert upper.max() < input_size
    assert set((upper - lower).tolist()) <= {0, 1}
    assert weight.min() >= 0
    assert weight.max() < 1024
    assert np.all(np.diff(lower * 1024 + weight) >= 0)


@given(sizes, sizes, st.sampled_from(COORDINATE_MODES))
def test_positions_are_those_of_onnx_within_the_rounded_scale(input_size, output_size, mode):
    lower, _, weight = linear_neighbors(input_size, output_size, mode)
    o = np.arange(output_size)
    if mode == "align_corners" and output_size > 1:
        exact = o * (input_size - 1) / (output_size - 1)
    elif mode == "half_pixel" or (mode == "pytorch_half_pixel" and output_size > 1):
        exact = (o + 0.5) * input_size / output_size - 0.5
    else:
        exact = o * input_size / output_size
    exact = np.clip(exact, 0, input_size - 1)
    error = np.abs(lower + weight / 1024 - exact)
    assert np.all(error <= (0.5 * (o + 1) + 1) / 1024)


@pytest.mark.parametrize("mode", COORDINATE_MODES)
def test_the_same_size_moves_nothing(mode):
    lower, _, weight = linear_neighbors(9, 9, mode)
    np.testing.assert_array_equal(lower, np.arange(9))
    assert not weight.any()


def test_doubling_with_half_pixel_centers():
    lower, upper, weight = linear_neighbors(3, 6, "half_pixel")
    assert lower.tolist() == [0, 0, 0, 1, 1, 2]
    assert upper.tolist() == [0, 1, 1, 2, 2, 2]
    assert weight.tolist() == [0, 256, 768, 256, 768, 0]


def test_long_axes_stay_inside():
    # The rounded scale is 1025/1024 too large at most; 5000 elements make five of it.
    for output_size in (1500, 5000, 1_000_000):
        _, upper, _ = linear_neighbors(700, output_size, "asymmetric")
        assert upper.max() <= 699


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 6, "tf_crop_and_resize"), "half_pixel, align_corners"),
        ((0, 6, "half_pixel"), "cannot resize 0"),
        ((3, 0, "half_pixel"), "to 0"),
        ((1 << 20, 5, "half_pixel"), "cannot resize"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        linear_neighbors(*arguments)
