"""Bicubic resizing as MATLAB's ``imresize`` does it, the reference of super-resolution data sets.

Keys' kernel with a = -1/2,

    h(x) = 3/2 |x|^3 - 5/2 |x|^2 + 1              for |x| <= 1
    h(x) = -1/2 |x|^3 + 5/2 |x|^2 - 4 |x| + 2     for 1 < |x| <= 2

Pixel centres are aligned: output pixel ``o`` (from 0) of an axis that is scaled by ``s`` lies at
``(o + 1/2)/s - 1/2``. An axis that shrinks is smoothed: the kernel becomes ``s h(s x)``, 4/s wide.
Weights are scaled to the sum 1. Outside the picture its border pixels go on. (So did ``imresize``
when Set5 and Set14 were reduced, and every published pixel comes out; later versions mirror the
picture there, which changes about a fifth of the pixels at the border and few others.) Axes are
resized one after the other, the one that shrinks most first and rows before columns where they
shrink alike, and 8-bit pictures are rounded (half away from zero) and clamped after *each* of them.

Sources: R. Keys, "Cubic convolution interpolation for digital image processing", 1981; the
documentation of ``imresize``. PIL's bicubic filter differs at the border and in its fixed point.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

_SUPPORT = 4.0
#: Output rows that are made at a time, so that large pictures need little memory.
_ROWS = 64


def resize_bicubic(image: NDArray[np.uint8], size: float | tuple[int, int]) -> NDArray[np.uint8]:
    """Resizes a picture.

    Args:
        image: uint8[H, W] or uint8[H, W, C].
        size: A factor, such as 4 or 1/4 (then sides are ``ceil(side * factor)``), or the new
            (height, width).

    Returns:
        uint8, same number of dimensions.

    Raises:
        ValueError: The picture is no uint8 picture, or the size is not positive.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"not a uint8 picture: {image.dtype}{list(image.shape)}")
    sides = image.shape[0], image.shape[1]
    if isinstance(size, tuple):
        new, factors = size, (size[0] / sides[0], size[1] / sides[1])
    else:
        # The product may be a hair above a whole number, as 21 * (1/3) could be.
        new = (_ceil(sides[0] * size), _ceil(sides[1] * size))
        factors = (float(size), float(size))
    if min(new) < 1 or min(factors) <= 0:
        raise ValueError(f"cannot resize {sides} to {size}")
    result = image
    for axis in (0, 1) if factors[0] <= factors[1] else (1, 0):
        result = _resize_axis(result, axis, new[axis], factors[axis])
    return result


def crop_to_multiple(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Cuts off rows at the bottom and columns on the right until sides are multiples."""
    height, width = (side - side % factor for side in image.shape[:2])
    return image[:height, :width]


def _ceil(value: float) -> int:
    return math.ceil(value - 1e-9 * max(1.0, value))


def _kernel(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@functools.lru_cache(maxsize=64)
def _contributions(
    size: int, new: int, factor: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which elements of an axis make each new one, and their weights: [new, taps] each."""
    shrink = min(factor, 1.0)
    width = _SUPPORT / shrink
    # Counted from 1 as in the source, since the sums below then round as they do there.
    centre = np.arange(1, new + 1) / factor + 0.5 * (1 - 1 / factor)
    first = np.floor(centre - width / 2)
    places = first[:, None] + np.arange(math.ceil(width) + 2)
    weights = shrink * _kernel(shrink * (centre[:, None] - places))
    weights /= weights.sum(axis=1, keepdims=True)
    used = (weights != 0).any(axis=0)
    return np.clip(places[:, used].astype(np.int64) - 1, 0, size - 1), weights[:, used]


def _resize_axis(image: NDArray[np.uint8], axis: int, new: int, factor: float) -> NDArray[np.uint8]:
    places, weights = _contributions(image.shape[axis], new, factor)
    source = np.moveaxis(image, axis, 0)
    result = np.empty((new, *source.shape[1:]), np.uint8)
    spread = (-1,) + (1,) * (source.ndim - 1)
    for start in range(0, new, _ROWS):
        rows = slice(start, start + _ROWS)
        # Taps are added one by one: the order of a sum is part of the definition.
        total = np.zeros((min(_ROWS, new - start), *source.shape[1:]))
        for tap in range(places.shape[1]):
            total += weights[rows, tap].reshape(spread) * source[places[rows, tap]]
        result[rows] = np.clip(np.floor(total + 0.5), 0, 255)
    return np.ascontiguousarray(np.moveaxis(result, 0, axis))
