"""Quantizers of int8 features: which values share a code, and what the decoder makes of each code.

With static ranges an encoder is a table of 256 entries and a decoder one of as many entries as
there are codes, so a quantizer need not be uniform. :func:`entropy_constrained` gives the least
``weight * E[(q - decoded)^2] + trade_off * bits`` for a histogram; codes that occur often get
wider cells, which is what a dead zone around zero is. (Chou, Lookabaugh and Gray,
Entropy-constrained vector quantization, IEEE Transactions on ASSP 37, 1989, for one dimension.)
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

VALUES = np.arange(-128, 128)

_ROUNDS = 60

#: Share of the probability at either end that the first cells of an iteration leave out.
_TAIL = 0.002

#: Fixed point of the multiplier that stands for a division by a range.
_PLACES = 18


@dataclasses.dataclass(frozen=True)
class Quantizer:
    """A quantizer of int8 values.

    Attributes:
        encode: Code of each value from -128 up: int64 [256].
        decode: Value of each code, ascending: int64 [levels].
    """

    encode: NDArray[np.int64]
    decode: NDArray[np.int64]

    @property
    def levels(self) -> int:
        """Number of codes."""
        return len(self.decode)


def entropy_constrained(
    histogram: NDArray[np.float64], levels: int, weight: float, trade_off: float
) -> Quantizer:
    """The quantizer of least distortion and rate together.

    Starts from uniform cells and alternates between the best cells for the decoded values and
    rates, and the best decoded values (means) and rates for the cells; cells that nothing falls
    into are dropped. Every round makes the sum smaller.

    Args:
        histogram: How often each value from -128 up occurs: [256], not all zero.
        levels: Most codes to use, 1 to 256.
        weight: What a squared error of one costs.
        trade_off: What a bit costs.

    Raises:
        ValueError: The histogram is empty, or a number is out of range.
    """
    total = float(histogram.sum())
    if histogram.shape != (256,) or total <= 0 or histogram.min() < 0:
        raise ValueError("the histogram is empty or has not 256 entries")
    if not 1 <= levels <= 256 or weight < 0 or trade_off < 0:
        raise ValueError(f"levels {levels}, weight {weight} or trade-off {trade_off}")
    probability = histogram / total
    centres = _first_centres(probability, levels)
    rates = np.full(len(centres), np.log2(len(centres)))
    cells = np.zeros(256, np.int64)
    for _ in range(_ROUNDS):
        costs = weight * np.square(VALUES[:, None] - centres) + trade_off * rates
        found = costs.argmin(axis=1)
        mass = np.bincount(found, probability, minlength=len(centres))
        used = mass > 0
        found = (np.cumsum(used) - 1)[found] if not used.all() else found
        # A value that never occurs may have been alone in a dropped cell.
        mass, count = mass[used], int(used.sum())
        found = np.clip(found, 0, count - 1)
        moments = np.bincount(found, probability * VALUES, minlength=count)
        centres = moments / mass
        rates = -np.log2(mass)
        if np.array_equal(found, cells) and len(mass) == count:
            break
        cells = found
    order = np.argsort(centres, kind="stable")
    centres, rates = centres[order], rates[order]
    costs = weight * np.square(VALUES[:, None] - centres) + trade_off * rates
    # Values that do not occur go where they belong; ties of equal cost to the smaller code.
    encode = costs.argmin(axis=1)
    return _tidied(encode, centres)


def _first_centres(probability: NDArray[np.float64], levels: int) -> NDArray[np.float64]:
    present = np.flatnonzero(probability)
    if levels >= len(present):
        return VALUES[present].astype(np.float64)  # Without a price nothing need be lost.
    below = np.cumsum(probability)
    low = int(np.searchsorted(below, _TAIL, side="right"))
    high = int(np.searchsorted(below, 1 - _TAIL, side="left"))
    low, high = min(low, 255), min(max(high, low), 255)
    count = min(levels, high - low + 1)
    return np.linspace(VALUES[low], VALUES[high], count)


def _tidied(encode: NDArray[np.int64], centres: NDArray[np.float64]) -> Quantizer:
    """Codes without gaps, decoded values as integers."""
    used, encode = np.unique(encode, return_inverse=True)
    decode = np.clip(np.floor(centres[used] + 0.5), -128, 127).astype(np.int64)
    return Quantizer(encode.reshape(-1).astype(np.int64), decode)


def multiplier(levels: int, span: int) -> int:
    """``ceil((levels - 1) * 2^18 / span)``, which makes a division by ``span`` a product.

    Args:
        levels: Codes, 1 to 256.
        span: Highest less lowest value of the range, 0 to 255; 0 gives 0.
    """
    return -(-((levels - 1) << _PLACES) // span) if span else 0


def uniform(lowest: int, highest: int, levels: int) -> Quantizer:
    """Equal steps over a range: code ``(d * multiplier + 2^17) >> 18`` for ``d = q - lowest``.

    The same integers as with dynamic ranges. Values outside are clipped; a code stands for
    ``lowest + round(code * span / (levels - 1))``, halves up.

    Args:
        lowest: Smallest value of the range.
        highest: Largest.
        levels: Codes, 1 to 256.

    Raises:
        ValueError: The range is empty or beyond int8.
    """
    if not -128 <= lowest <= highest <= 127 or not 1 <= levels <= 256:
        raise ValueError(f"range {lowest} to {highest} with {levels} levels")
    span, last = highest - lowest, levels - 1
    distance = np.maximum(np.minimum(VALUES, highest) - lowest, 0)
    encode = (distance * multiplier(levels, span) + (1 << (_PLACES - 1))) >> _PLACES
    codes = np.arange(levels)
    decode = lowest + ((2 * codes * span + last) // (2 * last) if last else codes)
    return Quantizer(encode.astype(np.int64), decode.astype(np.int64))


def clipped_range(histogram: NDArray[np.float64], clip: float) -> tuple[int, int]:
    """The range that occurs, its highest end (or the far end from 0) pulled in by ``clip``.

    Args:
        histogram: How often each value from -128 up occurs: [256].
        clip: Share of the span that is kept, above 0 up to 1, counted from the more frequent end.

    Returns:
        Lowest and highest value.
    """
    present = np.flatnonzero(histogram)
    if not len(present):
        return 0, 0
    low, high = int(VALUES[present[0]]), int(VALUES[present[-1]])
    kept = int(np.floor((high - low) * clip + 0.5))
    # Features behind an activation pile up at one end; that end stays.
    if histogram[: 128 + (low + high) // 2 + 1].sum() * 2 >= histogram.sum():
        return low, low + kept
    return high - kept, high
