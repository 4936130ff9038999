"""How alike two pictures are: PSNR and SSIM on a scale of 0 to 255.

    PSNR = 10 log10(255^2 / mean((a - b)^2))
    SSIM = mean of (2 ma mb + C1)(2 cab + C2) / ((ma^2 + mb^2 + C1)(va + vb + C2))

with the means m, variances v and covariance c in a window of 11x11 pixels, Gaussian with sigma 1.5
and sum 1, at every place where it lies within the picture; C1 = (0.01 * 255)^2,
C2 = (0.03 * 255)^2. Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error
visibility to structural similarity", 2004, and the authors' ``ssim_index.m`` without its automatic
reduction in size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(first: NDArray[Any], second: NDArray[Any], crop: int = 0) -> float:
    """Peak signal-to-noise ratio in dB; infinite where nothing differs.

    Args:
        first: A plane [H, W] (or [H, W, C]) of 0..255.
        second: The other one.
        crop: Pixels at each border that do not count.

    Raises:
        ValueError: Shapes differ, or nothing is left of them.
    """
    a, b = _pair(first, second, crop)
    error = float(np.mean((a - b) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(first: NDArray[Any], second: NDArray[Any], crop: int = 0) -> float:
    """Structural similarity, 1 where nothing differs.

    Args:
        first: A plane [H, W] of 0..255.
        second: The other one.
        crop: Pixels at each border that do not count.

    Raises:
        ValueError: Shapes differ, or what is left is no plane of at least 11x11.
    """
    a, b = _pair(first, second, crop)
    if a.ndim != 2 or min(a.shape) < _WINDOW:
        raise ValueError(f"SSIM needs planes of at least {_WINDOW}x{_WINDOW}, not {a.shape}")
    mean_a, mean_b = _blur(a), _blur(b)
    square_a, square_b, product = mean_a * mean_a, mean_b * mean_b, mean_a * mean_b
    variances = _blur(a * a) - square_a + _blur(b * b) - square_b
    covariance = _blur(a * b) - product
    similar = (2 * product + _C1) * (2 * covariance + _C2)
    return float(np.mean(similar / ((square_a + square_b + _C1) * (variances + _C2))))


def _pair(
    first: NDArray[Any], second: NDArray[Any], crop: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if first.shape != second.shape:
        raise ValueError(f"cannot compare {first.shape} with {second.shape}")
    if crop < 0 or min(first.shape[:2]) <= 2 * crop:
        raise ValueError(f"nothing is left of {first.shape} without {crop} pixels at each border")
    inner = (slice(crop, first.shape[0] - crop), slice(crop, first.shape[1] - crop))
    return first[inner].astype(np.float64), second[inner].astype(np.float64)


def _blur(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted means of all windows that lie within the plane: 10 fewer on each axis."""
    distance = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-(distance**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    for axis in (0, 1):
        length = plane.shape[axis] - _WINDOW + 1
        parts = [
            plane[i : i + length] if axis == 0 else plane[:, i : i + length] for i in range(11)
        ]
        plane = np.asarray(sum(w * part for w, part in zip(weights, parts, strict=True)))
    return plane
