"""The ways of adapting that are compared, and with what settings.

Settings were chosen on validation samples: of the rotations on 2,000 turned training pictures that
nothing was learnt from, of the speakers by leaving out one of the five takes at a time. The test
sets were not looked at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.adaptation import floats, ours
from benchmarks.adaptation.data import Task
from benchmarks.adaptation.floats import Descent
from benchmarks.adaptation.ours import Format
from benchmarks.adaptation.schedule import Curve, Schedule

#: Backpropagation by kind of task and what trains.
DESCENTS = {
    ("speaker", "head"): Descent(rate=3e-2, epochs=120, batch=50),
    ("speaker", "all"): Descent(rate=3e-3, epochs=100, batch=50),
    ("rotation", "head"): Descent(rate=3e-2, epochs=40, batch=64),
    ("rotation", "all"): Descent(rate=5e-3, epochs=30, batch=64),
}

#: Forward gradients likewise.
SCHEDULES = {
    ("speaker", "head"): Schedule(2000, 50, 0.02, 0.05, 4),
    ("speaker", "all"): Schedule(2000, 50, 0.003, 0.02, 3),
    ("rotation", "head"): Schedule(10000, 1024, 0.03, 0.1, 4),
    ("rotation", "all"): Schedule(16000, 512, 0.012, 0.02, 5),
}

#: The paper's epsilon, which 8-bit weights round to nothing.
_PAPER_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class Method:
    """One way of adapting.

    Attributes:
        title: For tables.
        layers: ``head`` or ``all``.
        run: Task, shared folder and seed to a curve.
        kinds: The kinds of tasks it is for.
    """

    title: str
    layers: str
    run: Callable[[Task, Path, int], Curve]
    kinds: tuple[str, ...] = ("speaker", "rotation")


def kind_of(task: Task) -> str:
    """``speaker`` or ``rotation``."""
    return task.name.partition(" ")[0]


def _bp(layers: str) -> Method:
    def run(task: Task, shared: Path, seed: int) -> Curve:
        descent = DESCENTS[kind_of(task), layers]
        return floats.backpropagate(task.name, shared, layers, descent, task.adapt, task.test, seed)

    return Method("BP, float", layers, run)


def _ff(layers: str, kinds: tuple[str, ...] = ("speaker", "rotation")) -> Method:
    def run(task: Task, shared: Path, seed: int) -> Curve:
        schedule = SCHEDULES[kind_of(task), layers]
        return floats.forward_gradient(
            task.name, shared, layers, schedule, task.adapt, task.test, seed
        )

    return Method("FF, float", layers, run, kinds)


def _integer(
    title: str, layers: str, form: Format, kinds: tuple[str, ...] = ("speaker", "rotation")
) -> Method:
    def run(task: Task, shared: Path, seed: int) -> Curve:
        schedule = SCHEDULES[kind_of(task), layers]
        return ours.adapt(task.name, shared, layers, schedule, form, task.adapt, task.test, seed)

    return Method(title, layers, run, kinds)


_NEAREST = (("train.plan_step.rounding", "nearest"),)
_EIGHT = Format(weight_bits=8, real_epsilon=_PAPER_EPSILON, options=_NEAREST)
_ONE_LSB = Format(
    weight_bits=8,
    epsilon_lsb=1,
    options=(("train.plan_step.rounding", "stochastic"), ("train.select_layers.headroom", 1.25)),
)

METHODS: dict[str, Method] = {
    "bp-head": _bp("head"),
    "ff-head": _ff("head"),
    "16w8a-head": _integer("FF, 16w8a", "head", Format()),
    "8w8a-head": _integer("FF, 8w8a, epsilon 1e-3", "head", _EIGHT),
    "8w8a-lsb-head": _integer("FF, 8w8a, epsilon 1 LSB", "head", _ONE_LSB),
    "bp-all": _bp("all"),
    # In float, LeNet takes minutes a run and a core: the speakers say what rounding costs.
    "ff-all": _ff("all", ("speaker",)),
    "16w8a-all": _integer("FF, 16w8a", "all", Format()),
    "8w8a-all": _integer("FF, 8w8a, epsilon 1e-3", "all", _EIGHT, ("speaker",)),
    "8w8a-lsb-all": _integer("FF, 8w8a, epsilon 1 LSB", "all", _ONE_LSB, ("speaker",)),
}


def facts_of(curve: Curve) -> dict[str, Any]:
    """A curve as JSON-friendly data."""
    return {"points": [list(point) for point in curve.points], **curve.facts}
