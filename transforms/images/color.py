"""Luma and colour differences of BT.601 in studio range, as MATLAB's ``rgb2ycbcr`` has them.

    Y  =  16 + ( 65.481 R + 128.553 G +  24.966 B)/255
    Cb = 128 + (-37.797 R -  74.203 G + 112.000 B)/255
    Cr = 128 + (112.000 R -  93.786 G -  18.214 B)/255

for R, G, B of 0..255: Y is 16..235. Papers on super-resolution measure on this Y, taken in
floating point from rounded R, G, B. Source: ITU-R BT.601, the constants as in MATLAB's
documentation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FORWARD = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
)
_OFFSET = np.array([16.0, 128.0, 128.0])
_BACKWARD = np.linalg.inv(_FORWARD / 255)


def luma(image: NDArray[Any]) -> NDArray[np.float64]:
    """Y of a colour picture.

    Args:
        image: [..., 3], R, G and B of 0..255.

    Returns:
        float64[...], not rounded.
    """
    weights = _FORWARD[0] / 255
    red, green, blue = (image[..., i] * weights[i] for i in range(3))
    return np.asarray(_OFFSET[0] + red + green + blue)


def rounded_luma(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Y of an 8-bit colour picture, rounded half up to 8 bits.

    Args:
        image: uint8[..., 3].
    """
    return np.floor(luma(image) + 0.5).astype(np.uint8)


def rgb_to_ycbcr(image: NDArray[Any]) -> NDArray[np.float64]:
    """Y, Cb and Cr of R, G and B.

    Args:
        image: [..., 3] of 0..255.

    Returns:
        float64[..., 3], neither rounded nor clamped.
    """
    return np.asarray(image.astype(np.float64) @ (_FORWARD.T / 255) + _OFFSET)


def ycbcr_to_rgb(image: NDArray[Any]) -> NDArray[np.float64]:
    """R, G and B of Y, Cb and Cr: the inverse of :func:`rgb_to_ycbcr`.

    Args:
        image: [..., 3].

    Returns:
        float64[..., 3]; values may lie outside 0..255, see :func:`to_pixels`.
    """
    return np.asarray((image.astype(np.float64) - _OFFSET) @ _BACKWARD.T)


def to_pixels(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values as 8-bit pixels: rounded half up and clamped to 0..255."""
    return np.clip(np.floor(np.asarray(values, np.float64) + 0.5), 0, 255).astype(np.uint8)
