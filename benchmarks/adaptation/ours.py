"""Adaptation by the product: recipe ``forward-gradient``, its training step in C.

The model is converted with calibration samples from what it had been trained on, never from the
new domain. Distances of probes and updates are given as parts of the weights: of the geometric mean
of the root mean squares of the layers that train, which ``train.plan_step`` then shares out among
the layers in powers of two.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import intaglio
import numpy as np
from intaglio.bundle import Bundle
from intaglio.training_files import load_training, open_stepper
from numpy.typing import NDArray

from benchmarks.adaptation.base_models import BUILD, base_model, layers_of, learnt_samples
from benchmarks.adaptation.data import FloatArray, Samples
from benchmarks.adaptation.networks import read_parameters
from benchmarks.adaptation.schedule import Curve, Schedule, batches

CALIBRATION_SAMPLES = 200


@dataclasses.dataclass(frozen=True)
class Format:
    """How the integers are chosen; the defaults are those of the product.

    Attributes:
        weight_bits: 16 or 8.
        epsilon: Of a probe, as a part of the weights; None where ``real_epsilon`` or
            ``epsilon_lsb`` says it.
        real_epsilon: The same as a real number.
        epsilon_lsb: The same in steps of the weights' grid.
        options: Others of the recipe.
    """

    weight_bits: int = 16
    epsilon: float | None = None
    real_epsilon: float | None = None
    epsilon_lsb: int | None = None
    options: tuple[tuple[str, Any], ...] = ()


def typical_weight(task: str, shared: Path, layers: str) -> float:
    """Geometric mean of the root mean squares of the weights that train."""
    path = base_model(task, shared)
    weights = list(read_parameters(path, layers_of(task)).weights.values())
    chosen = weights[-1:] if layers == "head" else weights
    squares = [float(weight.double().pow(2).mean()) for weight in chosen]
    return float(np.exp(np.mean(np.log(squares)) / 2))


def settings(
    task: str, shared: Path, layers: str, schedule: Schedule, form: Format
) -> dict[str, Any]:
    """Options of the recipe for one way of training."""
    unit = typical_weight(task, shared, layers)
    found: dict[str, Any] = {
        "train.select_layers.layers": layers,
        "train.select_layers.weight_bits": form.weight_bits,
        "train.plan_step.learning_rate": schedule.rate * unit,
        "train.plan_step.probes": schedule.probes,
    }
    if form.epsilon_lsb is not None:
        found["train.plan_step.epsilon_lsb"] = form.epsilon_lsb
    elif form.real_epsilon is not None:
        found["train.plan_step.epsilon"] = form.real_epsilon
    else:
        part = schedule.epsilon if form.epsilon is None else form.epsilon
        found["train.plan_step.epsilon"] = part * unit
    return {**found, **dict(form.options)}


def converted(task: str, shared: Path, sets: Mapping[str, Any]) -> Bundle:
    """A bundle with the training step in C; made once for the same model and options."""
    model = base_model(task, shared)
    text = json.dumps([model.name, dict(sets), intaglio.__version__], sort_keys=True)
    folder = BUILD / "bundles" / hashlib.sha256(text.encode()).hexdigest()[:16]
    if (folder / "manifest.json").exists():
        return intaglio.load(folder)
    shutil.rmtree(folder, ignore_errors=True)
    samples = learnt_samples(task, shared)
    chosen = np.random.default_rng(0).permutation(len(samples))[:CALIBRATION_SAMPLES]
    return intaglio.convert(
        model,
        recipe="forward-gradient",
        targets=["c"],
        calibration={"x": samples.x[np.sort(chosen)]},
        out=folder,
        sets=dict(sets),
    )


def adapt(
    task: str,
    shared: Path,
    layers: str,
    schedule: Schedule,
    form: Format,
    adapt_to: Samples,
    test: Samples,
    seed: int,
) -> Curve:
    """Trains in integers and scores on the way.

    Args:
        task: Name of the task.
        shared: The folder with the data.
        layers: ``head`` or ``all``.
        schedule: Steps, batches and rates.
        form: Formats of the integers.
        adapt_to: Labelled samples of the new domain.
        test: Scored on, with the integer model.
        seed: Of the directions and of the order of the samples.

    Returns:
        Accuracy by step.
    """
    bundle = converted(task, shared, settings(task, shared, layers, schedule, form))
    training = load_training(bundle)
    stepper = open_stepper(bundle, "c")
    spec = training.inputs[0]
    assert spec.scale is not None
    assert spec.zero_point is not None
    x, x_test = (_quantized(samples.x, spec.scale, spec.zero_point) for samples in (adapt_to, test))
    first = first_seed(seed)

    def score() -> float:
        found = stepper.predict(x_test).argmax(axis=1)
        return 100 * float((found == test.y).mean())

    points = [(0, score())]
    ties = 0
    for step, chosen in enumerate(batches(len(adapt_to), schedule, seed)):
        result = stepper.step(
            x[chosen],
            adapt_to.y[chosen],
            training.specification.step_seed(first, step),
            schedule.shift(step),
        )
        ties += sum(sign == 0 for sign in result.signs)
        if schedule.scored(step):
            points.append((step + 1, score()))
    stepper.close()
    return Curve(tuple(points), {"ties": ties / (schedule.steps * schedule.probes)})


def first_seed(seed: int) -> int:
    """Seeds of runs lie far apart: no two share a direction."""
    return (seed + 1) * 10_000_019 & 0xFFFFFFFF


def _quantized(x: FloatArray, scale: float, zero_point: int) -> NDArray[np.int8]:
    codes = np.rint(x / np.float32(scale)) + zero_point
    return np.ascontiguousarray(np.clip(codes, -128, 127).astype(np.int8))
