"""What tests of training share: a bundle to train, samples, and a Ctrl-C at the right moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import intaglio
from intaglio.bundle import Bundle
from intaglio.training_files import load_training

DIGITS = Path(__file__).parents[2] / "sample_models" / "digits"

Arrays = dict[str, np.ndarray]

#: A run that is over in a moment, with all that a run can have.
SHORT: dict[str, Any] = {
    "steps": 200,
    "batch": 8,
    "seed": 5,
    "halve_every": 80,
    "validate_every": 50,
    "checkpoint_every": 48,
}


def convert(out: Path, *settings: str, targets: tuple[str, ...] = ("onnx-integer",)) -> Bundle:
    """The sample model, converted to learn."""
    model, data = DIGITS / "digits.onnx", DIGITS / "calibration.npz"
    return intaglio.convert(
        model, "forward-gradient", list(targets), data, out, sets=list(settings)
    )


def mirrored_digits() -> tuple[Arrays, Arrays]:
    """The test pictures, mirrored: to train on, and to validate on."""
    stored = np.load(DIGITS / "test.npz")
    image, labels = np.ascontiguousarray(stored["image"][..., ::-1]), stored["labels"]
    first = {"image": image[:200], "labels": labels[:200]}
    return first, {"image": image[200:], "labels": labels[200:]}


def codes(image: np.ndarray, bundle: Bundle) -> np.ndarray:
    """Pictures in the integers of the model's input."""
    spec = load_training(bundle).inputs[0]
    real = np.rint(image.astype(np.float64) / spec.scale) + spec.zero_point
    return np.clip(real, -128, 127).astype(np.int8)


class Stop:
    """A listener that presses Ctrl-C behind a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, done: int, total: int, loss: float, accuracy: float | None) -> None:
        if done == self.step:
            raise KeyboardInterrupt
