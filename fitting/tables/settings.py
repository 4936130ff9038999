"""What a fitting run is told, and the texts `--set` takes for it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from intaglio.errors import RecipeError
from intaglio.fitting.image_pairs import PairTask, denoising, enlarging
from intaglio.fitting.tables.presets import Structure, preset

SIGMAS = (15, 25, 50)
TASKS = ("superres", "denoise")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network learns.

    Attributes:
        rate: Largest learning rate of Adam, in steps of a table's entries.
        stem_rate: What the stem's weights take of it.
        tap_rate: What the taps take of it.
        warm_up: Share of the crops over which the rate rises from nothing.
        final_rate: Share of the rate at the end of the cosine.
        crop: Cells on a side of a crop that count.
        margin: Cells around them that the network sees only.
        batches: Crops of a step, stage by stage.
        shares: Share of all crops that each stage takes; they sum to 1.
        average: Decay of the average of the weights, the result of the run.
        teacher_share: What the teacher's output makes of the target; 0 to 1.
        validations: How often to validate, spread over the run.
        checkpoint_every: Steps from one checkpoint to the next.
        held_out: Pictures held out for validation, at most.
    """

    rate: float = 0.6
    stem_rate: float = 1.0
    tap_rate: float = 1.0
    warm_up: float = 0.03
    final_rate: float = 0.01
    crop: int = 32
    margin: int = 4
    batches: tuple[int, ...] = (8, 16, 32)
    shares: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)
    average: float = 0.999
    teacher_share: float = 0.5
    validations: int = 20
    checkpoint_every: int = 200
    held_out: int = 20

    def __post_init__(self) -> None:
        """Refuses what makes no sense.

        Raises:
            RecipeError: A number is out of range.
        """
        bounds: dict[str, tuple[float, float]] = {
            "rate": (1e-6, 100),
            "stem_rate": (0, 100),
            "tap_rate": (0, 100),
            "warm_up": (0, 1),
            "final_rate": (0, 1),
            "crop": (4, 512),
            "margin": (0, 64),
            "average": (0, 0.999999),
            "teacher_share": (0, 1),
            "validations": (1, 10_000),
            "checkpoint_every": (1, 1_000_000),
            "held_out": (1, 1000),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise RecipeError(f"{name} is {value}", remedy=f"give {low:g} to {high:g}")
        if len(self.batches) != len(self.shares) or not self.batches:
            raise RecipeError(
                f"batches has {len(self.batches)} stages and shares has {len(self.shares)}",
                remedy="give as many of the one as of the other",
            )
        if any(not 1 <= size <= 4096 for size in self.batches):
            raise RecipeError(f"batches is {_text(self.batches)}", remedy="give 1 to 4096 each")
        if min(self.shares) <= 0 or not math.isclose(sum(self.shares), 1, abs_tol=1e-6):
            raise RecipeError(
                f"shares is {_text(self.shares)}", remedy="give positive numbers that sum to 1"
            )


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """All of it.

    Attributes:
        task: What to restore.
        preset: Name of the preset that the rest began from.
        structure: The network's layers.
        recipe: How it learns.
        steps: Steps of the whole run; 0 while they are not known.
        seed: Of the first weights and the crops.
        threads: Threads that compute; the same number gives the same bits.
    """

    task: PairTask
    preset: str
    structure: Structure
    recipe: Recipe
    steps: int
    seed: int
    threads: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-friendly data."""
        data = dataclasses.asdict(self)
        data["recipe"] = {k: list(v) if isinstance(v, tuple) else v for k, v in _recipe(self)}
        return data


def _recipe(settings: FitSettings) -> list[tuple[str, Any]]:
    return list(dataclasses.asdict(settings.recipe).items())


def task_of(name: str, scale: int | None, sigma: int | None) -> PairTask:
    """The task that the options say.

    Args:
        name: ``superres`` or ``denoise``.
        scale: Factor of super-resolution, else None.
        sigma: Noise to remove, else None.

    Raises:
        RecipeError: They do not fit together, or there is no such task.
    """
    if name == "superres":
        if sigma is not None:
            raise RecipeError("--sigma is for denoising", remedy="give --scale, or --task denoise")
        if scale is None:
            raise RecipeError("super-resolution needs a factor", remedy="give --scale 2, 3 or 4")
        return enlarging(scale)
    if name == "denoise":
        if scale is not None:
            raise RecipeError(
                "--scale is for super-resolution", remedy="give --sigma, or --task superres"
            )
        if sigma not in SIGMAS:
            given = "no --sigma" if sigma is None else f"--sigma {sigma}"
            raise RecipeError(f"{given} for denoising", remedy="give --sigma 15, 25 or 50")
        return denoising(float(sigma))
    raise RecipeError(f"no task '{name}'", remedy=f"give one of {', '.join(TASKS)}")


def make_settings(
    task: PairTask,
    name: str,
    steps: int,
    seed: int,
    threads: int,
    changes: Mapping[str, Any] | Sequence[str] = (),
) -> FitSettings:
    """Settings of a preset, with changes.

    Args:
        task: What to restore.
        name: Of the preset.
        steps: Steps of the run; 0 while they are not known.
        seed: Any integer that is not negative.
        threads: At least 1.
        changes: Fields of Structure and Recipe: values by name, or texts ``name=value``.

    Raises:
        RecipeError: Something makes no sense.
    """
    chosen = preset(name)
    if steps < 0:
        raise RecipeError(f"--steps is {steps}", remedy="give 1 or more")
    if seed < 0:
        raise RecipeError(f"--seed is {seed}", remedy="give 0 or more")
    if not 1 <= threads <= 1024:
        raise RecipeError(f"--threads is {threads}", remedy="give 1 or more")
    defaults = (dataclasses.asdict(Structure()), dataclasses.asdict(Recipe()))
    parts: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for key, value in _pairs(changes):
        place = next((i for i, known in enumerate(defaults) if key in known), None)
        if place is None:
            known = ", ".join([*defaults[0], *defaults[1]])
            raise RecipeError(f"no setting '{key}'", remedy=f"there are {known}")
        parts[place][key] = _parsed(key, value, defaults[place][key])
    structure = dataclasses.replace(chosen.structure, **parts[0]).check(task.stride)
    if "batches" in parts[1] and "shares" not in parts[1]:
        count = len(parts[1]["batches"])
        parts[1]["shares"] = (1 / count,) * count
    recipe = dataclasses.replace(Recipe(rate=chosen.rate), **parts[1])
    return FitSettings(task, name, structure, recipe, steps, seed, threads)


def _pairs(changes: Mapping[str, Any] | Sequence[str]) -> list[tuple[str, Any]]:
    if isinstance(changes, Mapping):
        return list(changes.items())
    found = []
    for text in changes:
        key, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"--set {text} has no value", remedy="write --set name=value")
        found.append((key.strip(), value.strip()))
    return found


def _parsed(key: str, value: Any, default: Any) -> Any:
    """A value of the type that the default has."""
    try:
        if isinstance(default, tuple):
            items = value.split(",") if isinstance(value, str) else value
            return tuple(type(default[0])(item) for item in items)
        if isinstance(default, int) and int(value) != float(value):
            raise ValueError(value)
        return type(default)(value)
    except (TypeError, ValueError) as error:
        raise RecipeError(
            f"{key} is {value!r}", remedy=f"give a value like {_text(default)}"
        ) from error


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
