"""How long, with what batches and how far: the same for float and integers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Schedule:
    """One way of training with forward gradients.

    Attributes:
        steps: How many.
        batch: Samples a step; all of them if there are no more.
        rate: How far a step moves a weight at first, as a part of the weights.
        epsilon: How far a probe goes, likewise.
        halvings: How often the step is halved, evenly over the run.
        probes: Pairs of forward calls a step.
        scores: How often the test set is scored.
    """

    steps: int
    batch: int
    rate: float
    epsilon: float
    halvings: int = 5
    probes: int = 1
    scores: int = 20

    def shift(self, step: int) -> int:
        """How many times the step has been halved."""
        return step * (self.halvings + 1) // self.steps

    def scored(self, step: int) -> bool:
        """Whether to score after this step."""
        return (step + 1) * self.scores // self.steps > step * self.scores // self.steps


@dataclasses.dataclass(frozen=True)
class Curve:
    """Accuracy in percent by step.

    Attributes:
        points: (steps, accuracy), from before the first step to after the last.
        facts: What else was seen.
    """

    points: tuple[tuple[int, float], ...]
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def first(self) -> float:
        """Accuracy before training."""
        return self.points[0][1]

    @property
    def last(self) -> float:
        """Accuracy after training."""
        return self.points[-1][1]


def batches(count: int, schedule: Schedule, seed: int) -> Iterator[NDArray[np.int64]]:
    """Indices of the samples of every step: each sample once before any comes again.

    What does not fill a batch is left for the next shuffle.
    """
    generator = np.random.default_rng([seed, 1])
    size = min(schedule.batch, count)
    order, at = generator.permutation(count), 0
    for _ in range(schedule.steps):
        if at + size > count:
            order, at = generator.permutation(count), 0
        yield order[at : at + size]
        at += size
