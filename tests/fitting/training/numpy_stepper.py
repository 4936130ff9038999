"""A stepper in numpy for the small linear classifier: the definition itself, no runtime."""

from __future__ import annotations

import dataclasses

import numpy as np

from intaglio.targets.base import TensorSpec
from intaglio.targets.training import Stepper
from intaglio.targets.training_files import Training
from intaglio.transforms.forward_gradient.step import clip_to_limits, train_step, update
from tests.transforms.forward_gradient.small_step import (
    CLASSES,
    FEATURES,
    logits,
    small_loss,
    small_specification,
    small_weights,
)


class NumpyStepper(Stepper):
    """Runs ``train_step`` on weights of its own.

    Args:
        training: What to train.
        stop_in: Raise ``stop`` in the call of ``step`` with this number, counted from 0.
        stop: What to raise there.
    """

    runtime = "numpy"

    def __init__(self, training, stop_in=None, stop=KeyboardInterrupt):
        self.specification = training.specification
        self._weights = dict(training.weights)
        self._stop_in, self._stop = stop_in, stop
        self.calls = 0
        self.seen = []

    def step(self, x, targets, seed, step_shift=0):
        if self.calls == self._stop_in:
            raise self._stop
        self.calls += 1
        self.seen.append((x.copy(), targets.copy(), seed, step_shift))
        loss = small_loss(x, targets)
        self._weights, result = train_step(
            self.specification, self._weights, seed, loss, step_shift
        )
        return result

    def replay(self, seed, signs, step_shift=0):
        self._weights = update(self.specification, self._weights, seed, signs, step_shift)

    def weights(self):
        return {name: array.copy() for name, array in self._weights.items()}

    def set_weights(self, weights):
        self._weights = {name: array.copy() for name, array in weights.items()}

    def predict(self, x):
        return np.clip(logits(self._weights, x), -128, 127).astype(np.int8)


def small_training(**changes):
    """The small classifier as a bundle would hold it."""
    specification = small_specification(**{"multiplier": 8, "shift": 2, **changes})
    return Training(
        specification,
        clip_to_limits(specification, small_weights()),
        (TensorSpec("image", ("N", FEATURES), "int8", "", 0.5, -3),),
        (TensorSpec("logits", ("N", CLASSES), "int8", "", 0.1, 0),),
        TensorSpec("labels", ("N",), "int64"),
    )


def squared_training():
    """The same border with the squared error."""
    plain = small_training()
    specification = dataclasses.replace(
        plain.specification, loss="mean-squared-error", logit_scale=0.25
    )
    target = TensorSpec("target", ("N", CLASSES), "int32", "", 0.25, 0)
    return dataclasses.replace(plain, specification=specification, target=target)
