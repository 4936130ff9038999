from __future__ import annotations

import numpy as np
import pytest

from intaglio.transforms.equalization import balancing_factors, evening_factors, predicted_noise


def powers_of_two(factors):
    return (np.frexp(factors)[0] == 0.5).all()


def test_balancing_brings_both_sides_to_the_same_proportion():
    generator = np.random.default_rng(0)
    first, second = generator.lognormal(0, 1.5, 64), generator.lognormal(0, 1.5, 64)
    factors = balancing_factors(first, second)
    assert powers_of_two(factors)
    before, after = np.log2(first / second), np.log2((first / factors) / (second * factors))
    assert np.ptp(before) > 6
    assert np.ptp(after) <= 2 + 1e-9


def test_a_second_balancing_changes_nothing():
    generator = np.random.default_rng(1)
    first, second = generator.lognormal(0, 1, 33), generator.lognormal(0, 1, 33)
    factors = balancing_factors(first, second)
    assert (balancing_factors(first / factors, second * factors) == 1).all()


@pytest.mark.parametrize(("strength", "left"), [(1.0, 1.0), (0.5, 5.0)])
def test_evening_narrows_the_spread_of_channels(strength, left):
    magnitudes = np.exp2(np.linspace(-4, 4, 33))
    factors = evening_factors(magnitudes, strength)
    assert powers_of_two(factors)
    assert np.ptp(np.log2(magnitudes / factors)) <= left
    assert np.median(factors) == 1


def test_a_common_factor_does_not_matter():
    magnitudes = np.random.default_rng(2).lognormal(0, 2, 32)
    np.testing.assert_array_equal(evening_factors(magnitudes), evening_factors(64 * magnitudes))


def test_dead_channels_stay():
    zero = np.array([0.0, 1.0, 1024.0])
    assert evening_factors(zero)[0] == 1
    assert balancing_factors(zero, np.ones(3))[0] == 1
    assert balancing_factors(np.ones(3), zero)[0] == 1
    assert (evening_factors(np.zeros(3)) == 1).all()


def test_factors_are_bounded():
    factors = evening_factors(np.array([2.0**-10, 1.0, 1.0]), 1.0)
    assert factors.min() == 2.0**-8
    assert factors.max() == 1


@pytest.mark.parametrize(("weight_share", "spread"), [(0.0, 4), (1.0, 4), (1.0, 0)])
def test_predicted_noise_is_what_rounding_at_random_gives(weight_share, spread):
    generator = np.random.default_rng(0)
    magnitudes = np.exp2(generator.integers(-spread, spread + 1, 32).astype(float))
    x = generator.uniform(0, 1, (4000, 32)) * magnitudes
    magnitudes = x.max(axis=0)
    weight = generator.standard_normal((24, 32))
    for factors in (np.ones(32), evening_factors(magnitudes)):
        even, scaled = x / factors, weight * factors
        step = even.max() / 255
        rounded = np.rint(even / step) * step
        error = np.square((rounded - even) @ scaled.T).mean(axis=0).sum()
        if weight_share:
            steps = np.abs(scaled).max(axis=1, keepdims=True) / 127
            coarse = np.rint(scaled / steps) * steps
            error += np.square(even @ (coarse - scaled).T).mean(axis=0).sum()
        powers = np.square(x - x.mean(axis=0)).mean(axis=0) + np.square(x.mean(axis=0))
        predicted = predicted_noise(
            factors, magnitudes, powers, weight.reshape(1, 24, 32, 1), weight_share
        )
        assert 0.5 < predicted / error < 2
