"""Labelled samples for training: read from a file, checked, and brought to the model's integers."""

from __future__ import annotations

import dataclasses
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError
from intaglio.targets.base import TensorSpec
from intaglio.targets.training_files import Training
from intaglio.transforms.forward_gradient.loss import SQUARED_ERROR_LIMIT

#: Names that labels and targets go by, the first that is there counts.
_LABELS = ("labels", "label", "y")
_TARGETS = ("target", "targets", "y")

Arrays = Mapping[str, NDArray[Any]]

# What reading a damaged, truncated, encrypted or oddly compressed file can raise.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    NotImplementedError,
)


@dataclasses.dataclass(frozen=True)
class Samples:
    """Samples as a stepper takes them.

    Attributes:
        x: int8 (or what the model's input is) ``[N, ...]``.
        targets: int64 labels ``[N]``; for the squared error int32 in the scale of the logits.
        clipped: Share of the real input values that lay outside the model's range.
    """

    x: NDArray[Any]
    targets: NDArray[Any]
    clipped: float = 0.0

    def __len__(self) -> int:
        return len(self.x)


def read_samples(source: str | Path | Arrays, training: Training, what: str) -> Samples:
    """Reads and checks labelled samples.

    Args:
        source: A ``.npz`` file, or arrays by name.
        training: What the bundle says of its border.
        what: What they are, for messages: ``training data``.

    Returns:
        The samples.

    Raises:
        InputError: They are missing, damaged, of the wrong shape, not finite, or labelled with
            classes that the model does not have.
    """
    arrays = dict(source) if isinstance(source, Mapping) else _load(Path(source), what)
    origin = what if isinstance(source, Mapping) else f"{what} {Path(source).name}"
    spec = training.inputs[0]
    wanted = _LABELS if training.specification.loss == "cross-entropy" else _TARGETS
    what_for = "labels" if wanted is _LABELS else "targets"
    target_name = next((name for name in wanted if name in arrays), None)
    if target_name is None:
        raise InputError(
            f"{origin} holds no {what_for}: there are {_listed(arrays)}",
            remedy=f"save them under the name {wanted[0]}",
        )
    x = np.asarray(arrays[_input_name(arrays, spec, target_name, origin)])
    integers, clipped = _integers(x, spec, origin)
    targets = _targets(np.asarray(arrays[target_name]), len(x), training, origin)
    return Samples(integers, targets, clipped)


def _load(path: Path, what: str) -> dict[str, NDArray[Any]]:
    remedy = f"give {what} as a .npz file with the samples and their labels"
    try:
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.ndarray):
            with stored:
                return {name: stored[name] for name in stored.files}
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read {path}: {reason}", remedy=remedy) from error
    raise InputError(f"{path} holds one array without labels", remedy=remedy)


def _listed(arrays: Arrays) -> str:
    return ", ".join(sorted(arrays)) or "no arrays"


def _input_name(arrays: Arrays, spec: TensorSpec, labels: str, origin: str) -> str:
    for name in (spec.name, "x"):
        if name in arrays:
            return name
    others = [name for name in arrays if name != labels]
    if len(others) == 1:
        return others[0]
    raise InputError(
        f"{origin} holds {_listed(arrays)}, and the model's input is '{spec.name}'",
        remedy=f"save the samples under the name {spec.name}",
    )


def _integers(x: NDArray[Any], spec: TensorSpec, origin: str) -> tuple[NDArray[Any], float]:
    """Samples in the integers of the model's input, and the share that had to be clipped."""
    sample: Sequence[int | str] = spec.shape[1:]
    fits = x.ndim == len(spec.shape) and all(
        isinstance(size, str) or size == found
        for size, found in zip(sample, x.shape[1:], strict=True)
    )
    if not fits:
        raise InputError(
            f"samples of {origin} have the shape {list(x.shape[1:])}, the model takes "
            f"{list(sample)}",
            remedy="the first axis counts samples; reshape the others",
        )
    if not len(x):
        raise InputError(f"{origin} holds no samples", remedy="give at least one")
    limits = np.iinfo(spec.dtype)
    if x.dtype == np.dtype(spec.dtype):
        return np.ascontiguousarray(x), 0.0
    if x.dtype.kind not in "fiu":
        raise InputError(f"samples of {origin} are {x.dtype}", remedy="save numbers")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int(np.argwhere(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))[0, 0])
        raise InputError(
            f"sample {bad} of {origin} holds NaN or infinity", remedy="remove or repair it"
        )
    scale, zero_point = float(spec.scale or 1.0), int(spec.zero_point or 0)
    codes = np.rint(x.astype(np.float64) / scale) + zero_point
    outside = (codes < limits.min) | (codes > limits.max)
    return np.clip(codes, limits.min, limits.max).astype(spec.dtype), float(outside.mean())


def _targets(y: NDArray[Any], count: int, training: Training, origin: str) -> NDArray[Any]:
    labels = len(y) if y.ndim else 1
    if labels != count or not y.ndim:
        raise InputError(
            f"{origin} holds {count} samples and {labels} labels", remedy="give one each"
        )
    if training.specification.loss == "cross-entropy":
        return _labels(y, int(training.outputs[0].shape[-1]), origin)
    shape = tuple(training.target.shape[1:])
    if y.shape[1:] != shape:
        raise InputError(
            f"targets of {origin} have the shape {list(y.shape[1:])}, the model gives "
            f"{list(shape)}",
            remedy="give targets in the shape of the model's output",
        )
    if y.dtype.kind not in "fiub":
        raise InputError(f"targets of {origin} are {y.dtype}", remedy="save numbers")
    if not np.isfinite(y.astype(np.float64)).all():
        raise InputError(f"targets of {origin} hold NaN or infinity", remedy="repair them")
    codes = np.rint(y.astype(np.float64) / training.specification.logit_scale)
    return np.clip(codes, -SQUARED_ERROR_LIMIT, SQUARED_ERROR_LIMIT).astype(np.int32)


def _labels(y: NDArray[Any], classes: int, origin: str) -> NDArray[np.int64]:
    if y.ndim != 1:
        raise InputError(
            f"labels of {origin} have the shape {list(y.shape)}",
            remedy="give one class number a sample",
        )
    numbers = y.astype(np.float64) if y.dtype.kind in "fiub" else np.full(len(y), np.nan)
    whole = np.isfinite(numbers) & (numbers == np.rint(numbers))
    if not whole.all():
        bad = int(np.argmin(whole))
        raise InputError(
            f"label {bad} of {origin} is {y[bad]}", remedy="labels are class numbers from 0 on"
        )
    outside = (numbers < 0) | (numbers >= classes)
    if outside.any():
        bad = int(np.argmax(outside))
        raise InputError(
            f"label {bad} of {origin} is {int(numbers[bad])}, and the model has {classes} classes",
            remedy=f"labels are 0 to {classes - 1}",
        )
    return numbers.astype(np.int64)
