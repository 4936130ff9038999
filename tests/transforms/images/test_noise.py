"""Noise: seeded, of the given strength, and alike in both forms."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.transforms.images.noise import fresh_noise, noisy_float, noisy_pixels

_GREY = np.full((300, 400), 128, np.uint8)


@pytest.mark.parametrize("sigma", [15, 25, 50])
def test_noise_has_the_given_strength(sigma):
    noise = noisy_float(_GREY, sigma, 7) - 128

    assert abs(noise.mean()) < 4 * sigma / np.sqrt(noise.size)
    assert abs(noise.std() / sigma - 1) < 0.01


def test_the_same_seed_gives_the_same_noise():
    np.testing.assert_array_equal(noisy_float(_GREY, 25, 3), noisy_float(_GREY, 25, 3))
    assert (noisy_float(_GREY, 25, 3) != noisy_float(_GREY, 25, 4)).mean() > 0.99


def test_pixels_are_the_float_form_rounded_and_clamped():
    image = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)

    exact = noisy_float(image, 50, 1)

    assert exact.min() < 0
    assert exact.max() > 255
    np.testing.assert_array_equal(
        noisy_pixels(image, 50, 1), np.clip(np.floor(exact + 0.5), 0, 255)
    )


@pytest.mark.parametrize("sigma", [15, 50])
def test_noise_for_training_has_the_same_distribution(sigma):
    image = np.tile(np.array([0, 10, 128, 250], np.uint8), (2000, 100))

    fresh = fresh_noise(image, sigma, np.random.default_rng(0))
    exact = noisy_pixels(image, sigma, 1)

    for column in range(4):
        ours = np.bincount(fresh[:, column::4].ravel(), minlength=256) / 200_000
        wanted = np.bincount(exact[:, column::4].ravel(), minlength=256) / 200_000
        # Kolmogorov-Smirnov: two samples of 200,000 differ by more once in ten thousand times.
        assert np.abs(np.cumsum(ours - wanted)).max() < 0.0075


def test_noise_for_training_differs_from_draw_to_draw():
    generator = np.random.default_rng(0)

    assert (fresh_noise(_GREY, 25, generator) != fresh_noise(_GREY, 25, generator)).mean() > 0.9


def test_a_negative_sigma_is_refused():
    with pytest.raises(ValueError, match="sigma is -1"):
        noisy_float(_GREY, -1, 0)
