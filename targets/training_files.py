"""What a bundle keeps for training, beside the artifacts: ``weights.bin`` and ``training.json``.

``weights.bin`` holds the numbers that training starts from: raw, little-endian, row-major, one
parameter behind the other in the order of their numbers, in the layout of
:attr:`~intaglio.transforms.forward_gradient.specification.Parameter.shape`. ``training.json`` holds
the specification of the step, what its inputs are, and where each parameter lies in the file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError
from intaglio.targets.base import TensorSpec
from intaglio.transforms.forward_gradient.specification import StepSpecification
from intaglio.transforms.forward_gradient.step import Weights

WEIGHTS = "weights.bin"
TRAINING = "training.json"

_SCHEMA = 1
_AGAIN = "convert the model again"


@dataclasses.dataclass(frozen=True)
class Training:
    """What a bundle keeps for training.

    Attributes:
        specification: The training step.
        weights: Numbers that training starts from, by parameter, in ONNX layout.
        inputs: Specs of the data inputs: integers of a scale and zero point, first axis samples.
        outputs: Specs of the inference outputs.
        target: Spec of what the loss compares with: ``labels`` or ``target``.
    """

    specification: StepSpecification
    weights: dict[str, NDArray[Any]]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    target: TensorSpec


def weights_bytes(specification: StepSpecification, weights: Weights) -> bytes:
    """Weights as ``weights.bin`` holds them.

    Args:
        specification: The step.
        weights: Numbers by parameter.
    """
    return b"".join(
        np.asarray(weights[p.name], p.dtype).astype(_stored(p.dtype)).tobytes()
        for p in specification.parameters
    )


def weights_from_bytes(specification: StepSpecification, data: bytes) -> dict[str, NDArray[Any]]:
    """Reads what :func:`weights_bytes` wrote.

    Raises:
        InputError: It has another size, or numbers beyond the limits of the step.
    """
    expected = sum(p.size * np.dtype(p.dtype).itemsize for p in specification.parameters)
    if len(data) != expected:
        raise InputError(
            f"the weights have {len(data)} bytes, the training step takes {expected}",
            remedy="they belong to another model: take those of this bundle",
        )
    found: dict[str, NDArray[Any]] = {}
    start = 0
    for p in specification.parameters:
        stored = np.frombuffer(data, _stored(p.dtype), p.size, start)
        start += stored.nbytes
        found[p.name] = stored.astype(p.dtype).reshape(p.shape)
    check_weights(specification, found)
    return found


def check_weights(specification: StepSpecification, weights: Weights) -> None:
    """Refuses weights that the step cannot work on.

    Raises:
        InputError: One is missing, has another shape or type, or numbers beyond its limit.
    """
    for p in specification.parameters:
        array = weights.get(p.name)
        if array is None:
            raise InputError(f"weights '{p.name}' are missing", remedy="give all that train")
        if array.shape != p.shape or array.dtype.name != p.dtype:
            raise InputError(
                f"weights '{p.name}' are {array.dtype}{list(array.shape)}",
                remedy=f"they must be {p.dtype}{list(p.shape)}",
            )
        largest = max(int(array.max(initial=0)), -int(array.min(initial=0)))
        if largest > p.limit:
            raise InputError(
                f"weights '{p.name}' reach {largest}, and a training step keeps them within "
                f"{p.limit}",
                remedy="clip them first (transforms.forward_gradient.step.clip_to_limits)",
            )


def write_training(folder: Path, training: Training) -> None:
    """Writes ``weights.bin`` and ``training.json``."""
    specification = training.specification
    (folder / WEIGHTS).write_bytes(weights_bytes(specification, training.weights))
    places, start = [], 0
    for p in specification.parameters:
        size = p.size * np.dtype(p.dtype).itemsize
        places.append({"name": p.name, "offset": start, "bytes": size})
        start += size
    data = {
        "schema": _SCHEMA,
        "specification": json.loads(specification.to_json()),
        "inputs": _specs(training.inputs),
        "outputs": _specs(training.outputs),
        "target": training.target.to_dict(),
        "weights": {"file": WEIGHTS, "parameters": places},
    }
    text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / TRAINING).write_text(text + "\n", encoding="utf-8", newline="\n")


def read_training(folder: Path) -> Training:
    """Reads what :func:`write_training` wrote.

    Raises:
        InputError: A file is missing or damaged.
    """
    path = folder / TRAINING
    if not path.is_file():
        raise InputError(
            f"{folder} holds no training step: it has no {TRAINING}",
            remedy="convert the model with --recipe forward-gradient",
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        specification = StepSpecification.from_json(json.dumps(data["specification"]))
        inputs, outputs = (_read_specs(data[key]) for key in ("inputs", "outputs"))
        target = TensorSpec.from_dict(data["target"])
        stored = (folder / WEIGHTS).read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error}", remedy=_AGAIN) from error
    return Training(
        specification, weights_from_bytes(specification, stored), inputs, outputs, target
    )


def _stored(dtype: str) -> np.dtype[Any]:
    little: np.dtype[Any] = np.dtype(dtype).newbyteorder("<")
    return little


def _specs(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [spec.to_dict() for spec in specs]


def _read_specs(data: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec.from_dict(entry) for entry in data)
