from __future__ import annotations

import numpy as np

from intaglio.transforms.histogram import Histogram
from intaglio.transforms.observers import MseObserver


def test_weights_of_one_change_nothing() -> None:
    x = np.random.default_rng(0).standard_normal((3, 400)).astype(np.float32)
    plain, weighted = Histogram(64), Histogram(64)
    for batch in x:
        plain.update(batch)
        weighted.update(batch, np.ones(()))
    np.testing.assert_array_equal(weighted.counts, plain.counts)


def test_weights_are_summed_by_bin_through_growth() -> None:
    generator = np.random.default_rng(1)
    histogram = Histogram(32)
    values, weights = [], []
    for scale in (0.1, 1.0, 30.0):
        x = (scale * generator.standard_normal((2, 5, 7))).astype(np.float32)
        channel = generator.uniform(0, 2, (5, 1))
        histogram.update(x, channel)
        values.append(x.reshape(-1))
        weights.append(np.broadcast_to(channel, x.shape).reshape(-1))
    index = np.searchsorted(histogram.edges, np.concatenate(values), side="right") - 1
    expected = np.bincount(index, np.concatenate(weights), len(histogram.counts))
    np.testing.assert_allclose(histogram.counts, expected, rtol=1e-12)


def test_zeros_stay_out_of_the_bins_whatever_their_weight() -> None:
    histogram = Histogram(16)
    histogram.update(np.array([0.0, 1.0, 0.0, -1.0]), np.array([5.0, 2.0, 7.0, 3.0]))
    assert histogram.zeros == 2
    assert histogram.counts.sum() == 5.0


def test_values_that_count_little_are_clipped_first() -> None:
    x = np.random.default_rng(2).standard_normal(20_000)
    x[x < 0] *= 10
    even, uneven = MseObserver(), MseObserver()
    even.update(x)
    uneven.update(x, np.where(x < 0, 0.002**2, 1.0))
    assert even.range()[0] < -20
    assert uneven.range()[0] > -10
    assert uneven.range()[1] > 3
