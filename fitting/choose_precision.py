"""Ranks activations by what their 8 bits cost at the output, and raises the worst to 16.

Each group of activations that share a scale is quantized alone in the otherwise float model; the
signal to noise ratio (SQNR) of the output on calibration samples is its sensitivity. Noise powers
of groups nearly add up, so for a given budget the groups are raised from the worst down until the
prediction meets it, and then further until a run of the model with all others at 8 bits does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.errors import RecipeError
from intaglio.fitting.base import DataPass
from intaglio.fitting.runner import Runner, activation_plan, batch_size
from intaglio.passes.annotations import set_precision
from intaglio.passes.base import APPROXIMATE, Change, Outcome, PassConfig, Skip, outcome
from intaglio.passes.marks import ALREADY_QUANTIZED, is_done, is_quantized, mark_done
from intaglio.passes.provenance import source_name
from intaglio.passes.quantize.plan_tensors import PlanTensors
from intaglio.transforms.scales import TensorQuantization

Plan = dict[str, TensorQuantization]


class PrecisionConfig(PassConfig):
    """Options of :class:`ChoosePrecision`; without a budget it does nothing.

    Attributes:
        budget_sqnr_db: Raise as few groups of activations to 16 bits as give the output this SQNR
            in dB, as far as activations are to blame (weights are left real).
        max_sixteen_bit: Raise at most so many groups; without ``budget_sqnr_db`` exactly so many.
        border: Whether inputs and outputs of the model may be raised, too.
        rank_only: Only rank, for the report.
        samples: Use only the first so many samples.
    """

    budget_sqnr_db: float | None = Field(default=None, gt=0.0, le=200.0)
    max_sixteen_bit: int | None = Field(default=None, ge=0)
    border: bool = False
    rank_only: bool = False
    samples: int = Field(default=32, ge=1)


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """What the 8 bits of one group of activations cost.

    Attributes:
        values: Names of the activations; they share a scale.
        node: Source name of the node that makes the first of them, or the input's name.
        noise: Power of the output's error, relative to that of the output, when only these are
            quantized.
    """

    values: tuple[str, ...]
    node: str
    noise: float

    @property
    def sqnr_db(self) -> float:
        """The same in dB."""
        return -10 * math.log10(self.noise) if self.noise > 0 else math.inf


class ChoosePrecision(DataPass):
    """Notes int16 on the activations whose 8 bits cost most."""

    name = "calibrate.choose_precision"
    semantics = APPROXIMATE
    Config = PrecisionConfig

    def call(self, model: ir.Model) -> Outcome:
        """Notes precisions on the values of ``model``; nothing else of it changes.

        Raises:
            RecipeError: There is no calibration data, or ranges have not been observed.
            InputError: The samples are damaged.
        """
        config = self.config
        if is_quantized(model):
            return outcome(model, [], [Skip("", ALREADY_QUANTIZED)])
        if config.budget_sqnr_db is None and config.max_sixteen_bit is None:
            if not config.rank_only:
                return outcome(model, [], [Skip("", "no budget was given")])
        elif is_done(model, self.name):
            return outcome(model, [], [Skip("", "precisions are chosen already")])
        values = {str(v.name): v for v in _activations(model)}
        ranking = self._rank(model, values)
        facts: dict[str, Any] = {
            "ranking": [
                {"node": s.node, "tensors": list(s.values), "sqnr_db": _finite(s.sqnr_db)}
                for s in ranking
            ]
        }
        if config.rank_only:
            return outcome(model, [], facts=facts)
        eligible = [s for s in ranking if config.border or not _touches_border(s, values)]
        raised, reached = self._choose(model, ranking, eligible)
        changes = []
        for sensitivity in raised:
            for name in sensitivity.values:
                set_precision(values[name], "int16")
            changes.append(
                Change(
                    "raise-precision",
                    sensitivity.node,
                    "int8",
                    "int16",
                    f"alone it limits the output to {sensitivity.sqnr_db:.1f} dB",
                )
            )
        skips = []
        if config.budget_sqnr_db is not None and reached < config.budget_sqnr_db:
            skips.append(
                Skip("", f"the budget of {config.budget_sqnr_db} dB is out of reach: {reached:.1f}")
            )
        facts.update(sixteen_bit_groups=len(raised), activation_sqnr_db=_finite(reached))
        if changes:
            mark_done(model, self.name)
        return outcome(model, changes, skips, facts)

    def _rank(self, model: ir.Model, values: Mapping[str, ir.Value]) -> list[Sensitivity]:
        """All groups, worst first."""
        plan = _planned(model, ())
        reference = self._outputs(Runner(model, _measured(model), outputs=False), model)
        found: list[Sensitivity] = []
        left = {name for name, q in plan.items() if q.dtype != "int16"}
        total = len(left)
        for name in [str(n) for n in values if str(n) in left]:
            if name not in left:
                continue
            raised = _planned(model, (name,))
            group = tuple(n for n in values if n in left and raised[n].dtype == "int16") or (name,)
            left.difference_update(group)
            runner = Runner(
                model, _measured(model), quantized={n: plan[n] for n in group}, outputs=False
            )
            noise = _noise(reference, self._outputs(runner, model))
            producer = values[group[0]].producer()
            node = group[0] if producer is None else source_name(producer)
            found.append(Sensitivity(group, node, noise))
            self.report(total - len(left), total)
        return sorted(found, key=lambda s: -s.noise)

    def _choose(
        self, model: ir.Model, ranking: list[Sensitivity], eligible: list[Sensitivity]
    ) -> tuple[list[Sensitivity], float]:
        """The groups to raise, and the SQNR in dB that is reached so."""
        most = len(eligible)
        if self.config.max_sixteen_bit is not None:
            most = min(most, self.config.max_sixteen_bit)
        reference = self._outputs(Runner(model, _measured(model), outputs=False), model)

        def reached(count: int) -> float:
            names = tuple(name for s in eligible[:count] for name in s.values)
            runner = Runner(
                model, _measured(model), quantized=_planned(model, names), outputs=False
            )
            noise = _noise(reference, self._outputs(runner, model))
            return -10 * math.log10(noise) if noise > 0 else math.inf

        if self.config.budget_sqnr_db is None:
            return eligible[:most], reached(most)
        allowed = 10 ** (-self.config.budget_sqnr_db / 10)
        noise = sum(s.noise for s in ranking)
        count = 0
        while count < most and noise > allowed:
            noise -= eligible[count].noise
            count += 1
        found = reached(count)
        while count < most and found < self.config.budget_sqnr_db:
            count += 1
            found = reached(count)
        return eligible[:count], found

    def _outputs(self, runner: Runner, model: ir.Model) -> list[list[NDArray[np.float64]]]:
        """The measured outputs of each batch."""
        stream = runner.stream(
            self.require_data(), batch=batch_size(model), limit=self.config.samples
        )
        return [[np.asarray(array, np.float64) for array in found.values()] for found in stream]


def _activations(model: ir.Model) -> list[ir.Value]:
    values = list(model.graph.inputs)
    for node in model.graph:
        values.extend(node.outputs)
    return values


def _planned(model: ir.Model, sixteen: tuple[str, ...]) -> Plan:
    """What the activations' quantization would be with some of them at 16 bits."""
    trial = model.clone()
    for value in _activations(trial):
        if value.name in sixteen:
            set_precision(value, "int16")
    PlanTensors()(trial)
    plan = activation_plan(trial)
    if not plan:
        raise RecipeError(
            "no activation has a calibrated range",
            remedy="run calibrate.observe_ranges before calibrate.choose_precision",
        )
    return plan


