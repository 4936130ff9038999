"""A training step in onnxruntime whose weights stay where they are.

Weights are held twice as onnxruntime's own tensors. A step reads one set and writes the other, then
they change places: no number of them passes through numpy. Inference reads the same tensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from intaglio.errors import InputError, ToolError
from intaglio.passes.train.build_step import (
    LABELS,
    LOSS_MINUS,
    LOSS_PLUS,
    SEED,
    SIGN,
    STEP_SHIFT,
    TARGET,
    UPDATED,
)
from intaglio.targets.base import Artifact, TensorSpec
from intaglio.targets.onnx.session import make_session
from intaglio.targets.training import Stepper
from intaglio.targets.training_files import Training, check_weights, read_training
from intaglio.transforms.forward_gradient.step import StepResult, Weights, update

INFER = "infer"

_AGAIN = "convert the model again"


class OnnxStepper(Stepper):
    """The training step of target ``onnx-integer``.

    Args:
        training: Specification, weights to start from, and specs of the border.
        step: The training step, serialized.
        infer: The inference model, serialized; its weights that train are initializers.
        threads: Threads within an operator.

    Raises:
        InputError: The models do not fit the specification.
    """

    runtime = "onnxruntime"

    def __init__(self, training: Training, step: bytes, infer: bytes, threads: int = 1) -> None:
        self.specification = training.specification
        self._data = training.inputs[0]
        self._outputs = [spec.name for spec in training.outputs]
        self._session = make_session(step, threads=threads, arena=True)
        self._infer = with_weight_inputs(infer, training)
        self._infer_session: onnxruntime.InferenceSession | None = None
        self._threads = threads
        probes = self.specification.probes
        self._losses = [_tensor(np.zeros(probes, np.int64)) for _ in range(2)]
        self._signs = _tensor(np.zeros(probes, np.int8))
        # Two sets of weights, the steps that lead from one to the other, and which set counts.
        self._held: list[dict[str, Any]] = []
        self._bindings: list[Any] = []
        self._turn = 0
        self.set_weights(training.weights)

    @classmethod
    def open(cls, artifact: Artifact, folder: Path, threads: int = 1) -> OnnxStepper:
        """Opens the training step of a bundle, at the weights of its ``weights.bin``.

        Args:
            artifact: The artifact with role ``train_step``.
            folder: The bundle's folder.
            threads: Threads within an operator.

        Raises:
            InputError: A file is missing or damaged.
        """
        path = folder / artifact.path
        infer = _read(path.with_name(f"{INFER}.onnx"))
        return cls(read_training(folder), _read(path), infer, threads)

    def step(
        self, x: NDArray[Any], targets: NDArray[Any], seed: int, step_shift: int = 0
    ) -> StepResult:
        """Runs one step; see :meth:`intaglio.targets.training.Stepper.step`.

        Raises:
            InputError: The batch does not fit the model.
        """
        binding = self._bindings[self._turn]
        x = _checked(x, self._data)
        name, target = self._target(targets, len(x))
        fed = {
            self._data.name: x,
            name: target,
            SEED: np.array(seed, np.int64),
            STEP_SHIFT: np.array(step_shift, np.int64),
        }
        for key, array in fed.items():
            binding.bind_cpu_input(key, array)
        _run(self._session, binding)
        self._turn = 1 - self._turn
        plus, minus = (tuple(loss.numpy().tolist()) for loss in self._losses)
        return StepResult(plus, minus, tuple(self._signs.numpy().tolist()))

    def replay(self, seed: int, signs: tuple[int, ...], step_shift: int = 0) -> None:
        """Changes the weights as a step did that found these signs."""
        self.set_weights(update(self.specification, self.weights(), seed, signs, step_shift))

    def weights(self) -> dict[str, NDArray[Any]]:
        """A copy of the weights by parameter."""
        held = self._held[self._turn]
        return {name: np.array(tensor.numpy()) for name, tensor in held.items()}

    def set_weights(self, weights: Weights) -> None:
        """Takes over weights.

        Raises:
            InputError: They do not fit the step.
        """
        check_weights(self.specification, weights)
        names = [p.name for p in self.specification.parameters]
        self._held = [{name: _tensor(weights[name]) for name in names} for _ in range(2)]
        self._turn = 0
        self._bindings = [self._bound(self._held[i], self._held[1 - i]) for i in range(2)]

    def predict(self, x: NDArray[Any]) -> NDArray[np.int8]:
        """The inference outputs of a batch with the weights at hand.

        Raises:
            InputError: The batch does not fit the model.
        """
        size = self._data.shape[0] if self._data.shape else None
        if not isinstance(size, int) or not x.shape or len(x) in (0, size):
            return self._predict(x)
        # The model's batch is fixed: in pieces, the last one filled up.
        whole = np.concatenate([x, np.repeat(x[-1:], -len(x) % size, axis=0)])
        pieces = [self._predict(whole[at : at + size]) for at in range(0, len(whole), size)]
        return np.concatenate(pieces)[: len(x)]

    def _predict(self, x: NDArray[Any]) -> NDArray[np.int8]:
        if self._infer_session is None:
            self._infer_session = make_session(self._infer, threads=self._threads)
        binding = self._infer_session.io_binding()
        binding.bind_cpu_input(self._data.name, _checked(x, self._data))
        for name, tensor in self._held[self._turn].items():
            binding.bind_ortvalue_input(name, tensor)
        binding.bind_output(self._outputs[0], "cpu")
        _run(self._infer_session, binding)
        return np.asarray(binding.copy_outputs_to_cpu()[0])

    def _bound(self, old: dict[str, Any], new: dict[str, Any]) -> Any:
        """A step that reads one set of weights and writes the other."""
        binding = self._session.io_binding()
        for name, tensor in old.items():
            binding.bind_ortvalue_input(name, tensor)
        for name, tensor in new.items():
            binding.bind_ortvalue_output(UPDATED + name, tensor)
        binding.bind_ortvalue_output(LOSS_PLUS, self._losses[0])
        binding.bind_ortvalue_output(LOSS_MINUS, self._losses[1])
        binding.bind_ortvalue_output(SIGN, self._signs)
        return binding

    def _target(self, targets: NDArray[Any], count: int) -> tuple[str, NDArray[Any]]:
        squared = self.specification.loss == "mean-squared-error"
        dtype = np.int32 if squared else np.int64
        array = np.ascontiguousarray(targets, dtype)
        if len(array) != count or (not squared and array.ndim != 1):
            raise InputError(
                f"{count} samples have targets of shape {list(array.shape)}",
                remedy="give one for each sample",
            )
        if not squared and array.size and array.min() < 0:
            raise InputError("a label is negative", remedy="labels count from 0")
        return (TARGET if squared else LABELS), array


def with_weight_inputs(model: bytes, training: Training) -> bytes:
    """An inference model whose weights that train are inputs.

    Raises:
        InputError: It has no such weights.
    """
    proto = onnx.load_from_string(model)
    names = {p.name for p in training.specification.parameters}
    for tensor in [t for t in proto.graph.initializer if t.name in names]:
        info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        proto.graph.input.append(info)
        proto.graph.initializer.remove(tensor)
        names.discard(tensor.name)
    if names:
        raise InputError(f"the inference model has no weights '{min(names)}'", remedy=_AGAIN)
    return bytes(proto.SerializeToString())


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"{path} is missing from the bundle", remedy=_AGAIN)
    return path.read_bytes()


def _tensor(array: NDArray[Any]) -> Any:
    """A tensor of its own memory: onnxruntime keeps hold of the array it is given."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.array(array, order="C"))


def _checked(x: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    array = np.ascontiguousarray(x)
    fits = array.ndim == len(spec.shape) and all(
        not isinstance(want, int) or want == have
        for want, have in zip(spec.shape, array.shape, strict=True)
    )
    if fits and array.dtype.name == spec.dtype:
        return array
    first = spec.shape[0] if spec.shape else None
    fixed = isinstance(first, int) and array.ndim == len(spec.shape)
    raise InputError(
        f"the batch is {array.dtype.name}{list(array.shape)}, and the model takes "
        f"{spec.dtype}{list(spec.shape)}",
        remedy=f"train with batches of {first}, or export the model with an open batch axis"
        if fixed and array.shape[1:] == spec.shape[1:]
        else "give integers of the input's own scale",
    )


def _run(session: onnxruntime.InferenceSession, binding: Any) -> None:
    try:
        session.run_with_iobinding(binding)
    except Exception as error:  # onnxruntime raises classes of its own
        raise ToolError(
            f"onnxruntime: {str(error).strip().splitlines()[0]}",
            command=["onnxruntime"],
            remedy="a label beyond the classes? Labels count from 0",
        ) from error
