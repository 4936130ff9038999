from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intaglio.transforms.histogram import Histogram, to_real

FLOAT32 = st.floats(-(2.0**100), 2.0**100, width=32)


def brute_force(x: np.ndarray, histogram: Histogram) -> np.ndarray:
    """Count with exact comparisons against the edges."""
    values = x[x != 0].astype(np.float64)
    index = np.searchsorted(histogram.edges, values, side="right") - 1
    return np.bincount(index, minlength=len(histogram.counts))


def check(histogram: Histogram, x: np.ndarray) -> None:
    assert histogram.total == x.size
    assert histogram.zeros == np.count_nonzero(x == 0)
    assert (histogram.minimum, histogram.maximum) == (float(x.min()), float(x.max()))
    np.testing.assert_array_equal(histogram.counts, brute_force(x, histogram))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(FLOAT32, min_size=1, max_size=8), min_size=1, max_size=5))
@example([[0.0], [0.0, 1.0]])
@example([[0.0], [2.0**-60, 2.0**-61]])
@example([[2.0**-149], [-(2.0**-149)], [2.0**99]])
@example([[-1.0, 1.0], [2.0**99], [-(2.0**99)]])
@example([[5.0], [5.0 + 2.0**-20]])
def test_counts_are_exact_through_every_growth(batches: list[list[float]]) -> None:
    histogram = Histogram(bins=16)
    seen: list[float] = []
    for batch in batches:
        histogram.update(np.array(batch, np.float32))
        seen += batch
        check(histogram, np.array(seen, np.float32))


@settings(max_examples=100, deadline=None)
@given(st.lists(FLOAT32, min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_state_depends_on_the_values_alone(values: list[float], random) -> None:
    together = Histogram(bins=32)
    together.update(np.array(values, np.float32))
    random.shuffle(values)
    one_by_one = Histogram(bins=32)
    for value in values:
        one_by_one.update(np.float32(value))
    np.testing.assert_array_equal(together.edges, one_by_one.edges)
    np.testing.assert_array_equal(together.counts, one_by_one.counts)
    assert together.zeros == one_by_one.zeros


@settings(max_examples=100, deadline=None)
@given(st.lists(FLOAT32, min_size=2, max_size=10), st.integers(2, 50))
@example([0.0, 0.0], 2)
def test_bins_are_the_narrowest_powers_of_two_that_fit(values: list[float], bins: int) -> None:
    histogram = Histogram(bins)
    histogram.update(values)
    low, high, width = min(values), max(values), histogram.width
    assert histogram.edges[0] <= low < histogram.edges[0] + width
    assert high < histogram.edges[-1]
    narrower = math.floor(high / (width / 2)) - math.floor(low / (width / 2))
    magnitude = max(abs(low), abs(high)) / (width / 2)
    assert narrower >= bins or magnitude > 2**31 - 1 or width == 2.0**-120


def test_large_batches_are_counted_in_pieces() -> None:
    x = np.random.default_rng(0).normal(size=(3, 300_000)).astype(np.float32)
    x[:, ::3] = 0
    histogram = Histogram()
    histogram.update(x)
    check(histogram, x.reshape(-1))
    # Between half and all of the bins span the values.
    spanned = (histogram.maximum - histogram.minimum) / histogram.width
    assert 1022 < spanned <= 2048


def test_types_of_one_value_share_its_bin() -> None:
    values = [-1.5, 0.25, 3.0, 0.0]
    expected = Histogram()
    expected.update(values)
    for dtype in (np.float16, np.float32, np.float64, ml_dtypes.bfloat16):
        histogram = Histogram()
        histogram.update(np.array(values).astype(dtype))
        np.testing.assert_array_equal(histogram.counts, expected.counts)
        np.testing.assert_array_equal(histogram.edges, expected.edges)
    assert to_real(np.array([True, False])).dtype == np.float64
    with pytest.raises(ValueError, match="complex"):
        to_real(np.zeros(1, complex))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_values_are_refused_and_leave_no_trace(bad: float) -> None:
    histogram = Histogram()
    histogram.update([1.0, 2.0])
    with pytest.raises(ValueError, match="NaN or infinity"):
        histogram.update(np.array([5.0, bad, 7.0], np.float32))
    check(histogram, np.array([1.0, 2.0]))


def test_empty_batches_change_nothing() -> None:
    histogram = Histogram()
    histogram.update(np.zeros((0, 4), np.float32))
    assert (histogram.total, histogram.width) == (0, 0.0)
    assert histogram.minimum > histogram.maximum
    with pytest.raises(ValueError, match="bins"):
        Histogram(1)


def test_negative_values_that_underflow_stay_in_range() -> None:
    x = np.array([-1e38, -1e-45], np.float32)
    histogram = Histogram(bins=16)
    histogram.update(x)
    check(histogram, x)


def test_doubles_near_the_limit() -> None:
    x = np.array([-1.7e308, 1.7e308, 0.0, 1.0])
    histogram = Histogram(bins=16)
    histogram.update(x)
    check(histogram, x)


def test_occupied_bins_are_cut_at_the_extremes() -> None:
    histogram = Histogram(bins=8)
    histogram.update([0.3, 0.9, 2.5, 6.0, 6.0, 0.0])
    low, high, counts = histogram.occupied()
    assert histogram.width == 1.0
    assert low.tolist() == [0.0, 2.0, 6.0]
    assert high.tolist() == [1.0, 3.0, 6.0]  # a point: two values exactly at the end
    assert counts.tolist() == [2.0, 1.0, 2.0]
