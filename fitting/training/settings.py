"""What a training run is told."""

from __future__ import annotations

import dataclasses
from typing import Any

from intaglio.errors import RecipeError


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """How long and in what order to train.

    Attributes:
        steps: Steps of the whole run.
        batch: Samples a step sees.
        seed: Seed of the first step and of the order of the samples.
        halve_every: Halve the step each time so many steps are done; 0 for never.
        validate_every: Validate each time so many steps are done, and at the end.
        patience: Stop after so many validations without a better one; 0 for never.
        checkpoint_every: Save all weights each time so many steps are done.
    """

    steps: int = 1000
    batch: int = 16
    seed: int = 1
    halve_every: int = 0
    validate_every: int = 100
    patience: int = 0
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        """Refuses what makes no sense.

        Raises:
            RecipeError: A number is out of range.
        """
        least = {"steps": 1, "batch": 1, "validate_every": 1, "checkpoint_every": 1}
        for field in dataclasses.fields(self):
            found, smallest = getattr(self, field.name), least.get(field.name, 0)
            if found < smallest:
                name = field.name.replace("_", "-")
                raise RecipeError(f"--{name} is {found}", remedy=f"give {smallest} or more")

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-friendly data."""
        return dataclasses.asdict(self)