def _measured(model: ir.Model) -> list[str]:
    """Outputs to measure: a final softmax hides errors, so its input is taken instead."""
    names = []
    for output in model.graph.outputs:
        producer = output.producer()
        if producer is not None and producer.op_type in ("Softmax", "LogSoftmax", "Sigmoid"):
            source = producer.inputs[0]
            output = source if source is not None else output
        if output.dtype == ir.DataType.FLOAT:
            names.append(str(output.name))
    return list(dict.fromkeys(names))


def _noise(
    reference: list[list[NDArray[np.float64]]], found: list[list[NDArray[np.float64]]]
) -> float:
    """Error power relative to signal power, the mean over the outputs."""
    ratios = []
    for index in range(len(reference[0])):
        signal = sum(float(np.sum(batch[index] ** 2)) for batch in reference)
        error = sum(
            float(np.sum((a[index] - b[index]) ** 2)) for a, b in zip(reference, found, strict=True)
        )
        ratios.append(error / signal if signal > 0 else error)
    return float(np.mean(ratios))


def _touches_border(sensitivity: Sensitivity, values: Mapping[str, ir.Value]) -> bool:
    members = [values[name] for name in sensitivity.values]
    return any(v.is_graph_input() or v.is_graph_output() for v in members)


def _finite(value: float) -> float | None:
    """``value`` for JSON, which has no infinity."""
    return round(value, 3) if math.isfinite(value) else None
