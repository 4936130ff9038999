"""The eight orientations of a picture, and the mean of what a network makes of several.

A network gives a slightly different result for a picture that is turned or mirrored. Turned back,
their mean is nearer to the truth than each of them, at as many times the work: geometric
self-ensemble (Timofte, Rothe and Van Gool, "Seven Ways to Improve Example-Based Single Image Super
Resolution", CVPR 2016). No byte of tables is added.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]

#: Numbers of orientations that a mean may be of: the picture as it is, with half a turn, with all
#: quarter turns, mirrored too.
COUNTS = (1, 2, 4, 8)

# Bit 0 transposes, then bit 1 mirrors top and bottom and bit 2 left and right: so 6 is half a turn
# and 3 and 5 are the quarter turns.
_ORDER = (0, 6, 3, 5, 1, 2, 4, 7)


def orient(plane: Plane, number: int) -> Plane:
    """One of the eight orientations.

    Args:
        plane: uint8 [height, width].
        number: 0 to 7; 0 is the plane as it is.

    Returns:
        A view, [width, height] where ``number`` is odd.
    """
    if number & 1:
        plane = plane.T
    return plane[:: -1 if number & 2 else 1, :: -1 if number & 4 else 1]


def orient_back(plane: Plane, number: int) -> Plane:
    """The inverse of :func:`orient`."""
    plane = plane[:: -1 if number & 2 else 1, :: -1 if number & 4 else 1]
    return plane.T if number & 1 else plane


def mean_of_orientations(run: Callable[[Plane], Plane], plane: Plane, count: int) -> Plane:
    """Runs a network on several orientations and takes the mean, halves rounded up.

    Args:
        run: The network; takes and gives uint8 [height, width], contiguous.
        plane: uint8 [height, width].
        count: How many, one of :data:`COUNTS`; 1 is what ``run`` gives.

    Returns:
        uint8, as large as what ``run`` gives for ``plane``.

    Raises:
        ValueError: ``count`` is no such number.
    """
    if count not in COUNTS:
        raise ValueError(f"{count} orientations")
    results = [
        orient_back(run(np.ascontiguousarray(orient(plane, number))), number)
        for number in _ORDER[:count]
    ]
    total = np.sum(results, axis=0, dtype=np.uint16)
    return np.asarray((total + count // 2) // count, np.uint8)
