from __future__ import annotations

import numpy as np
import pytest

from intaglio.transforms.split.estimate import (
    count_bytes,
    estimate_bits,
    estimate_from_counts,
    to_bytes,
)


def test_a_constant_channel_takes_no_bits():
    assert estimate_bits(np.full((3, 2, 4, 4), 7, np.int8)) == 0
    assert estimate_bits(np.zeros((3, 2))) == 0


def test_two_values_equally_often_take_a_bit_an_element():
    features = np.tile(np.array([-5, 90], np.int8), (4, 3, 8))
    assert estimate_bits(features) == pytest.approx(3 * 16)


def test_the_entropy_is_that_of_three_bits_of_the_drawn_in_range():
    """The definition, written once more with sorted lists and loops."""
    generator = np.random.default_rng(0)
    features = np.clip(generator.normal(0, 40, (5, 3, 6, 6)), -128, 127).astype(np.int8)
    bits = 0.0
    for channel in range(3):
        values = sorted(features[:, channel].reshape(-1).tolist())
        median = values[(len(values) - 1) // 2]
        low = median - 0.7 * (median - values[0])
        high = median + 0.7 * (values[-1] - median)
        codes = [round((min(max(v, low), high) - low) / (high - low) * 7) for v in values]
        for code in set(codes):
            share = codes.count(code) / len(codes)
            bits -= codes.count(code) * np.log2(share)
    assert estimate_bits(features) == pytest.approx(bits / 5)


def test_counts_of_batches_add_up():
    features = np.random.default_rng(1).integers(-128, 128, (6, 4, 5)).astype(np.int8)
    counts = count_bytes(features[:2]) + count_bytes(features[2:])
    assert counts.sum(axis=1).tolist() == [30] * 4
    assert counts[2, int(features[0, 2, 0]) + 128] == np.sum(features[:, 2] == features[0, 2, 0])
    assert estimate_from_counts(counts, 6) == estimate_bits(features)


def test_real_features_are_taken_at_256_levels():
    features = np.random.default_rng(2).standard_normal((4, 3, 7)).astype(np.float32)
    levels = to_bytes(features, float(features.min()), float(features.max()))
    assert (levels.min(), levels.max()) == (-128, 127)
    assert estimate_bits(features) == estimate_bits(levels)
    assert to_bytes(np.array([-9.0, 0.0, 9.0]), -1, 1).tolist() == [-128, 0, 127]


def test_coarser_features_are_ranked_below_noise():
    generator = np.random.default_rng(3)
    noise = generator.normal(0, 1, (8, 4, 16, 16))
    sparse = np.where(generator.random(noise.shape) < 0.9, 0, np.abs(noise))
    assert estimate_bits(sparse) < estimate_bits(noise) / 2


def test_bad_features_are_refused():
    with pytest.raises(ValueError, match="finite"):
        estimate_bits(np.array([[np.nan, 1.0]]))
    for shape in ((4,), (0, 3), (2, 0, 5)):
        with pytest.raises(ValueError, match="no samples and channels"):
            estimate_bits(np.zeros(shape, np.int8))
    with pytest.raises(ValueError, match="no samples"):
        estimate_from_counts(np.zeros((1, 256), np.int64), 0)
