"""One step of an optimizer: SGD with momentum and Adam, as PyTorch defines them.

Sources: the documentation of torch.optim.SGD (dampening 0, no Nesterov, no weight decay) and of
torch.optim.Adam (no AMSGrad, no weight decay); D. P. Kingma, J. Ba, "Adam: A Method for
Stochastic Optimization", 2015.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from intaglio.passes.differentiate.context import Context


@dataclasses.dataclass(frozen=True)
class AdamStep:
    """What all parameters share in one step of Adam.

    Attributes:
        size: ``rate / (1 - beta1^t)``.
        root: ``sqrt(1 - beta2^t)``.
    """

    size: ir.Value
    root: ir.Value


def sgd(
    context: Context,
    parameter: ir.Value,
    gradient: ir.Value,
    rate: ir.Value,
    velocity: ir.Value | None,
    momentum: float,
) -> tuple[ir.Value, ir.Value | None]:
    """``v' = momentum v + g``, ``p' = p - rate v'``.

    Returns:
        The parameter and the velocity after the step.
    """
    moved: ir.Value | None = None
    if velocity is not None:
        moved = context.op("Mul", velocity, context.number(momentum))
        moved = context.op("Add", moved, gradient)
    change = context.op("Mul", gradient if moved is None else moved, rate)
    return context.op("Sub", parameter, change), moved


def count_step(context: Context, step: ir.Value) -> ir.Value:
    """The number of this step, from 1."""
    return context.op("Add", step, context.constant(np.array(1, np.int64)))


def adam_step(
    context: Context, count: ir.Value, rate: ir.Value, betas: tuple[float, float]
) -> AdamStep:
    """The bias corrections of step ``count``; in float64, as ``1 - beta^t`` cancels."""
    wide = context.op("Cast", count, to=int(ir.DataType.DOUBLE))
    one = context.constant(np.array(1.0, np.float64))
    rests = [
        context.op(
            "Sub", one, context.op("Pow", context.constant(np.array(beta, np.float64)), wide)
        )
        for beta in betas
    ]
    root = context.to_float(context.op("Sqrt", rests[1]))
    return AdamStep(context.op("Div", rate, context.to_float(rests[0])), root)


def adam(
    context: Context,
    parameter: ir.Value,
    gradient: ir.Value,
    moments: tuple[ir.Value, ir.Value],
    step: AdamStep,
    betas: tuple[float, float],
    epsilon: float,
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """``p' = p - size m' / (sqrt(v') / root + epsilon)``.

    ``m' = beta1 m + (1 - beta1) g`` and ``v' = beta2 v + (1 - beta2) g^2``.

    Returns:
        The parameter and both moments after the step.
    """
    square = context.op("Mul", gradient, gradient)
    first, second = (
        context.op(
            "Add",
            context.op("Mul", moment, context.number(beta)),
            context.op("Mul", term, context.number(1.0 - beta)),
        )
        for moment, term, beta in zip(moments, (gradient, square), betas, strict=True)
    )
    spread = context.op("Div", context.op("Sqrt", second), step.root)
    ratio = context.op("Div", first, context.op("Add", spread, context.number(epsilon)))
    return context.op("Sub", parameter, context.op("Mul", ratio, step.size)), first, second
