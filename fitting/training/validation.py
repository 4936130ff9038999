"""How good the weights at hand are, on samples that training does not see."""

from __future__ import annotations

import dataclasses

import numpy as np

from intaglio.fitting.training.data import Samples
from intaglio.targets.training import Stepper
from intaglio.targets.training_files import Training

_CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Validation:
    """What a validation found.

    Attributes:
        step: After how many steps.
        loss: Mean loss in real units: nats, or squared error.
        accuracy: Share of samples whose largest output is their class; None without classes.
    """

    step: int
    loss: float
    accuracy: float | None

    def better_than(self, other: Validation) -> bool:
        """Whether it is: more accurate, or as accurate with less loss."""
        if self.accuracy is None or other.accuracy is None:
            return self.loss < other.loss
        return (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


def validate(stepper: Stepper, training: Training, samples: Samples, step: int) -> Validation:
    """Runs inference on all samples with the stepper's weights."""
    spec = training.outputs[0]
    scale, zero_point = float(spec.scale or 1.0), int(spec.zero_point or 0)
    total, right = 0.0, 0
    for start in range(0, len(samples), _CHUNK):
        part = slice(start, start + _CHUNK)
        outputs = stepper.predict(samples.x[part]).astype(np.int64) - zero_point
        targets = samples.targets[part]
        real = scale * outputs.reshape(len(targets), -1)
        if training.specification.loss == "cross-entropy":
            shifted = real - real.max(axis=1, keepdims=True)
            logarithm = np.log(np.exp(shifted).sum(axis=1))
            total += float((logarithm - shifted[np.arange(len(targets)), targets]).sum())
            right += int((real.argmax(axis=1) == targets).sum())
        else:
            wanted = training.specification.logit_scale * targets.reshape(len(targets), -1)
            total += float(((real - wanted) ** 2).mean(axis=1).sum())
    classes = training.specification.loss == "cross-entropy"
    return Validation(step, total / len(samples), right / len(samples) if classes else None)
