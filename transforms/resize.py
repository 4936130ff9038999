"""Where the elements of a resized axis come from: nearest, and linear in 10-bit fixed point.

Linear, for output element ``o`` of an axis, with ``scale = (1024*in + out/2) / out`` (all divisions
here are of integers, truncating):

==================  ==============================================
asymmetric          ``p = o * scale``
half_pixel          ``p = o * scale + scale/2 - 512``
align_corners       ``p = o * scale``, ``scale`` with ``in - 1`` and ``out - 1`` (if ``out > 1``)
pytorch_half_pixel  half_pixel; asymmetric if ``out`` is 1
==================  ==============================================

The neighbors are ``lower = max(p / 1024, 0)`` and ``upper = min((p + 1023) / 1024, in - 1)``, the
weight of the upper one is ``p - 1024*lower``. Source: ``ResizeBilinearInteger`` and
``ComputeInterpolationValuesInteger`` of TensorFlow Lite's reference kernels, the same for int8 and
int16; the names are ONNX's coordinate transformation modes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Fraction bits of a position; 1 << FRACTION_BITS is the weight 1.0.
FRACTION_BITS = 10
#: Coordinate transformation modes of ONNX that have an integer definition here.
COORDINATE_MODES = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")
#: Sizes must be smaller, so that positions fit the kernel's int32.
SIZE_LIMIT = 1 << 20

_UNIT = 1 << FRACTION_BITS


class LinearNeighbors(NamedTuple):
    """Where the elements of one resized axis come from.

    Attributes:
        lower: int64[out], index of the first neighbor.
        upper: int64[out], index of the second neighbor.
        weight: int32[out], weight of the second neighbor in 1/1024, 0..1023; the first has the
            rest. 0 at the border, where the kernel has the same element twice.
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    weight: NDArray[np.int32]


def linear_neighbors(input_size: int, output_size: int, mode: str) -> LinearNeighbors:
    """Neighbors and weights of one axis.

    Args:
        input_size: elements of the axis, 1 to 2^20 - 1.
        output_size: elements after resizing, 1 to 2^20 - 1. The scale is the quotient of the sizes.
        mode: one of :data:`COORDINATE_MODES`.

    Returns:
        The neighbors. For output sizes above 1024 the rounded scale may lead behind the last
        element, where the source kernel reads out of bounds; here that is the last element.

    Raises:
        ValueError: no such mode, or a size is out of range.
    """
    if mode not in COORDINATE_MODES:
        raise ValueError(f"no integer form of mode {mode!r}; known: {', '.join(COORDINATE_MODES)}")
    if not (0 < input_size < SIZE_LIMIT and 0 < output_size < SIZE_LIMIT):
        raise ValueError(f"cannot resize {input_size} elements to {output_size}")
    output = np.arange(output_size, dtype=np.int64)
    if mode == "align_corners" and output_size > 1:
        position = output * _scale(input_size - 1, output_size - 1)
    else:
        scale = _scale(input_size, output_size)
        position = output * scale
        if mode == "half_pixel" or (mode == "pytorch_half_pixel" and output_size > 1):
            position += scale // 2 - _UNIT // 2
    # The kernel truncates; for negative positions that differs from the floor here, and both are
    # clamped to 0.
    lower = np.clip(position // _UNIT, 0, input_size - 1)
    upper = np.clip((position + _UNIT - 1) // _UNIT, 0, input_size - 1)
    weight = np.where(lower == upper, 0, position - _UNIT * lower)
    return LinearNeighbors(lower, upper, weight.astype(np.int32))


def nearest_places(size: int, new: int, mode: str) -> NDArray[np.int64]:
    """Which element each of ``new`` elements comes from by the nearest rule.

    TensorFlow Lite's ``GetNearestNeighbor``, the same in LiteRT and TensorFlow Lite Micro.

    Args:
        size: elements of the axis.
        new: elements after resizing.
        mode: one of ``asymmetric``, ``half_pixel``, ``align_corners``.

    Returns:
        int64[new], each 0 to ``size - 1``.
    """
    x = np.arange(new, dtype=np.float32)
    if mode == "align_corners" and new > 1:
        step = np.float32(size - 1) / np.float32(new - 1)
    else:
        step = np.float32(size) / np.float32(new)
    if mode == "align_corners":
        # Half away from zero; the sum is taken in float64, as exact as the kernel's rounding.
        position = np.floor((x * step).astype(np.float64) + 0.5)
    elif mode == "half_pixel":
        position = np.floor((x + np.float32(0.5)) * step)
    else:
        position = np.floor(x * step)
    return np.asarray(np.clip(position.astype(np.int64), 0, size - 1))


def _scale(input_size: int, output_size: int) -> int:
    return (_UNIT * input_size + output_size // 2) // output_size
