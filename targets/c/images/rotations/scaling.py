"""Learned scales as one rounding multiplication, where that is the same.

A scale is a table from feature to feature. One made of ``clamp(round(alpha * f))`` is also
``clamp((f * 2^k * m + 2^14) >> 15)`` for some int16 ``m``, which x86 and Arm have as an instruction
on words; ``m`` is looked for channel by channel, and tried on every feature.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.table_networks.reference import Branch

#: ``k``: factors below 2^k come with 15 - k bits behind the point.
_SHIFTS = range(9)


@dataclasses.dataclass(frozen=True, eq=False)
class Factors:
    """Scales of a layer.

    Attributes:
        shift: ``k``.
        factors: ``m`` of each channel, int16.
    """

    shift: int
    factors: NDArray[np.int16]


def factors(branch: Branch, scale: NDArray[np.int8]) -> Factors | None:
    """The scales of a layer as factors; None where a channel has none.

    Args:
        branch: The branch of the layer.
        scale: int8 (channels, rows).
    """
    features = np.arange(branch.low, branch.high + 1)
    for shift in _SHIFTS:
        found = [_factor(features, row.astype(np.int64), shift) for row in scale]
        if all(factor is not None for factor in found):
            return Factors(shift, np.array(found, np.int16))
    return None


def _factor(features: NDArray[np.int64], wanted: NDArray[np.int64], shift: int) -> int | None:
    """One channel's factor, from the bounds that each feature sets."""
    low, high = -(1 << 15), (1 << 15) - 1
    unit = 1 << (15 - shift)
    least, most = int(features[0]), int(features[-1])
    for feature, value in zip(features.tolist(), wanted.tolist(), strict=True):
        # (value - 1/2) * unit <= feature * m < (value + 1/2) * unit; clamped ends have one bound.
        if feature > 0:
            if value != least:
                low = max(low, -(-(2 * value - 1) * unit // (2 * feature)))
            if value != most:
                high = min(high, ((2 * value + 1) * unit - 1) // (2 * feature))
        elif feature < 0:
            if value != least:
                high = min(high, (1 - 2 * value) * unit // (-2 * feature))
            if value != most:
                low = max(low, -(((2 * value + 1) * unit - 1) // (-2 * feature)))
    if low > high:
        return None
    factor = (low + high) // 2
    made = np.clip(((features << shift) * factor + (1 << 14)) >> 15, least, most)
    return factor if np.array_equal(made, wanted) else None
