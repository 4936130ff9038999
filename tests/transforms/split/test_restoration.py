"""The server's filter, against Python's integers; and how it is fitted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.transforms.split.restoration import Restoration, fit_restoration, restore
from tests.transforms.split.random_codecs import draw_restoration


def filter_slowly(planes, restoration, zero_point):
    """The definition, place by place."""
    height, width = restoration.kernel
    alone = restoration.groups > 1 or len(restoration.weights[0]) == height * width
    _, channels, rows, columns = planes.shape
    made = np.empty_like(planes)
    for n, c, y, x in np.ndindex(planes.shape):
        shift, weights = restoration.shifts[c], iter(restoration.weights[c])
        total = (int(planes[n, c, y, x]) - zero_point) * 2**shift + restoration.biases[c]
        for k in [c] if alone else range(channels):
            for i in range(y - height // 2, y + height // 2 + 1):
                for j in range(x - width // 2, x + width // 2 + 1):
                    weight = next(weights)
                    if 0 <= i < rows and 0 <= j < columns:
                        total += weight * (int(planes[n, k, i, j]) - zero_point)
        made[n, c, y, x] = min(max((total + 2 ** (shift - 1)) // 2**shift + zero_point, -128), 127)
    return made


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 4), st.integers(1, 6),
    st.integers(1, 6), st.sampled_from([-128, -1, 0, 127]),
)  # fmt: skip
def test_the_filter_is_that_of_the_definition(seed, samples, channels, rows, columns, zero_point):
    generator = np.random.default_rng(seed)
    restoration = draw_restoration(generator, channels)
    restoration.check(channels)
    shape = (samples, channels, rows, columns)
    planes = generator.choice([-128, -127, -1, 0, 1, 126, 127], shape).astype(np.int8)
    found = restore(planes, restoration, zero_point)
    assert found.dtype == np.int8
    assert np.array_equal(found, filter_slowly(planes, restoration, zero_point))


def smooth(shape, seed=0):
    """Planes with neighbors, in space and in channels, that say much about each other."""
    x = np.random.default_rng(seed).standard_normal(shape)
    for axis in (1, 2, 3):
        if shape[axis] > 2:
            x = x + np.roll(x, 1, axis) + np.roll(x, -1, axis)
    return np.clip(np.rint(30 * x / x.std()), -128, 127).astype(np.int8)


def coarse(planes, step=32):
    return np.clip((planes.astype(np.int64) + step // 2) // step * step, -128, 127).astype(np.int8)


def error(a, b):
    return np.square(a.astype(np.float64) - b).mean()


@pytest.mark.parametrize("zero_point", [-128, 0, 5])
@pytest.mark.parametrize(
    ("shape", "kernel", "groups"),
    [((20, 6, 8, 9), (3, 3), 1), ((60, 6, 1, 30), (1, 3), 1), ((20, 80, 8, 8), (3, 3), 80)],
)
def test_a_fitted_filter_brings_features_nearer_to_what_they_were(
    shape, kernel, groups, zero_point
):
    original, other = smooth(shape), smooth(shape, 1)
    fitted = fit_restoration(coarse(original), original, zero_point, shape[2:])
    assert (fitted.kernel, fitted.groups) == (kernel, groups)
    fitted.check(shape[1])
    for planes in (original, other):
        decoded = coarse(planes)
        assert error(restore(decoded, fitted, zero_point), planes) < 0.8 * error(decoded, planes)


def test_what_is_exact_hardly_changes():
    planes = smooth((20, 6, 8, 9))
    fitted = fit_restoration(planes, planes, 3, (8, 9))
    assert error(restore(planes, fitted, 3), planes) < 0.25


def test_a_filter_can_move_and_scale():
    planes = smooth((40, 3, 8, 8))
    decoded = np.clip(planes.astype(np.int64) // 2 + 9, -128, 127).astype(np.int8)
    fitted = fit_restoration(decoded, planes, 0, (8, 8))
    assert error(restore(decoded, fitted, 0), planes) < 1


def test_there_is_none_for_few_values_and_none_within_a_code():
    planes = smooth((30, 6, 4, 4))
    assert fit_restoration(coarse(planes), planes, 0, (4, 4)).groups == 6
    assert fit_restoration(coarse(planes[:2]), planes[:2], 0, (4, 4)) is None
    assert fit_restoration(coarse(planes), planes, 0, (1, 1)) is None
    vectors = planes[:, :, :1, :1]
    assert fit_restoration(coarse(vectors), vectors, 0, (1, 1)) is None
    many = np.repeat(vectors, 10, axis=0)
    assert fit_restoration(coarse(many), many, 0, (1, 1)).kernel == (1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": (2, 1)}, {"kernel": (0, 1)}, {"weights": ((1, 2, 3), (1, 2))},
        {"weights": ((1, 2, 3), (1, 2, 128))}, {"weights": ((1, 2, 3),)}, {"biases": (0,)},
        {"biases": (0, 2**31)}, {"shifts": (1, 4)}, {"shifts": (17, 4)}, {"shifts": (4,)},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_filter_is_refused(change):
    right = Restoration((1, 3), ((1, 2, 3), (1, 2, -128)), (0, 2**30), (2, 16))
    right.check(2)
    with pytest.raises(ValueError, match="no filter"):
        dataclasses.replace(right, **change).check(2)
