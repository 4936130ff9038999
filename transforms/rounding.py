"""Rounding weights so that the layer's output, not the weight, is near its real value.

Rounding each weight to the nearest integer is not best for the layer: what counts is
``E |(w - s q) x|^2 = (w - s q) H (w - s q)^T`` with ``H = E[x x^T]`` over the layer's inputs (Nagel
et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", 2020). There the choice is
learned by gradient descent. Since the objective is quadratic, no gradient is needed: rounding
column by column while the columns still free make up for the error (Frantar et al., "GPTQ", 2023)
gives a start, and coordinate descent over single steps improves it until no step helps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Added to the diagonal of ``H``, as a part of its mean: guards against too few samples.
DAMPING = 0.01


class Rounded(NamedTuple):
    """Integers chosen for a weight matrix.

    Attributes:
        q: integers as float64, (outputs, inputs).
        nearest_error: objective of rounding to nearest, one an output.
        error: objective of ``q``, one an output; nowhere above ``nearest_error``.
    """

    q: Array
    nearest_error: Array
    error: Array


def round_to_gram(
    weight: Array,
    scale: Array,
    gram: Array,
    *,
    minimum: int = -127,
    maximum: int = 127,
    reach: float = 1.0,
    damping: float = DAMPING,
    sweeps: int = 20,
) -> Rounded:
    """Chooses integers that minimize the error of ``weight @ x``.

    Args:
        weight: real weights, (outputs, inputs).
        scale: positive, one an output.
        gram: ``E[x x^T]`` (or the covariance, if a bias takes up the mean), (inputs, inputs),
            positive semidefinite.
        minimum: smallest integer.
        maximum: largest integer.
        reach: farthest that an integer may be from ``weight / scale``; 1 allows both neighbors.
        damping: added to the diagonal, relative to its mean.
        sweeps: most passes of coordinate descent.

    Returns:
        The integers with their objectives (damping included).

    Raises:
        ValueError: the shapes do not fit.
    """
    outputs, inputs = weight.shape
    if gram.shape != (inputs, inputs) or scale.shape != (outputs,):
        raise ValueError(f"weight {weight.shape}, gram {gram.shape}, scale {scale.shape}")
    target = weight / scale[:, None]
    # A column that was never active says nothing: its weights stay at the nearest integer.
    mean_power = float(np.mean(np.diag(gram)))
    nearest = np.clip(np.rint(target), minimum, maximum)
    if mean_power <= 0.0:
        zero = np.zeros(outputs)
        return Rounded(nearest, zero, zero)
    damped = gram + damping * mean_power * np.eye(inputs)
    low = np.minimum(np.maximum(np.ceil(target - reach), minimum), nearest)
    high = np.maximum(np.minimum(np.floor(target + reach), maximum), nearest)
    starts = [nearest, _compensated(target, damped, low, high)]
    nearest_error = _objective(target - nearest, damped)
    best, best_error = nearest, nearest_error
    for start in starts:
        q = _descend(target, start, damped, low, high, sweeps)
        error = _objective(target - q, damped)
        better = error < best_error
        best = np.where(better[:, None], q, best)
        best_error = np.where(better, error, best_error)
    squared = scale**2
    return Rounded(best, nearest_error * squared, best_error * squared)


def _objective(difference: Array, gram: Array) -> Array:
    return np.asarray(np.einsum("ok,ok->o", difference @ gram, difference))


def _compensated(target: Array, gram: Array, low: Array, high: Array) -> Array:
    """Rounds column by column; later columns take up the error of the earlier ones."""
    order = np.argsort(-np.diag(gram), kind="stable")
    # The rows of the upper Cholesky factor of the inverse say how much each later column has to
    # move when one is fixed.
    inverse = np.linalg.inv(gram[np.ix_(order, order)])
    factor = np.linalg.cholesky((inverse + inverse.T) / 2).T
    # Column-major work on the transpose: every step reads and writes whole rows.
    left = np.ascontiguousarray(target[:, order].T)
    lows, highs = low[:, order].T, high[:, order].T
    chosen = np.empty_like(left)
    for i in range(len(left)):
        chosen[i] = np.clip(np.rint(left[i]), lows[i], highs[i])
        error = (left[i] - chosen[i]) / factor[i, i]
        left[i + 1 :] -= np.outer(factor[i, i + 1 :], error)
    q = np.empty_like(target)
    q[:, order] = chosen.T
    return q


def _descend(
    target: Array, start: Array, gram: Array, low: Array, high: Array, sweeps: int
) -> Array:
    """Moves single weights while that lowers the objective."""
    q = start.T.copy()
    slope = gram @ (target.T - q)
    power = np.diag(gram)
    lows, highs = low.T, high.T
    for _ in range(sweeps):
        changed = False
        for i in range(len(q)):
            # The objective over one weight is a parabola: the nearest integer to its minimum,
            # within the bounds, is best. Half a step gains nothing, so rint's ties stay put.
            step = np.clip(q[i] + np.rint(slope[i] / power[i]), lows[i], highs[i]) - q[i]
            gain = step * (2.0 * slope[i] - step * power[i])
            step = np.where(gain > 1e-9 * power[i], step, 0.0)
            moved = np.flatnonzero(step)
            if len(moved):
                q[i, moved] += step[moved]
                slope[:, moved] -= np.outer(gram[:, i], step[moved])
                changed = True
        if not changed:
            break
    return np.asarray(q.T)
