"""PSNR and SSIM: by their formulas, pixel by pixel, and known scores of real pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from intaglio.transforms.images.bicubic import resize_bicubic
from intaglio.transforms.images.color import luma
from intaglio.transforms.images.quality import psnr, ssim


def _pair(height=17, width=19):
    random = np.random.default_rng(0)
    first = random.integers(0, 256, (height, width)).astype(np.float64)
    return first, np.clip(first + random.normal(0, 20, first.shape), 0, 255)


def test_psnr_of_a_known_error():
    zero = np.zeros((4, 4), np.uint8)

    assert psnr(zero, zero + 1) == pytest.approx(20 * math.log10(255))
    assert psnr(zero, zero) == math.inf


def test_the_border_does_not_count():
    first, second = np.zeros((8, 9)), np.zeros((8, 9))
    second[0], second[:, -2] = 100, 100
    second[3, 4] = 5

    assert psnr(first, second, 2) == pytest.approx(10 * math.log10(255**2 / (25 / 20)))


def test_ssim_follows_the_formula():
    first, second = _pair()
    distance = np.arange(-5, 6)
    window = np.exp(-(distance[:, None] ** 2 + distance**2) / (2 * 1.5**2))
    window /= window.sum()
    scores = []
    for y in range(first.shape[0] - 10):
        for x in range(first.shape[1] - 10):
            a, b = (p[y : y + 11, x : x + 11] for p in (first, second))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a = (window * (a - mean_a) ** 2).sum()
            var_b = (window * (b - mean_b) ** 2).sum()
            cov = (window * (a - mean_a) * (b - mean_b)).sum()
            c1, c2 = 2.55**2, 7.65**2
            above = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
            scores.append(above / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))

    assert ssim(first, second) == pytest.approx(np.mean(scores), abs=1e-12)
    assert ssim(first[2:-2, 2:-2], second[2:-2, 2:-2]) == ssim(first, second, 2)


def test_a_picture_is_like_itself():
    first, _ = _pair()

    assert ssim(first, first) == pytest.approx(1)


@pytest.mark.parametrize(
    ("compare", "shapes", "crop", "message"),
    [
        (psnr, ((4, 4), (4, 5)), 0, "cannot compare"),
        (psnr, ((4, 4), (4, 4)), 2, "nothing is left"),
        (ssim, ((10, 20), (10, 20)), 0, "at least 11x11"),
        (ssim, ((20, 20, 3), (20, 20, 3)), 0, "at least 11x11"),
    ],
)
def test_what_cannot_be_compared_is_refused(compare, shapes, crop, message):
    with pytest.raises(ValueError, match=message):
        compare(np.zeros(shapes[0]), np.zeros(shapes[1]), crop)


def test_bicubic_enlargement_of_set5_has_its_published_score(shared_data):
    scores = []
    for file in sorted((shared_data / "sr/Set5/image_SRF_4").glob("*_HR.png")):
        wanted = luma(np.asarray(Image.open(file).convert("RGB")))
        small = Image.open(file.with_name(file.name.replace("_HR", "_LR"))).convert("RGB")
        found = luma(resize_bicubic(np.asarray(small), 4))
        scores.append((psnr(found, wanted, 4), ssim(found, wanted, 4)))

    # Papers print 28.42 and 0.8104; their enlarged luma is not made of rounded R, G and B.
    np.testing.assert_allclose(np.mean(scores, axis=0), [28.43, 0.811], atol=0.002)
