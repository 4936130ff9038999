"""Turns real step sizes into the integers of a training step, and writes its specification.

The specification (:mod:`intaglio.transforms.forward_gradient.specification`) stands in the model's
metadata from here on; everything that trains is made from it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field, model_validator

from intaglio.errors import RecipeError, UnsupportedError
from intaglio.passes.base import APPROXIMATE, Change, Outcome, Pass, PassConfig, Skip, outcome
from intaglio.passes.marks import is_integer
from intaglio.passes.provenance import source_name
from intaglio.passes.train.parameters import TrainedTensor, trained_tensors
from intaglio.passes.train.step_sizes import (
    DISTANCE_LIMIT,
    StepSize,
    choose_rounding,
    distance,
    farthest,
    geometric_mean,
    power_of_two,
    root_mean_square,
    step_size,
    warnings_of,
)
from intaglio.transforms.forward_gradient.randomness import Law
from intaglio.transforms.forward_gradient.specification import (
    METADATA_KEY,
    MOST_PROBES,
    Mask,
    Parameter,
    StepRounding,
    StepSpecification,
)

#: Distances where nothing is said, as parts of the weights' rms.
RELATIVE_EPSILON = 0.03
RELATIVE_STEP = 0.03

#: Probes of 16-bit weights go at least so far where nothing is said: the loss has to feel them.
LEAST_EPSILON = 32

#: The part of the weights that moves where only some do.
_KEEP = 0.1


class PlanStepConfig(PassConfig):
    """Options of :class:`PlanStep`.

    Attributes:
        loss: ``cross-entropy`` of logits and class numbers, or ``mean-squared-error``.
        loss_bits: Fractional bits of the cross-entropy.
        probes: Pairs of forward calls a step averages over.
        law: Distribution of the perturbation.
        rounding: Of the update. ``auto``: ``stochastic`` if the smallest move of some weight is
            below half a step of its grid, which rounding to nearest would take for none; else
            ``nearest``.
        epsilon: Real distance of a probe along z = 1; None for 3 % of the weights' rms (of several
            tensors the geometric mean of theirs).
        min_epsilon_lsb: The same is at least so many steps of the grid; None for 32 (0 with
            8-bit weights).
        epsilon_lsb: The distance in steps of the grid, whatever ``epsilon`` says.
        learning_rate: Real distance that an update moves a weight by along z = 1; None for 3 % of
            the same, divided by the number of layers that train.
        normalize: Multiplies all distances of each tensor by a power of two: the nearest to its rms
            over the geometric mean, so that they are the same part of the weights of every layer. A
            bias follows the weight of its layer.
        sharpness: Whether the probes lie about a point uphill.
        radius: Real distance of that point; None for that of ``epsilon``.
        sparsity: ``random`` or ``magnitude``: only some weights of each tensor move; biases all do.
        keep: The part of the weights that moves then; None for a tenth.
        mask_seed: Seed of the random choice; None for 0.
    """

    loss: Literal["cross-entropy", "mean-squared-error"] = "cross-entropy"
    loss_bits: int = Field(default=8, ge=0, le=8)
    probes: int = Field(default=1, ge=1, le=MOST_PROBES)
    law: Law = Law.RADEMACHER
    rounding: Literal["auto", "nearest", "stochastic", "floor"] = "auto"
    epsilon: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    min_epsilon_lsb: int | None = Field(default=None, ge=0)
    epsilon_lsb: int | None = Field(default=None, ge=0)
    learning_rate: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    normalize: bool = True
    sharpness: bool = False
    radius: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    sparsity: Literal["none", "random", "magnitude"] = "none"
    keep: float | None = Field(default=None, gt=0.0, le=1.0)
    mask_seed: int | None = Field(default=None, ge=0, lt=1 << 32)

    @model_validator(mode="after")
    def _no_idle_options(self) -> PlanStepConfig:
        if self.keep is not None and self.sparsity == "none":
            raise ValueError("keep has no effect without sparsity")
        if self.mask_seed is not None and self.sparsity != "random":
            raise ValueError("mask_seed has no effect unless sparsity is random")
        if self.radius is not None and not self.sharpness:
            raise ValueError("radius has no effect without sharpness")
        return self


@dataclasses.dataclass(frozen=True)
class Distances:
    """Real distances of one tensor along z = 1.

    Attributes:
        epsilon: Of a probe.
        rate: Of an update.
        radius: Of the point that the probes lie about.
        factor: The power of two in all three.
    """

    epsilon: float
    rate: float
    radius: float
    factor: float


class PlanStep(Pass):
    """Writes the specification of the training step into the model."""

    name = "train.plan_step"
    semantics = APPROXIMATE
    Config = PlanStepConfig

    def call(self, model: ir.Model) -> Outcome:
        """Notes the specification; weights beyond the limit are clipped.

        Raises:
            RecipeError: The steps do not fit the grids.
            UnsupportedError: No layer trains, or the model is in another form.
        """
        if is_integer(model):
            return outcome(model, [], [Skip("", "the model is integer already")])
        tensors = trained_tensors(model)
        if not tensors:
            raise UnsupportedError(
                "no layer of the model is chosen to train",
                remedy="run train.select_layers before quantization",
            )
        reals = self._distances(tensors)
        sizes = [self._size(tensor, real) for tensor, real in zip(tensors, reals, strict=True)]
        config = self.config
        rounding = (
            choose_rounding(sizes, config.law)
            if config.rounding == "auto"
            else StepRounding(config.rounding)
        )
        parameters = tuple(
            self._parameter(number, tensor, sizes[number], reals[number])
            for number, tensor in enumerate(tensors)
        )
        specification = StepSpecification(
            parameters,
            loss=config.loss,
            # That of the squared error is known with the last layer's accumulator.
            logit_scale=math.log(2.0) / 2.0**config.loss_bits
            if config.loss == "cross-entropy"
            else 0.0,
            loss_bits=config.loss_bits,
            probes=config.probes,
            law=config.law,
            rounding=rounding,
            sharpness=config.sharpness,
        )
        skips = [
            Skip(source_name(tensor.node), f"{parameter.name}: {text}")
            for tensor, parameter, size in zip(tensors, parameters, sizes, strict=True)
            for text in warnings_of(parameter, size, rounding, config.law)
        ]
        changes = [c for t, p in zip(tensors, parameters, strict=True) if (c := _clip(t, p))]
        text = specification.to_json()
        before = model.metadata_props.get(METADATA_KEY)
        if before != text:
            model.metadata_props[METADATA_KEY] = text
            what = f"{len(parameters)} tensors, {sum(p.size for p in parameters):,} numbers"
            changes.append(Change("plan-step", "", "no step" if before is None else "a step", what))
        return outcome(model, changes, skips, _facts(specification, sizes, reals, skips))

    def _distances(self, tensors: list[TrainedTensor]) -> list[Distances]:
        """The real distances of every tensor."""
        config = self.config
        rms = {
            tensor.node: root_mean_square(tensor.read(), tensor.scale, tensor.levels)
            for tensor in tensors
            if not tensor.is_bias
        }
        mean = geometric_mean(list(rms.values()))
        epsilon = RELATIVE_EPSILON * mean if config.epsilon is None else config.epsilon
        # Layers in a row multiply what each of them moves.
        shared = RELATIVE_STEP * mean / max(1, len(rms))
        rate = shared if config.learning_rate is None else config.learning_rate
        radius = epsilon if config.radius is None else config.radius
        factors = [
            power_of_two(rms[tensor.node] / mean) if config.normalize else 1.0 for tensor in tensors
        ]
        return [Distances(f * epsilon, f * rate, f * radius, f) for f in factors]

    def _size(self, tensor: TrainedTensor, real: Distances) -> StepSize:
        size = step_size(tensor.name, real.rate, tensor.scale, self.config.probes)
        if size.moved > tensor.levels:
            raise RecipeError(
                f"a step of '{tensor.name}' is {size.moved:,.0f} of its grid's steps, and the grid "
                f"ends at {tensor.levels:,}",
                remedy="lower train.plan_step.learning_rate",
            )
        return size

    def _parameter(
        self, number: int, tensor: TrainedTensor, size: StepSize, real: Distances
    ) -> Parameter:
        config, array = self.config, tensor.read()
        epsilon = self._epsilon(tensor, real.epsilon)
        radius = 0
        if config.sharpness:
            radius = distance(tensor.name, "radius", real.radius, tensor.scale)
        room = farthest(epsilon, config.law) + farthest(radius, config.law)
        if 2 * room > tensor.levels:
            raise RecipeError(
                f"the probes of '{tensor.name}' go {room:,} steps away, more than half of its grid "
                f"of {tensor.levels:,}",
                remedy="lower train.plan_step.epsilon (epsilon_lsb, min_epsilon_lsb, radius)",
            )
        limit = tensor.levels - room
        return Parameter(
            name=tensor.name,
            shape=tuple(array.shape),
            dtype=array.dtype.name,
            scale=tensor.scale,
            epsilon=epsilon,
            # What the probes do not move says nothing to them: it must not walk with the others.
            multiplier=size.multiplier if epsilon else 0,
            shift=size.shift,
            limit=limit,
            number=number,
            radius=radius,
            mask=None if tensor.is_bias else self._mask(np.clip(array, -limit, limit)),
        )

    def _epsilon(self, tensor: TrainedTensor, real: float) -> int:
        wanted: int | None = self.config.epsilon_lsb
        if wanted is not None:
            return min(wanted, DISTANCE_LIMIT)
        least: int | None = self.config.min_epsilon_lsb
        if least is None:
            least = LEAST_EPSILON if tensor.levels > 127 else 0
        found = distance(tensor.name, "epsilon", real, tensor.scale)
        return max(found, min(least, DISTANCE_LIMIT))

    def _mask(self, codes: NDArray[np.int16]) -> Mask | None:
        config = self.config
        if config.sparsity == "random":
            seed, threshold = config.mask_seed or 0, round((config.keep or _KEEP) * 2.0**32)
            return Mask("hash", seed=seed, threshold=threshold)
        if config.sparsity == "none":
            return None
        count = math.ceil((config.keep or _KEEP) * codes.size)
        order = np.argsort(-np.abs(codes.reshape(-1).astype(np.int32)), kind="stable")
        moves = np.zeros(codes.size, bool)
        moves[order[:count]] = True
        return Mask.of_bits(moves)


def _clip(tensor: TrainedTensor, parameter: Parameter) -> Change | None:
    """Brings the numbers that training starts from within the limit."""
    array = tensor.read()
    clipped = np.clip(array, -parameter.limit, parameter.limit)
    count = int((clipped != array).sum())
    if not count:
        return None
    tensor.write(clipped.astype(array.dtype))
    return Change(
        "clip",
        source_name(tensor.node),
        f"{tensor.name}: up to {np.abs(array.astype(np.int64)).max():,}",
        f"{parameter.limit:,}",
        f"{count} numbers lie where only probes may go",
    )


def _facts(
    specification: StepSpecification,
    sizes: list[StepSize],
    reals: list[Distances],
    skips: list[Skip],
) -> dict[str, object]:
    return {
        "parameters": len(specification.parameters),
        "numbers": sum(p.size for p in specification.parameters),
        "rounding": specification.rounding.value,
        "tensors": [
            {
                "name": p.name,
                "shape": list(p.shape),
                "epsilon_lsb": p.epsilon,
                "step_lsb": float(f"{size.moved:.6g}"),
                "limit": p.limit,
                "epsilon": float(f"{real.epsilon:.6g}"),
                "learning_rate": float(f"{real.rate:.6g}"),
                "factor": real.factor,
            }
            for p, size, real in zip(specification.parameters, sizes, reals, strict=True)
        ],
        "warnings": [f"{skip.node}: {skip.reason}" for skip in skips],
    }
