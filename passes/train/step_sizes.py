"""Real distances as integers: how far a probe goes, and how far an update moves a weight.

With the step of the grid ``D`` (real)::

    epsilon = max(round(epsilon / D), smallest)
    M / 2^k = learning rate / (32 * probes * D),   2^14 <= M < 2^15 where k <= 31 allows it
    limit   = levels - rs(epsilon * zmax, 5) - rs(radius * zmax, 5)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import RecipeError
from intaglio.transforms.forward_gradient.randomness import UNIT, UNIT_BITS, Law
from intaglio.transforms.forward_gradient.specification import (
    LARGEST_SHIFT,
    MULTIPLIER_LIMIT,
    Parameter,
    StepRounding,
)

#: Distances are below: ``distance * z`` stays in 31 bits.
DISTANCE_LIMIT = 1 << 23


@dataclasses.dataclass(frozen=True)
class StepSize:
    """``M / 2^k`` of one tensor.

    Attributes:
        multiplier: M.
        shift: k.
        moved: Steps of the grid that an update along z = 1 of one probe moves a number by.
    """

    multiplier: int
    shift: int
    moved: float


def step_size(name: str, rate: float, scale: float, probes: int) -> StepSize:
    """The update of one tensor.

    Args:
        name: Of the tensor, for the message.
        rate: Real distance along z = 1.
        scale: Real value of one step of the grid.
        probes: Probes that the update averages over.

    Raises:
        RecipeError: It is too large for the multiplier.
    """
    moved = rate / (probes * scale)
    factor = moved / UNIT
    if factor == 0.0:
        return StepSize(0, 0, 0.0)
    shift = min(14 - math.floor(math.log2(factor)), LARGEST_SHIFT)
    multiplier = math.floor(math.ldexp(factor, shift) + 0.5)
    if multiplier >= MULTIPLIER_LIMIT:
        multiplier, shift = (multiplier + 1) >> 1, shift - 1
    if shift < 0:
        raise RecipeError(
            f"the step of '{name}' is {moved:,.0f} of its grid's steps, which saturates at once",
            remedy="lower train.plan_step.learning_rate",
        )
    return StepSize(multiplier, shift, moved)


def distance(name: str, option: str, real: float, scale: float) -> int:
    """A real distance in steps of the grid, to the nearest.

    Raises:
        RecipeError: It is too large for any grid.
    """
    steps = real / scale
    if steps >= DISTANCE_LIMIT:
        raise RecipeError(
            f"train.plan_step.{option} is {steps:,.0f} steps of the grid of '{name}'",
            remedy=f"lower train.plan_step.{option}",
        )
    return math.floor(steps + 0.5)


def farthest(steps: int, law: Law) -> int:
    """The largest displacement along any z: ``rs(steps * zmax, 5)``."""
    return (steps * law.largest + UNIT // 2) >> UNIT_BITS


def smallest_gradient(law: Law) -> float:
    """The smallest z other than 0."""
    return 1.0 if law is Law.RADEMACHER else 0.5


def choose_rounding(sizes: Sequence[StepSize], law: Law) -> StepRounding:
    """Stochastic where rounding to nearest would stop some weight: its step below half of one."""
    least = min((size.moved for size in sizes), default=1.0) * smallest_gradient(law)
    return StepRounding.STOCHASTIC if least < 0.5 else StepRounding.NEAREST


def root_mean_square(codes: NDArray[np.int16], scale: float, levels: int) -> float:
    """The rms of a tensor of weights; for one of zeros a quarter of what its grid reaches.

    Numbers beyond half of the grid count as half: clipping to the limit then changes nothing.
    """
    half = levels // 2
    kept = np.clip(codes.astype(np.float64), -half, half)
    found = float(np.sqrt(np.mean(np.square(kept)))) if codes.size else 0.0
    return scale * (found or levels / 4)


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive numbers."""
    return float(np.exp(np.mean(np.log(values))))


def power_of_two(ratio: float) -> float:
    """The power of two next to a positive ratio."""
    return 2.0 ** round(math.log2(ratio))


def warnings_of(
    parameter: Parameter, size: StepSize, rounding: StepRounding, law: Law
) -> list[str]:
    """What a user should know of a parameter's step before training."""
    found = []
    if parameter.epsilon == 0:
        found.append("epsilon rounds to 0 on its grid: no probe sees these weights")
    least = size.moved * smallest_gradient(law)
    if size.multiplier == 0 or (rounding is StepRounding.NEAREST and least < 0.5):
        found.append(f"a step of {least:.3g} LSB moves nothing with {rounding.value} rounding")
    largest = size.moved * law.largest / UNIT
    if largest > parameter.limit / 8:
        found.append(f"a step of {largest:,.0f} LSB crosses its grid of {parameter.limit:,} soon")
    return found
