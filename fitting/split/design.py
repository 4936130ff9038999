"""Designs the quantizers of one feature: one a stripe, for a price of a bit.

For a price, each stripe gets the quantizer of least ``weight * squared error + price * bits``,
where a stripe's weight is what a squared error there does to the outputs, measured by putting
coarse steps in its place. So bits go where the outputs need them, between stripes as within one.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.split.quantizers import (
    Quantizer,
    clipped_range,
    entropy_constrained,
    uniform,
)

CLIPS = (1.0, 0.85, 0.7, 0.5)

#: A probing step is so many standard deviations wide.
_PROBE_STEP = 2.0

#: At most so many runs of the samples to measure weights; stripes are probed together beyond.
_PROBES = 64


@dataclasses.dataclass(frozen=True)
class Choice:
    """What quantizers may be.

    Attributes:
        kind: ``entropy`` (see :func:`entropy_constrained`) or ``uniform``.
        bits: Bits of a code, those to choose among for a uniform quantizer, else the most.
        clips: Shares of a range to choose among; uniform quantizers only.
    """

    kind: str
    bits: tuple[int, ...]
    clips: tuple[float, ...] = CLIPS


def histograms(planes: NDArray[np.int8], stripes: Sequence[int]) -> NDArray[np.float64]:
    """How often each value from -128 up occurs in each stripe.

    Args:
        planes: Values [N, C, R, K], channels in wire order.
        stripes: Channels of each stripe.

    Returns:
        [stripes, 256].
    """
    made = []
    first = 0
    for count in stripes:
        values = planes[:, first : first + count].reshape(-1).astype(np.int64) + 128
        made.append(np.bincount(values, minlength=256).astype(np.float64))
        first += count
    return np.stack(made)


def measure_weights(
    planes: NDArray[np.int8],
    stripes: Sequence[int],
    noise: Callable[[NDArray[np.int8]], float],
) -> NDArray[np.float64]:
    """What a squared error of one in every value of a stripe costs at the outputs.

    Args:
        planes: Values [N, C, R, K] of few samples.
        stripes: Channels of each stripe.
        noise: Relative noise at the outputs for planes in their place.

    Returns:
        One weight a stripe, per value; all the same where nothing can be measured.
    """
    bounds = np.cumsum([0, *stripes])
    base = noise(planes)
    # Alike in size, so that probing several at once says something about each.
    spread = [planes[:, a:b].std() for a, b in itertools.pairwise(bounds)]
    order = np.argsort(spread, kind="stable")
    weights = np.zeros(len(stripes))
    for group in np.array_split(order, min(_PROBES, len(order))):
        probed = planes.copy()
        error = 0.0
        for stripe in group:
            part = slice(bounds[stripe], bounds[stripe + 1])
            step = max(_PROBE_STEP * float(spread[stripe]), 2.0)
            values = planes[:, part].astype(np.float64)
            coarse = np.clip(np.rint((values + 128) / step) * step - 128, -128, 127)
            probed[:, part] = coarse.astype(np.int8)
            error += float(np.square(coarse - values).sum())
        if error > 0:
            weights[group] = max(noise(probed) - base, 0.0) * len(planes) / error
    positive = weights[weights > 0]
    if not len(positive):
        return np.ones(len(stripes))
    # No stripe is free: what few samples do not show may matter for others.
    return np.maximum(weights, float(np.median(positive)) / 30)


def design(
    histogram: NDArray[np.float64], weight: float, price: float, choice: Choice
) -> Quantizer:
    """The quantizer of one stripe for a price.

    Args:
        histogram: How often each value from -128 up occurs: [256].
        weight: What a squared error of one costs.
        price: What a bit costs.
        choice: What it may be.
    """
    if choice.kind == "entropy":
        return entropy_constrained(histogram, 1 << max(choice.bits), weight, price)
    best: tuple[float, Quantizer] | None = None
    for bits in choice.bits:
        for clip in choice.clips:
            found = uniform(*clipped_range(histogram, clip), 1 << bits)
            cost = weight * squared_error(histogram, found) + price * entropy(histogram, found)
            if best is None or cost < best[0]:
                best = (cost, found)
    if best is None:
        raise ValueError("there is nothing to choose among")
    return best[1]


def squared_error(histogram: NDArray[np.float64], quantizer: Quantizer) -> float:
    """Mean squared error of a value."""
    error = np.square(np.arange(-128, 128) - quantizer.decode[quantizer.encode])
    return float((histogram * error).sum() / histogram.sum())


def entropy(histogram: NDArray[np.float64], quantizer: Quantizer) -> float:
    """Bits of a code without any context."""
    mass = np.bincount(quantizer.encode, histogram, minlength=quantizer.levels)
    probability = mass[mass > 0] / histogram.sum()
    return float(-(probability * np.log2(probability)).sum())
