"""Bicubic resizing: the published low-resolution pictures, and what the formula says."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from intaglio.transforms.images.bicubic import crop_to_multiple, resize_bicubic


def _random(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _slow_axis(row, new):
    """One axis by the formula, element by element, with exact fractions of the sums."""
    factor = new / len(row)
    shrink = min(factor, 1.0)

    def kernel(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    result = []
    for o in range(new):
        centre = (o + 0.5) / factor - 0.5
        places = range(int(centre - 2 / shrink) - 2, int(centre + 2 / shrink) + 3)
        weights = [kernel(shrink * (centre - p)) for p in places]
        values = [float(row[min(max(p, 0), len(row) - 1)]) for p in places]
        mean = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
        result.append(min(max(int(np.floor(mean + 0.5)), 0), 255))
    return np.array(result, np.uint8)


@pytest.mark.parametrize("new", [3, 7, 12, 20, 41])
def test_an_axis_follows_the_formula(new):
    row = _random(20)

    resized = resize_bicubic(np.repeat(row[None], 4, axis=0), (4, new))

    np.testing.assert_array_equal(resized, np.repeat(_slow_axis(row, new)[None], 4, axis=0))


def test_rows_are_rounded_before_columns():
    image = _random(12, 12)

    rows = np.stack([_slow_axis(image[:, x], 6) for x in range(12)], axis=1)
    both = np.stack([_slow_axis(rows[y], 6) for y in range(6)])

    np.testing.assert_array_equal(resize_bicubic(image, 0.5), both)


def test_the_axis_that_shrinks_more_comes_first():
    image = _random(12, 16)

    columns = np.stack([_slow_axis(image[y], 4) for y in range(12)])
    both = np.stack([_slow_axis(columns[:, x], 10) for x in range(4)], axis=1)

    np.testing.assert_array_equal(resize_bicubic(image, (10, 4)), both)


def test_channels_are_apart_and_long_pictures_are_done_in_parts():
    image = _random(150, 9, 3)

    resized = resize_bicubic(image, 2)

    assert resized.shape == (300, 18, 3)
    for channel in range(3):
        np.testing.assert_array_equal(resized[..., channel], resize_bicubic(image[..., channel], 2))
    column = np.repeat(image[:, :1, 0], 4, axis=1)
    np.testing.assert_array_equal(
        resize_bicubic(column, (300, 4))[:, 0], _slow_axis(image[:, 0, 0], 300)
    )


def test_sides_are_rounded_up():
    assert resize_bicubic(_random(21, 22), 1 / 3).shape == (7, 8)
    assert resize_bicubic(_random(21, 22), 4).shape == (84, 88)


def test_cropping_keeps_the_top_left():
    image = _random(11, 14)

    np.testing.assert_array_equal(crop_to_multiple(image, 4), image[:8, :12])
    np.testing.assert_array_equal(crop_to_multiple(image, 1), image)


@pytest.mark.parametrize("size", [0, -1.0, (0, 4)])
def test_what_has_no_size_is_refused(size):
    with pytest.raises(ValueError, match="cannot resize"):
        resize_bicubic(_random(4, 4), size)


def test_only_8_bit_pictures_are_taken():
    with pytest.raises(ValueError, match="float64"):
        resize_bicubic(np.zeros((4, 4)), 2)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize(("name", "count"), [("Set5", 5), ("Set14", 14)])
def test_every_published_pixel_comes_out(shared_data, name, count, factor):
    files = sorted((shared_data / "sr" / name / f"image_SRF_{factor}").glob("*_HR.png"))
    assert len(files) == count
    for file in files:
        large = crop_to_multiple(np.asarray(Image.open(file)), factor)
        small = np.asarray(Image.open(file.with_name(file.name.replace("_HR", "_LR"))))
        np.testing.assert_array_equal(resize_bicubic(large, 1 / factor), small)
