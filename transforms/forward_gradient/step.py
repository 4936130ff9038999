"""A training step in numpy: the definition that every runtime is held to.

Weights are integers of one grid a tensor. With ``z`` of a probe (see :mod:`.randomness`)::

    delta = rs(epsilon * z, 5)                        z counts in units of 1/32
    sign  = sgn(L(w + delta) - L(w - delta))          0 for a tie: no step
    g     = sum over the probes of sign * z
    w'    = clip(w - round(g * M / 2^k), -limit, limit)

``rs(x, k) = sgn(x) * ((|x| + 2^(k-1)) >> k)``: ties away from zero, and symmetric, so that
``+ delta, - 2 delta, + delta`` gives back the weights exactly. ``limit`` leaves room for the
probes. With ``sharpness``, probes lie about ``w + sign_s * rs(radius * z_s, 5)``, where ``z_s`` and
its sign are those of one more probe, with the index behind the last.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.forward_gradient.randomness import (
    ROUNDING_STREAM,
    UNIT_BITS,
    counter_hash,
    hash_seed,
    perturbation,
    stream_seed,
)
from intaglio.transforms.forward_gradient.specification import (
    LARGEST_SHIFT,
    Mask,
    Parameter,
    StepRounding,
    StepSpecification,
)

#: Numbers by name of the parameter: int16 or int32, in ONNX layout.
Weights = Mapping[str, NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class StepResult:
    """What a step found.

    Attributes:
        loss_plus: Loss at ``w + delta``, one a probe.
        loss_minus: Loss at ``w - delta``, one a probe.
        signs: Sign of the difference, one a probe: 1, 0 or -1.
    """

    loss_plus: tuple[int, ...]
    loss_minus: tuple[int, ...]
    signs: tuple[int, ...]


def rounding_shift(x: NDArray[np.int64], places: int) -> NDArray[np.int64]:
    """``rs`` of the module: to nearest, ties away from zero; ``places`` 0 to 62."""
    if places == 0:
        return x
    return np.asarray(np.sign(x) * ((np.abs(x) + (1 << places >> 1)) >> places))


def moves(mask: Mask, parameter: Parameter) -> NDArray[np.bool_]:
    """Which numbers of a parameter a mask lets move, in its shape."""
    if mask.kind == "bits":
        found = np.unpackbits(mask.packed(), count=parameter.size, bitorder="little")
        return found.astype(bool).reshape(parameter.shape)
    hashes = counter_hash(np.arange(parameter.size), hash_seed(mask.seed + parameter.number))
    return np.asarray(hashes.astype(np.uint64) < mask.threshold).reshape(parameter.shape)


def draw(
    specification: StepSpecification, parameter: Parameter, seed: int, probe: int
) -> NDArray[np.int64]:
    """``z`` of a parameter for one probe: int64 in units of 1/32, 0 where its mask is."""
    hashes = counter_hash(np.arange(parameter.size), stream_seed(seed, probe, parameter.number))
    z = perturbation(hashes, specification.law).astype(np.int64).reshape(parameter.shape)
    return z if parameter.mask is None else z * moves(parameter.mask, parameter)


def displacement(z: NDArray[np.int64], distance: int) -> NDArray[np.int64]:
    """``rs(distance * z, 5)``: how far a probe moves the numbers, in their own steps."""
    return rounding_shift(distance * z, UNIT_BITS)


def update(
    specification: StepSpecification,
    weights: Weights,
    seed: int,
    signs: Sequence[int],
    step_shift: int = 0,
) -> dict[str, NDArray[Any]]:
    """The weights after a step whose signs are known: what a transcript is replayed with.

    Args:
        specification: The step.
        weights: Numbers by parameter.
        seed: Seed of the step.
        signs: Sign of each probe.
        step_shift: How many times the step is halved, 0 and more.

    Returns:
        New arrays, the dtypes of the old.
    """
    return {
        parameter.name: _updated(specification, parameter, weights, seed, signs, step_shift)
        for parameter in specification.parameters
    }


def train_step(
    specification: StepSpecification,
    weights: Weights,
    seed: int,
    loss: Callable[[Weights], int],
    step_shift: int = 0,
) -> tuple[dict[str, NDArray[Any]], StepResult]:
    """One step.

    Args:
        specification: The step.
        weights: Numbers by parameter.
        seed: Seed of the step.
        loss: Gives the loss of the batch for weights.
        step_shift: How many times the step is halved.

    Returns:
        The new weights, and the losses and signs.
    """
    centre = _centre(specification, weights, seed, loss)
    pairs = [
        _pair(specification, centre, seed, probe, loss) for probe in range(specification.probes)
    ]
    plus, minus = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    signs = tuple(_sign(*pair) for pair in pairs)
    return update(specification, weights, seed, signs, step_shift), StepResult(plus, minus, signs)


def clip_to_limits(specification: StepSpecification, weights: Weights) -> dict[str, NDArray[Any]]:
    """Weights within the limits of the parameters: what training may start from."""
    return {
        p.name: np.clip(weights[p.name], -p.limit, p.limit).astype(p.dtype)
        for p in specification.parameters
    }


def digest(specification: StepSpecification, weights: Weights) -> str:
    """SHA-256 of all weights: little-endian, ONNX layout, in the order of the parameters."""
    state = hashlib.sha256()
    for parameter in specification.parameters:
        array = np.asarray(weights[parameter.name], parameter.dtype)
        state.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return state.hexdigest()


def _sign(plus: int, minus: int) -> int:
    return (plus > minus) - (plus < minus)


def _centre(
    specification: StepSpecification, weights: Weights, seed: int, loss: Callable[[Weights], int]
) -> Weights:
    """Where the probes lie about."""
    if not specification.sharpness:
        return weights
    probe = specification.probes
    sign = _sign(*_pair(specification, weights, seed, probe, loss))
    return _moved(specification, weights, seed, probe, lambda p: sign * p.radius)


def _pair(
    specification: StepSpecification,
    centre: Weights,
    seed: int,
    probe: int,
    loss: Callable[[Weights], int],
) -> tuple[int, int]:
    plus = loss(_moved(specification, centre, seed, probe, lambda p: p.epsilon))
    return plus, loss(_moved(specification, centre, seed, probe, lambda p: -p.epsilon))


def _moved(
    specification: StepSpecification,
    weights: Weights,
    seed: int,
    probe: int,
    distance: Callable[[Parameter], int],
) -> dict[str, NDArray[Any]]:
    found = {}
    for parameter in specification.parameters:
        delta = displacement(draw(specification, parameter, seed, probe), distance(parameter))
        found[parameter.name] = (weights[parameter.name] + delta).astype(parameter.dtype)
    return found


def _updated(
    specification: StepSpecification,
    parameter: Parameter,
    weights: Weights,
    seed: int,
    signs: Sequence[int],
    step_shift: int,
) -> NDArray[Any]:
    g = np.zeros(parameter.shape, np.int64)
    for probe, sign in enumerate(signs):
        if sign:
            g += sign * draw(specification, parameter, seed, probe)
    product = g * parameter.multiplier
    places = min(parameter.shift + step_shift, LARGEST_SHIFT)
    if specification.rounding is StepRounding.NEAREST:
        step = rounding_shift(product, places)
    elif specification.rounding is StepRounding.FLOOR:
        step = product >> places
    else:
        stream = stream_seed(seed, 0, parameter.number + ROUNDING_STREAM)
        hashes = counter_hash(np.arange(parameter.size), stream).reshape(parameter.shape)
        noise = (hashes & np.uint32((1 << places) - 1)).astype(np.int64)
        step = np.sign(product) * ((np.abs(product) + noise) >> places)
    moved = weights[parameter.name].astype(np.int64) - step
    return np.asarray(np.clip(moved, -parameter.limit, parameter.limit), parameter.dtype)
