"""The training step of a bundle in C, compiled for this machine; weights stay in its memory."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError, RecipeError
from intaglio.targets.base import Artifact, TensorSpec
from intaglio.targets.c.library import Port
from intaglio.targets.c.session import read_report
from intaglio.targets.c.training.library import TrainingLibrary
from intaglio.targets.c.training.packing import pack_weights, unpack_weights
from intaglio.targets.c.training.records import read_training_record
from intaglio.targets.c.variants import BY_NAME
from intaglio.targets.training import Stepper
from intaglio.targets.training_files import check_weights, read_training
from intaglio.transforms.forward_gradient.loss import SQUARED_ERROR_LIMIT
from intaglio.transforms.forward_gradient.step import StepResult, Weights

_AGAIN = "convert the model again"
_MOST_SHIFT = (1 << 32) - 1


class CStepper(Stepper):
    """The training step of target ``c``.

    Args:
        artifact: The artifact with role ``train_step``.
        folder: The bundle's folder; its ``weights.bin`` is what training starts from.
        variant: Name of the processor to compile for; this machine must run it.

    Attributes:
        library: The compiled step.

    Raises:
        InputError: A file is missing or damaged.
        RecipeError: The model has several inputs.
        ToolError: There is no compiler, or it failed.
    """

    def __init__(self, artifact: Artifact, folder: Path, variant: str) -> None:
        source = folder / artifact.path
        if not source.is_file():
            raise InputError(f"{source} is missing from the bundle", remedy=_AGAIN)
        training = read_training(folder)
        try:
            record = read_training_record(read_report(artifact, folder))
        except (KeyError, TypeError) as error:
            raise InputError(
                f"the report of {source} is damaged: {error}", remedy=_AGAIN
            ) from error
        if len(record.inputs) != 1:
            raise RecipeError(
                f"the model has {len(record.inputs)} inputs, and batches are of one",
                remedy="call the C functions themselves",
            )
        self.specification = training.specification
        self.runtime = f"c-{variant}"
        self._packed = record.packed
        self._input = _as_in(training.inputs[0], record.inputs[0])
        self._outputs = [
            _as_in(source, spec)
            for source, spec in zip(training.outputs, record.outputs, strict=True)
        ]
        self._logits = _as_in(training.outputs[0], record.logits)
        name = source.stem
        forced = [f"-D{name.upper()}_PORTABLE"] if variant == "portable" else []
        with tempfile.TemporaryDirectory(prefix="intaglio-", ignore_cleanup_errors=True) as build:
            self.library = TrainingLibrary(
                source.parent,
                name,
                _ports(record.inputs),
                _ports(record.outputs),
                self.specification.probes,
                Path(build),
                flags=("-O3", *BY_NAME[variant].flags, *forced),
            )
        self.set_weights(training.weights)

    def step(
        self, x: NDArray[Any], targets: NDArray[Any], seed: int, step_shift: int = 0
    ) -> StepResult:
        """Runs one step; see :meth:`intaglio.targets.training.Stepper.step`.

        Raises:
            InputError: The batch does not fit the model, or a target is out of range.
        """
        batch = self._batch(x)
        return self.library.step(
            [batch], self._targets(targets, len(batch)), len(batch), seed & 0xFFFFFFFF,
            _shift(step_shift),
        )  # fmt: skip

    def replay(self, seed: int, signs: tuple[int, ...], step_shift: int = 0) -> None:
        """Changes the weights as a step did that found these signs.

        Raises:
            InputError: There are not as many signs as probes, or one is none.
        """
        if len(signs) != self.specification.probes or not set(signs) <= {-1, 0, 1}:
            raise InputError(
                f"{list(signs)} are no signs of {self.specification.probes} probes",
                remedy="give 1, 0 or -1 for each",
            )
        self.library.replay(seed & 0xFFFFFFFF, signs, _shift(step_shift))

    def weights(self) -> dict[str, NDArray[Any]]:
        """A copy of the weights by parameter, in ONNX layout."""
        return unpack_weights(self._packed, self.library.weights())

    def set_weights(self, weights: Weights) -> None:
        """Takes over weights.

        Raises:
            InputError: They do not fit the step.
        """
        check_weights(self.specification, weights)
        self.library.set_weights(pack_weights(self._packed, weights))

    def predict(self, x: NDArray[Any]) -> NDArray[np.int8]:
        """The inference outputs of a batch with the weights at hand.

        Raises:
            InputError: The batch does not fit the model.
        """
        batch = self._batch(x)
        first = self.library.predict([batch], len(batch))[0]
        return np.asarray(_channels_first(first, self._outputs[0]))

    def seconds(self, count: int, rounds: int) -> float:
        """Processor time of a step on one sample, the median of some means; changes the weights."""
        x = np.zeros([int(size) for size in self._input.shape], self._input.dtype)
        squared = self.specification.loss == "mean-squared-error"
        shape = [int(size) for size in self._logits.shape] if squared else [1]
        targets = np.zeros(shape, np.int32)
        times = []
        for _ in range(rounds + 1):
            start = time.thread_time()
            for seed in range(count):
                self.library.step([x], targets, 1, seed, 0)
            times.append((time.thread_time() - start) / count)
        return sorted(times[1:])[rounds // 2]

    def _batch(self, x: NDArray[Any]) -> NDArray[Any]:
        """A batch as it lies in the memory of C."""
        array = np.asarray(x)
        spec = self._input
        turned = _channels_last(array, spec)
        sizes = tuple(spec.shape[1:])
        if turned.shape[1:] != sizes or array.dtype.name != spec.dtype or not len(array):
            raise InputError(
                f"the batch is {array.dtype}{list(array.shape)}, and a sample is "
                f"{spec.dtype}{list(sizes)} ({spec.layout or 'as in the model'})",
                remedy="give integers of the input's own scale, one sample or more",
            )
        return np.ascontiguousarray(turned)

    def _targets(self, targets: NDArray[Any], count: int) -> NDArray[np.int32]:
        array = np.asarray(targets)
        sizes = tuple(int(size) for size in self._logits.shape)
        if self.specification.loss == "mean-squared-error":
            turned = _channels_last(array, self._logits)
            fits, most = turned.shape == (count, *sizes[1:]), SQUARED_ERROR_LIMIT
            least, found = -most, f"targets beyond {most}"
        else:
            turned, fits, most = array, array.shape == (count,), sizes[-1] - 1
            least, found = 0, f"labels beyond 0 to {most}"
        if not fits:
            raise InputError(
                f"{count} samples have targets of shape {list(array.shape)}",
                remedy="give one for each sample",
            )
        if array.size and (array.min() < least or array.max() > most):
            raise InputError(f"there are {found}", remedy="check the labels")
        return np.ascontiguousarray(turned, np.int32)


def _shift(step_shift: int) -> int:
    if step_shift < 0:
        raise InputError("a step cannot be doubled", remedy="give a step shift of 0 or more")
    return min(step_shift, _MOST_SHIFT)


def _ports(specs: Sequence[TensorSpec]) -> list[Port]:
    return [Port(spec.name, [int(d) for d in spec.shape], spec.dtype) for spec in specs]


def _as_in(source: TensorSpec, spec: TensorSpec) -> TensorSpec:
    """``spec`` without its layout where the model has the channels last itself: nothing turns."""
    return dataclasses.replace(spec, layout="") if source.layout == spec.layout else spec


def _channels_last(array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    return array.transpose(0, 2, 3, 1) if spec.layout == "NHWC" and array.ndim == 4 else array


def _channels_first(array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    return array.transpose(0, 3, 1, 2) if spec.layout == "NHWC" and array.ndim == 4 else array
