"""A linear classifier in integers with a training step: numpy alone, small enough to follow."""

from __future__ import annotations

import dataclasses

import numpy as np

from intaglio.transforms.forward_gradient.loss import cross_entropy
from intaglio.transforms.forward_gradient.randomness import Law
from intaglio.transforms.forward_gradient.specification import (
    Mask,
    Parameter,
    StepRounding,
    StepSpecification,
)

FEATURES, CLASSES = 6, 3


def small_specification(
    probes=1,
    law=Law.RADEMACHER,
    rounding=StepRounding.NEAREST,
    sharpness=False,
    mask: Mask | None = None,
    **changes,
) -> StepSpecification:
    """Weights [6, 3] and biases [3]; ``changes`` go to both."""
    common = {"epsilon": 100, "multiplier": 3, "shift": 1, "limit": 32000, "radius": 50, **changes}
    weights = Parameter("w", (FEATURES, CLASSES), "int16", 2.0**-12, number=0, mask=mask, **common)
    biases = Parameter("b", (CLASSES,), "int32", 2.0**-12, number=1, **{**common, "limit": 1 << 20})
    return StepSpecification((weights, biases), "cross-entropy", 0.01, 8, probes, law, rounding,
                             sharpness)  # fmt: skip


def small_weights(seed=0, largest=3000):
    rng = np.random.default_rng(seed)
    return {
        "w": rng.integers(-largest, largest + 1, (FEATURES, CLASSES)).astype(np.int16),
        "b": rng.integers(-largest, largest + 1, CLASSES).astype(np.int32),
    }


def small_samples(count=32, seed=0):
    """Separable samples: int8 [count, 6] and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    x = rng.integers(-40, 41, (count, FEATURES))
    x[np.arange(count), labels] += 60
    return x.astype(np.int8), labels.astype(np.int64)


def logits(weights, x):
    """int32 [N, 3]."""
    product = x.astype(np.int64) @ weights["w"].astype(np.int64)
    return ((product + weights["b"].astype(np.int64)) >> 9).astype(np.int32)


def small_loss(x, labels):
    return lambda weights: cross_entropy(logits(weights, x), labels)


def with_parameters(specification, **changes):
    changed = tuple(dataclasses.replace(p, **changes) for p in specification.parameters)
    return dataclasses.replace(specification, parameters=changed)
