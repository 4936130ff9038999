"""How large each step's batch and learning rate are: a function of the step alone.

Stages take shares of all *crops*, not of the steps: most of the gain comes from many small steps,
the rest from large ones at a low rate, and time goes with the crops. The rate rises over the first
crops and falls as a half cosine over all of them.
"""

from __future__ import annotations

import math

from intaglio.fitting.tables.settings import Recipe


class Schedule:
    """The schedule of a run.

    Args:
        recipe: Batches, shares, rates.
        steps: Steps of the run.
    """

    def __init__(self, recipe: Recipe, steps: int) -> None:
        self._recipe = recipe
        self.steps = steps
        # A stage's steps go with its share of the crops over the crops of its steps.
        weights = [share / size for share, size in zip(recipe.shares, recipe.batches, strict=True)]
        ends: list[int] = []
        seen, so_far = [0], 0.0
        for weight, size in zip(weights, recipe.batches, strict=True):
            so_far += weight
            begin = ends[-1] if ends else 0
            ends.append(round(steps * so_far / sum(weights)))
            seen.append(seen[-1] + size * (ends[-1] - begin))
        ends[-1] = steps
        self._ends, self._seen = ends, seen

    def batch(self, step: int) -> int:
        """Crops of a step."""
        return self._recipe.batches[self._stage(step)]

    def crops(self, step: int) -> int:
        """Crops of all steps before one."""
        stage = self._stage(step)
        begin = self._ends[stage - 1] if stage else 0
        return self._seen[stage] + self._recipe.batches[stage] * (step - begin)

    def progress(self, step: int) -> float:
        """Share of the crops that were seen before a step."""
        return self.crops(step) / max(1, self._seen[-1])

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        recipe, done = self._recipe, self.progress(step)
        # The first step has half of its own crops behind it, so that it does not stand still.
        middle = done + 0.5 * self.batch(step) / max(1, self._seen[-1])
        rise = min(1.0, middle / recipe.warm_up) if recipe.warm_up else 1.0
        cosine = 0.5 + 0.5 * math.cos(math.pi * done)
        return recipe.rate * rise * (recipe.final_rate + (1 - recipe.final_rate) * cosine)

    def _stage(self, step: int) -> int:
        for stage, end in enumerate(self._ends):
            if step < end:
                return stage
        return len(self._ends) - 1


def steps_for(recipe: Recipe, seconds: float, costs: list[float]) -> int:
    """Steps that fit in a time.

    Args:
        recipe: Batches and shares.
        seconds: The time for steps.
        costs: Seconds of a step of each stage.
    """
    weights = [share / size for share, size in zip(recipe.shares, recipe.batches, strict=True)]
    mean = sum(w * cost for w, cost in zip(weights, costs, strict=True)) / sum(weights)
    return max(1, int(seconds / mean))
