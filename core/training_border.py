"""Inputs and outputs of a training step, the same for all targets.

In: the data, ``labels`` (int64 [N]) or ``target`` (int32, shaped as the logits), the parameters by
name, ``seed`` and ``step_shift`` (int64). Out: ``updated.<name>`` for each parameter,
``loss_plus``, ``loss_minus`` (int64 [probes]) and ``sign`` (int8 [probes]).
"""

from __future__ import annotations

from collections.abc import Sequence

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
from intaglio.targets.base import TensorSpec
from intaglio.targets.training_files import Training
from intaglio.transforms.forward_gradient.specification import Parameter, StepSpecification


def target_spec(specification: StepSpecification, logits: TensorSpec) -> TensorSpec:
    """What the loss compares with.

    Args:
        specification: The step.
        logits: Spec of what the loss reads.
    """
    if specification.loss == "mean-squared-error":
        return TensorSpec(TARGET, logits.shape, "int32", "", specification.logit_scale, 0)
    return TensorSpec(LABELS, logits.shape[:1], "int64")


def step_inputs(training: Training, data: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Inputs of a training step in order.

    Args:
        training: The step.
        data: The data inputs, in the target's own layout.
    """
    weights = [_spec(p.name, p) for p in training.specification.parameters]
    scalars = [TensorSpec(name, (), "int64") for name in (SEED, STEP_SHIFT)]
    return (*data, training.target, *weights, *scalars)


def step_outputs(specification: StepSpecification) -> tuple[TensorSpec, ...]:
    """Outputs of a training step in order."""
    probes = (specification.probes,)
    return (
        *(_spec(UPDATED + p.name, p) for p in specification.parameters),
        TensorSpec(LOSS_PLUS, probes, "int64"),
        TensorSpec(LOSS_MINUS, probes, "int64"),
        TensorSpec(SIGN, probes, "int8"),
    )


def _spec(name: str, parameter: Parameter) -> TensorSpec:
    return TensorSpec(name, parameter.shape, parameter.dtype, "", parameter.scale, 0)
