"""What a training step does, as data: everything but the model and the weights.

It stands in the metadata of the models of a bundle (:data:`METADATA_KEY`) and in ``training.json``,
and every runtime's step is made from it.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.forward_gradient.randomness import Law

METADATA_KEY = "intaglio.training"

#: Multipliers of the step are below this.
MULTIPLIER_LIMIT = 1 << 15
#: A step shifted by this and more is 0.
LARGEST_SHIFT = 31
#: ``probes * largest z * multiplier`` stays below 2^30.
MOST_PROBES = 256


class StepRounding(str, Enum):
    """How ``g * multiplier / 2^shift`` becomes an integer."""

    #: Ties away from zero.
    NEAREST = "nearest"
    #: Up or down with the fraction as probability, from the counter hash.
    STOCHASTIC = "stochastic"
    #: Toward minus infinity: every weight drifts by half an LSB a step. For comparison only.
    FLOOR = "floor"


@dataclasses.dataclass(frozen=True)
class Mask:
    """Which weights of a tensor move at all.

    Attributes:
        kind: ``hash``: those whose hash is below the threshold; ``bits``: those whose bit is set.
        seed: Seed of the hash: weight i moves if ``H(i, H(seed + number of the tensor))`` is below.
        threshold: 0 to 2^32.
        bits: base64 of one bit a weight, row-major in ONNX layout, lowest bit first.
    """

    kind: Literal["hash", "bits"]
    seed: int = 0
    threshold: int = 0
    bits: str = ""

    @staticmethod
    def of_bits(moves: NDArray[np.bool_]) -> Mask:
        """A mask of stored bits."""
        packed = np.packbits(moves.reshape(-1), bitorder="little")
        return Mask("bits", bits=base64.b64encode(packed.tobytes()).decode("ascii"))

    def packed(self) -> NDArray[np.uint8]:
        """The stored bits as bytes."""
        return np.frombuffer(base64.b64decode(self.bits), np.uint8)


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A tensor that is trained.

    Attributes:
        name: Of the graph input that holds it.
        shape: In ONNX layout.
        dtype: ``int16`` (weights) or ``int32`` (biases).
        scale: Real value of one step.
        epsilon: How far a probe goes along z = 1, in steps; 0 moves nothing.
        multiplier: M of the update, 0 to 32767.
        shift: k of the update, 0 to 31.
        limit: Magnitudes of the numbers never exceed it between steps.
        number: Number of the tensor, from 0, in the order of the graph.
        radius: How far the point of the probes lies from the weights, in steps; see
            :attr:`StepSpecification.sharpness`.
        mask: Which of its numbers move; None for all.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    epsilon: int
    multiplier: int
    shift: int
    limit: int
    number: int
    radius: int = 0
    mask: Mask | None = None

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def step(self) -> float:
        """Steps of its grid that an update moves a number along z = 1 by, before rounding."""
        return 32.0 * self.multiplier / 2.0**self.shift


@dataclasses.dataclass(frozen=True)
class StepSpecification:
    """A training step.

    Attributes:
        parameters: The tensors that are trained, by number.
        loss: ``cross-entropy`` or ``mean-squared-error``.
        logit_scale: Real value of one step of the numbers that the loss reads.
        loss_bits: Fractional bits of the cross-entropy.
        probes: Pairs of forward calls that one step averages over.
        law: Distribution of the perturbation.
        rounding: Of the update.
        sharpness: Whether a first pair of calls finds a point uphill, about which the probes lie.
    """

    parameters: tuple[Parameter, ...]
    loss: Literal["cross-entropy", "mean-squared-error"] = "cross-entropy"
    logit_scale: float = 0.0
    loss_bits: int = 8
    probes: int = 1
    law: Law = Law.RADEMACHER
    rounding: StepRounding = StepRounding.NEAREST
    sharpness: bool = False

    @property
    def seeds_per_step(self) -> int:
        """How far the seeds of two steps must lie apart."""
        return self.probes + self.sharpness

    def step_seed(self, first: int, step: int) -> int:
        """Seed of a step: a host counts on from its first seed, modulo 2^32."""
        return (first + step * self.seeds_per_step) & 0xFFFFFFFF

    def to_json(self) -> str:
        """The specification as JSON; :meth:`from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> StepSpecification:
        """Reads what :meth:`to_json` wrote.

        Raises:
            ValueError: It is not such a text.
        """
        try:
            data = json.loads(text)
            parameters = tuple(_parameter(entry) for entry in data.pop("parameters"))
            law, rounding = Law(data.pop("law")), StepRounding(data.pop("rounding"))
            return cls(parameters=parameters, law=law, rounding=rounding, **data)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no specification of a training step: {error}") from error


def _parameter(entry: Mapping[str, Any]) -> Parameter:
    mask = entry["mask"]
    fixed = {"shape": tuple(entry["shape"]), "mask": None if mask is None else Mask(**mask)}
    return Parameter(**{**entry, **fixed})
