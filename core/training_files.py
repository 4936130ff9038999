"""Opens what a bundle holds for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intaglio.errors import RecipeError
from intaglio.preparing import INFER, TRAIN_STEP
from intaglio.targets.base import Runtime
from intaglio.targets.training import Stepper
from intaglio.targets.training_files import Training, read_training

if TYPE_CHECKING:
    from intaglio.bundle import Bundle


def is_training(bundle: Bundle) -> bool:
    """Whether a bundle has training steps."""
    return any(artifact.role == TRAIN_STEP for artifact in bundle.artifacts)


def load_training(bundle: Bundle) -> Training:
    """Specification, initial weights and border of a bundle's training step.

    Args:
        bundle: A bundle that the recipe ``forward-gradient`` made.

    Returns:
        What stands in ``training.json`` and ``weights.bin``. ``inputs`` say how real samples become
        the integers that a :class:`~intaglio.targets.training.Stepper` takes.

    Raises:
        RecipeError: The bundle has no training step.
        InputError: A file is missing or damaged.
    """
    require_training(bundle)
    return read_training(bundle.folder)


def require_training(bundle: Bundle) -> None:
    """Refuses a bundle without training steps.

    Raises:
        RecipeError: It has none.
    """
    if not is_training(bundle):
        raise RecipeError(
            f"bundle {bundle.folder} has no training step",
            remedy="convert the model with --recipe forward-gradient",
        )


def require_one_input(training: Training) -> None:
    """Refuses a model whose samples are more than one tensor: batches are of one.

    Raises:
        RecipeError: It has several inputs.
    """
    if len(training.inputs) != 1:
        names = ", ".join(spec.name for spec in training.inputs)
        raise RecipeError(
            f"the model has {len(training.inputs)} inputs ({names}), and batches are of one",
            remedy="run train_step.onnx or the C functions yourself: they take all inputs",
        )


def stepper_runtimes(bundle: Bundle, target: str) -> list[Runtime]:
    """The runtimes here that run a target's training step, the one to prefer first.

    Raises:
        RecipeError: The bundle has no training step of this target.
    """
    require_training(bundle)
    artifact = bundle.artifact(target, TRAIN_STEP)
    return list(bundle.opener(artifact).runtimes(artifact))


def open_stepper(bundle: Bundle, target: str, runtime: str | None = None) -> Stepper:
    """Opens the training step of a target, at the bundle's initial weights.

    Args:
        bundle: The bundle.
        target: ``onnx-integer`` or ``c``.
        runtime: One of :func:`stepper_runtimes`; None for the first.

    Raises:
        RecipeError: The bundle has no such training step, or nothing of that name runs it here.
        InputError: A file is missing or damaged.
        ToolError: The runtime failed.
    """
    require_training(bundle)
    artifact = bundle.artifact(target, TRAIN_STEP)
    return bundle.opener(artifact).open_stepper(artifact, bundle.folder, runtime)


__all__ = [
    "INFER",
    "TRAIN_STEP",
    "Training",
    "is_training",
    "load_training",
    "open_stepper",
    "require_one_input",
    "require_training",
    "stepper_runtimes",
]
