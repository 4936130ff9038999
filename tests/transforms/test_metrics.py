from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.transforms.metrics import (
    LsbHistogram,
    SqnrAccumulator,
    agreement,
    mean_squared_error,
    psnr_db,
    sqnr_db,
    top1_accuracy,
    wilson_interval,
)


def test_signal_to_noise_of_known_signals() -> None:
    assert sqnr_db([3.0, 4.0], [3.0, 3.5]) == pytest.approx(20.0)
    assert psnr_db([0.0, 10.0], [0.0, 0.0], peak=255) == pytest.approx(10 * math.log10(255**2 / 50))
    assert mean_squared_error([1.0, 2.0], [2.0, 4.0]) == 2.5


def test_signal_to_noise_at_the_ends() -> None:
    assert sqnr_db([1.0, -2.0], [1.0, -2.0]) == math.inf
    assert sqnr_db([0.0], [0.0]) == math.inf
    assert sqnr_db([0.0], [1.0]) == -math.inf
    assert psnr_db([1.0], [1.0], peak=1.0) == math.inf
    assert math.isnan(sqnr_db([1.0, 2.0], [1.0, math.nan]))
    assert sqnr_db([1e150], [1e150 * (1 + 1e-10)]) == pytest.approx(200.0, abs=0.01)


def test_shapes_are_not_broadcast_and_nothing_is_no_answer() -> None:
    for function in (sqnr_db, mean_squared_error):
        with pytest.raises(ValueError, match="differ"):
            function(np.zeros((2, 3)), np.zeros(3))
        with pytest.raises(ValueError, match="no values"):
            function([], [])
    with pytest.raises(ValueError, match="peak"):
        psnr_db([1.0], [1.0], peak=0.0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_accumulated_batches_equal_all_at_once(seed: int, batches: int) -> None:
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=(20, 3)).astype(np.float32)
    test = reference + rng.normal(size=(20, 3)).astype(np.float32) * np.float32(0.1)
    accumulator = SqnrAccumulator()
    for a, b in zip(np.array_split(reference, batches), np.array_split(test, batches), strict=True):
        accumulator.update(a, b)
    assert accumulator.count == 60
    assert accumulator.sqnr_db == pytest.approx(sqnr_db(reference, test))
    assert accumulator.mean_squared_error == pytest.approx(mean_squared_error(reference, test))
    exact = np.abs(reference.astype(np.float64) - test.astype(np.float64)).max()
    assert accumulator.max_error == exact


def test_an_empty_accumulator_has_no_ratio_and_nan_is_not_lost() -> None:
    accumulator = SqnrAccumulator()
    with pytest.raises(ValueError, match="no values"):
        _ = accumulator.sqnr_db
    with pytest.raises(ValueError, match="no values"):
        _ = accumulator.mean_squared_error
    accumulator.update([1.0], [math.nan])
    accumulator.update([1.0], [1.0])
    assert math.isnan(accumulator.max_error)
    assert math.isnan(accumulator.sqnr_db)


def test_top1_and_agreement() -> None:
    scores = np.array([[1, 2, 3], [5, 5, 0], [0, 0, 1], [9, 1, 1]])
    assert top1_accuracy(scores, [2, 0, 1, 0]) == 0.75
    assert top1_accuracy(scores, [2, 1, 2, 0]) == 0.75  # the first of equal scores counts
    other = np.array([[0, 0, 1], [1, 0, 0], [1, 0, 0], [0, 1, 0]])
    assert agreement(scores, other) == 0.5


def test_decisions_need_samples_and_classes() -> None:
    with pytest.raises(ValueError, match="samples"):
        top1_accuracy([1.0, 2.0], [1])
    with pytest.raises(ValueError, match="labels"):
        top1_accuracy([[1.0, 2.0]], [1, 0])
    with pytest.raises(ValueError, match="labels"):
        top1_accuracy([[1.0, 2.0], [1.0, 2.0]], [[1], [0]])
    with pytest.raises(ValueError, match="differ"):
        agreement(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="samples"):
        agreement(np.zeros((0, 3)), np.zeros((0, 3)))


def test_lsb_histogram_counts_signed_errors_over_batches() -> None:
    histogram = LsbHistogram()
    histogram.update(np.array([0, 127, -128], np.int8), np.array([1, -128, 127], np.int8))
    histogram.update(np.array([[5, 5]], np.int8), np.array([[5, 6]], np.int8))
    assert histogram.counts == {-255: 1, 0: 1, 1: 2, 255: 1}
    assert list(histogram.counts) == sorted(histogram.counts)
    assert histogram.total == 5
    assert histogram.mismatches == 4
    assert histogram.mismatch_fraction == 0.8
    assert histogram.max_error == 255


def test_lsb_histogram_of_nothing_and_of_equals() -> None:
    histogram = LsbHistogram()
    histogram.update(np.zeros((0, 3), np.int8), np.zeros((0, 3), np.int8))
    assert (histogram.total, histogram.max_error, histogram.mismatch_fraction) == (0, 0, 0.0)
    histogram.update(np.arange(4), np.arange(4))
    assert histogram.counts == {0: 4}
    assert histogram.mismatch_fraction == 0.0


def test_lsb_histogram_bounds_its_state_but_not_the_largest_error() -> None:
    histogram = LsbHistogram(limit=10)
    histogram.update(np.arange(1000, dtype=np.int32) * 10**6, np.zeros(1000, np.int32))
    assert histogram.counts == {-10: 999, 0: 1}
    assert histogram.max_error == 999 * 10**6
    with pytest.raises(ValueError, match="limit"):
        LsbHistogram(limit=0)


def test_lsb_histogram_refuses_floats_and_other_shapes() -> None:
    histogram = LsbHistogram()
    with pytest.raises(ValueError, match="float"):
        histogram.update(np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="differ"):
        histogram.update(np.zeros(3, np.int8), np.zeros((3, 1), np.int8))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0.1, 5))
def test_wilson_bounds_solve_the_score_equation(n: int, fraction: float, z: float) -> None:
    successes = round(n * fraction)
    low, high = wilson_interval(successes, n, z)
    observed = successes / n
    assert 0 <= low <= observed <= high <= 1
    for bound in (low, high):
        # (observed - p)^2 = z^2 p (1 - p) / n defines both bounds.
        expected = z * z * bound * (1 - bound) / n
        assert (observed - bound) ** 2 == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_wilson_interval_of_known_numbers() -> None:
    low, high = wilson_interval(90, 100)
    assert (low, high) == (pytest.approx(0.8256, abs=1e-4), pytest.approx(0.9448, abs=1e-4))
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)
    for successes, n in ((-1, 2), (3, 2)):
        with pytest.raises(ValueError, match="successes"):
            wilson_interval(successes, n)
