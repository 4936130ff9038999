"""What ``verify`` found, as data: pairs of artifacts, layers, accuracy, failures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from intaglio.verification.taps import InnerResult

#: How the float model that the bundle was made from is called in pairs and in accuracy.
SOURCE = "source"

#: How the quantized model is called there that a split one was made from.
UNSPLIT = "unsplit"

#: Schema of verify.json.
SCHEMA = 1


def finite_or_none(value: float) -> float | None:
    """``value`` for JSON, which has no infinity and no NaN."""
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class PairResult:
    """How one artifact compares with its reference, over all inputs and outputs.

    Attributes:
        artifact: Name of the artifact (its target; with several roles ``role/target``).
        reference: Name of the artifact it was compared with, or ``source``.
        verdict: ``exact``, ``within N lsb``, ``different`` or ``failed``.
        arithmetic: Arithmetic of the artifact: a profile, ``float``, or ``source`` (the bits
            that the source gives).
        must_be_exact: Whether both sides state the same exact arithmetic: a profile, or ``source``.
        max_error_lsb: Largest difference in least significant bits of the output.
        mismatch_fraction: Fraction of output values that differ.
        sqnr_db: Power of the reference over power of the difference, over the real inputs (all
            inputs where there are only generated ones); the worst output counts. Infinite where
            nothing differs, NaN where nothing was compared.
        histogram: ``(difference in LSB, how many values)``, ascending. The first and last stand
            for everything beyond.
        values: How many output values were compared.
        error: Why the artifact or its reference could not be run, or None.
    """

    artifact: str
    reference: str
    verdict: str
    arithmetic: str
    must_be_exact: bool = False
    max_error_lsb: float = math.nan
    mismatch_fraction: float = math.nan
    sqnr_db: float = math.nan
    histogram: tuple[tuple[int, int], ...] = ()
    values: int = 0
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the pair as JSON-friendly data; an infinite or undefined figure is null."""
        return {
            "artifact": self.artifact,
            "reference": self.reference,
            "verdict": self.verdict,
            "arithmetic": self.arithmetic,
            "must_be_exact": self.must_be_exact,
            "max_error_lsb": finite_or_none(self.max_error_lsb),
            "mismatch_fraction": finite_or_none(self.mismatch_fraction),
            "sqnr_db": finite_or_none(self.sqnr_db),
            "histogram": [list(entry) for entry in self.histogram],
            "values": self.values,
            "error": self.error,
        }


@dataclass(frozen=True)
class LayerResult:
    """How one inner tensor of an artifact compares with the float source.

    Attributes:
        artifact: Name of the artifact.
        node: Source node that computes the tensor; empty for an input of the model.
        operator: Operator type of that node, ``Input`` for an input.
        tensor: Name of the source tensor.
        dtype: Integer type of the tensor in the artifact.
        scale: Its scale; the largest where it has one a channel.
        zero_point: Its zero point.
        order: Position in the source model, counted from 0.
        sqnr_db: Float signal over the difference, accumulated errors of earlier layers included.
        drop_db: Lowest SQNR among the tensors it is computed from, minus its own: what this
            layer itself loses. None where that is unknown.
        max_error_lsb: Largest difference in LSB of the tensor.
        mean_error_lsb: Mean signed difference in LSB: a shift of the whole tensor.
        saturated_low: Fraction of elements whose float value lies more than one LSB below what
            the type can hold.
        saturated_high: Likewise above.
        range_used: Part of the integer range that occurs, 0 to 1.
        low: Smallest float value seen.
        high: Largest float value seen.
        histogram: ``(difference in LSB, how many)`` as for pairs.
        suggestion: What to try, or empty.
    """

    artifact: str
    node: str
    operator: str
    tensor: str
    dtype: str
    scale: float
    zero_point: int
    order: int
    sqnr_db: float
    drop_db: float | None
    max_error_lsb: float
    mean_error_lsb: float
    saturated_low: float
    saturated_high: float
    range_used: float
    low: float
    high: float
    histogram: tuple[tuple[int, int], ...]
    suggestion: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns the layer as JSON-friendly data; an infinite or undefined figure is null."""
        data = {
            name: finite_or_none(value) if isinstance(value, float) else value
            for name, value in vars(self).items()
        }
        data["histogram"] = [list(entry) for entry in self.histogram]
        return data


@dataclass
class VerifyReport:
    """Everything that ``verify`` found.

    Attributes:
        pairs: Comparisons, in the order of the manifest.
        inner: Inner tensors against the golden reference, bit for bit, an entry an artifact.
        layers: Inner tensors against the float source, worst first.
        accuracy: Metric values by artifact (``source`` is the float model).
        metric: The accuracy metric used, or None.
        inputs: How many inputs of which kind were run: ``samples``, ``generated``, ``layers``.
        failures: A sentence for everything that makes the verdict negative.
        warnings: Sentences for what the user should know but does not fail.
        requirements: What was asked for with ``--require``.
        traffic: For split bundles ``bytes``, ``ratio_fp32``, ``ratio_u8``; else None.
        split: For split bundles what else was found (:mod:`intaglio.verification.split`).
    """

    pairs: list[PairResult] = field(default_factory=list)
    inner: list[InnerResult] = field(default_factory=list)
    layers: list[LayerResult] = field(default_factory=list)
    accuracy: dict[str, dict[str, float]] = field(default_factory=dict)
    metric: str | None = None
    inputs: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)
    traffic: Mapping[str, float] | None = None
    split: Mapping[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Returns the report in the shape that ``verify --json`` prints."""
        data: dict[str, Any] = {
            "schema": SCHEMA,
            "ok": self.ok,
            "failures": list(self.failures),
            "warnings": list(self.warnings),
            "requirements": list(self.requirements),
            "inputs": dict(self.inputs),
            "metric": self.metric,
            "pairs": [pair.to_dict() for pair in self.pairs],
            "inner": [result.to_dict() for result in self.inner],
            "accuracy": {
                name: {key: finite_or_none(value) for key, value in values.items()}
                for name, values in self.accuracy.items()
            },
            "layers": [layer.to_dict() for layer in self.layers],
        }
        if self.traffic is not None:
            data["traffic"] = dict(self.traffic)
        if self.split is not None:
            data["split"] = dict(self.split)
        return data
