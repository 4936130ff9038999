"""Windows with at most one tap for each channel: shifted planes, which need no sums."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.table_networks.centred import Window


@dataclasses.dataclass(frozen=True, eq=False)
class SingleTaps:
    """One tap of each channel; of a channel without taps the middle, with weight 0.

    Attributes:
        row: Its row, 0 to 2.
        column: Its column, 0 to 2.
        weight: Its weight, int8.
        shift: The window's shift.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    weight: NDArray[np.int8]
    shift: int

    def factors(self, before: int) -> NDArray[np.int16] | None:
        """Factors of a rounding high multiplication.

        ``half_up(f * weight, shift)`` is ``(f * 2^before * factor + 2^14) >> 15`` where the factor
        ``weight * 2^(15 - before - shift)`` is an int16; x86 and Arm have that as one instruction.

        Args:
            before: Bits that the features are moved to the left.

        Returns:
            One factor for each channel, or None where one is none.
        """
        exponent = 15 - before - self.shift
        weight = self.weight.astype(np.int64)
        if exponent < 0:
            if (weight % (1 << -exponent) != 0).any():
                return None
            factor = weight >> -exponent
        else:
            factor = weight << exponent
        limits = np.iinfo(np.int16)
        if factor.min() <= limits.min or factor.max() > limits.max:
            return None
        return factor.astype(np.int16)


def single_taps(window: Window) -> SingleTaps | None:
    """The taps of a window in which no channel has more than one; else None."""
    flat = window.taps.reshape(len(window.taps), 9)
    present = flat != 0
    if (present.sum(axis=1) > 1).any():
        return None
    place = np.where(present.any(axis=1), np.argmax(present, axis=1), 4)
    weight = flat[np.arange(len(flat)), place]
    return SingleTaps(place // 3, place % 3, weight, window.shift)
