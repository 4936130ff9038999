"""Colour conversion: values that the standard names, and the way back."""

from __future__ import annotations

import numpy as np

from intaglio.transforms.images.color import (
    luma,
    rgb_to_ycbcr,
    rounded_luma,
    to_pixels,
    ycbcr_to_rgb,
)


def test_named_colors():
    colors = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]])

    found = rgb_to_ycbcr(colors)

    wanted = [
        [16, 128, 128],
        [235, 128, 128],
        [81.481, 90.203, 240],
        [144.553, 53.797, 34.214],
        [40.966, 240, 109.786],
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_luma_is_the_first_of_the_three():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)

    np.testing.assert_allclose(luma(image), rgb_to_ycbcr(image)[..., 0], atol=1e-10)
    np.testing.assert_array_equal(rounded_luma(image), np.floor(luma(image) + 0.5))
    assert rounded_luma(image).dtype == np.uint8


def test_there_and_back():
    image = np.random.default_rng(1).integers(0, 256, (50, 60, 3), np.uint8)

    np.testing.assert_array_equal(to_pixels(ycbcr_to_rgb(rgb_to_ycbcr(image))), image)


def test_pixels_are_rounded_half_up_and_clamped():
    np.testing.assert_array_equal(
        to_pixels(np.array([-3.0, 0.49, 0.5, 1.5, 2.5, 254.5, 300.0])), [0, 0, 1, 2, 3, 255, 255]
    )
