"""What runs the training step of a bundle: one interface for all runtimes.

A stepper owns the weights and changes them in place; everything else about training (data, order,
checkpoints, curves) is the caller's.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.forward_gradient.specification import StepSpecification
from intaglio.transforms.forward_gradient.step import StepResult, Weights


class Stepper(abc.ABC):
    """A training step in some runtime, with the weights it works on.

    Attributes:
        specification: What the step does.
        runtime: Name of what computes it, such as ``onnxruntime`` or ``c-vnni``.
    """

    specification: StepSpecification
    runtime: str

    @abc.abstractmethod
    def step(
        self, x: NDArray[Any], targets: NDArray[Any], seed: int, step_shift: int = 0
    ) -> StepResult:
        """Runs one step and changes the weights.

        Args:
            x: Batch in the integers of the model's input, ``[N, ...]`` in ONNX layout.
            targets: int64 labels [N]; for the squared error int32 numbers in the logits' scale,
                shaped as the logits.
            seed: Seed of the step, 0 to 2^32 - 1.
            step_shift: How many times the step is halved.

        Returns:
            Losses and signs.
        """

    @abc.abstractmethod
    def replay(self, seed: int, signs: tuple[int, ...], step_shift: int = 0) -> None:
        """Changes the weights as a step did that found these signs."""

    @abc.abstractmethod
    def weights(self) -> dict[str, NDArray[Any]]:
        """A copy of the weights by parameter, in ONNX layout."""

    @abc.abstractmethod
    def set_weights(self, weights: Weights) -> None:
        """Takes over weights: by parameter, in ONNX layout, within the limits."""

    @abc.abstractmethod
    def predict(self, x: NDArray[Any]) -> NDArray[np.int8]:
        """The inference outputs of a batch with the weights at hand, before dequantization."""

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Frees what the runtime holds."""
