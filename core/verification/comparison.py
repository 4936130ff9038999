"""Comparing two artifacts output by output, in LSB, without keeping the outputs.

One LSB is one step of the quantized output. Integers are compared as they are; where a border is
float (the float source, artifacts with ``--io float``), its values are rounded to that step first,
but not clamped: what lies outside the range of the integers is an error like any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import VerificationError
from intaglio.targets.base import TensorSpec
from intaglio.transforms.metrics import LsbHistogram, SqnrAccumulator
from intaglio.transforms.scales import TensorQuantization
from intaglio.verification.report import PairResult

#: Differences up to this are called ``within N lsb``; beyond, ``different``. Runtimes of another
#: arithmetic are off by 1 LSB an operator; what is larger has been amplified on the way.
CLOSE_LSB = 8

#: Differences of this many LSB and more share the outermost bins of a reported histogram.
OUTERMOST_LSB = 8

# Rounded levels are kept in int64; float32 reaches further.
_LARGEST_LEVEL = float(1 << 61)


def quantization_of(spec: TensorSpec) -> TensorQuantization | None:
    """The quantization of the integers that ``spec`` describes; None for floats and raw values."""
    if spec.scale is None or not np.issubdtype(np.dtype(spec.dtype), np.integer):
        return None
    return TensorQuantization(spec.dtype, (spec.scale,), (spec.zero_point or 0,))


def to_real(values: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """Values in real units: dequantized to float32, or as they are where there is no scale."""
    quantization = quantization_of(spec)
    return values if quantization is None else quantization.dequantize(values)


def verdict_of(max_error_lsb: float, mismatches: int) -> str:
    """The verdict in words: ``exact``, ``within N lsb`` or ``different``."""
    if mismatches == 0:
        return "exact"
    return f"within {max_error_lsb:g} lsb" if max_error_lsb <= CLOSE_LSB else "different"


def reported_bins(counts: Mapping[int, int]) -> tuple[tuple[int, int], ...]:
    """``(LSB, count)`` ascending and without gaps, everything beyond in the outermost bins."""
    bins: dict[int, int] = {}
    for error, count in counts.items():
        clipped = min(max(error, -OUTERMOST_LSB), OUTERMOST_LSB)
        bins[clipped] = bins.get(clipped, 0) + count
    if not bins:
        return ()
    return tuple((error, bins.get(error, 0)) for error in range(min(bins), max(bins) + 1))


def round_to_levels(real: NDArray[Any], scale: float | NDArray[np.float64]) -> NDArray[np.int64]:
    """Real values as whole steps of ``scale`` from zero: int64, not clamped to any type."""
    with np.errstate(over="ignore", invalid="ignore"):
        levels = np.rint(np.asarray(real, np.float64) / scale)
    return np.asarray(np.clip(levels, -_LARGEST_LEVEL, _LARGEST_LEVEL).astype(np.int64))


class OutputComparison:
    """Streaming comparison of one output of two artifacts.

    Args:
        actual: Spec of the artifact's output.
        reference: Spec of the reference's output.
        planned: Quantization of the tensor, for borders that are float on both sides.
        bitwise: Whether float values that round to the same step still count as mismatches.

    Attributes:
        histogram: Differences in LSB.
        mismatches: Values that differ.
    """

    def __init__(
        self,
        actual: TensorSpec,
        reference: TensorSpec,
        planned: TensorQuantization | None = None,
        *,
        bitwise: bool = False,
    ) -> None:
        self._bitwise = bitwise
        self._actual = actual
        self._reference = reference
        self._step = _common_step(actual, reference, planned, bitwise)
        self.histogram = LsbHistogram()
        self.mismatches = 0
        self._real = SqnrAccumulator()
        self._generated = SqnrAccumulator()

    def add(
        self, actual: NDArray[Any], reference: NDArray[Any], *, generated: bool = False
    ) -> None:
        """Takes one batch into account.

        Values for which the reference is not finite are left out.

        Args:
            actual: Output of the artifact, in the reference's layout.
            reference: Output of the reference, same shape.
            generated: Whether the inputs were made up; those count in SQNR only where there are
                no others.

        Raises:
            VerificationError: The shapes differ, or the artifact gives NaN.
        """
        name = self._actual.name
        if actual.shape != reference.shape:
            raise VerificationError(
                f"output '{name}' has shape {actual.shape}, that of the reference {reference.shape}"
            )
        actual, reference = _where_finite(actual, reference, name)
        if actual.size == 0:
            return
        self.histogram.update(
            self._levels(reference, self._reference), self._levels(actual, self._actual)
        )
        if self._bitwise and actual.dtype == reference.dtype and self._same_border():
            self.mismatches += int(np.count_nonzero(actual != reference))
        else:
            self.mismatches = self.histogram.mismatches
        accumulator = self._generated if generated else self._real
        accumulator.update(to_real(reference, self._reference), to_real(actual, self._actual))

    @property
    def sqnr_db(self) -> float:
        """SQNR over the real inputs; over the generated ones where there are no others."""
        accumulator = self._real if self._real.count else self._generated
        return accumulator.sqnr_db if accumulator.count else math.nan

    def _same_border(self) -> bool:
        one, other = self._actual, self._reference
        return (one.scale, one.zero_point) == (other.scale, other.zero_point)

    def _levels(self, values: NDArray[Any], spec: TensorSpec) -> NDArray[np.int64]:
        quantization = quantization_of(spec)
        if quantization is not None:
            steps = values.astype(np.int64) - quantization.zero_point[0]
            factor = quantization.scale[0] / self._step
            return steps if factor == 1.0 else round_to_levels(steps * factor, 1.0)
        if values.dtype.kind in "iub":
            return values.astype(np.int64)
        return round_to_levels(values, self._step)


class PairComparison:
    """Streaming comparison of an artifact with its reference.

    Args:
        artifact: Name of the artifact.
        reference: Name of the reference.
        arithmetic: Arithmetic of the artifact.
        outputs: Spec of each output, of the artifact and of the reference.
        must_be_exact: Whether any differing bit is a failure.
        planned: Planned quantization by tensor name.

    Attributes:
        error: Set where one of the two cannot be run; nothing is compared from then on.
        must_be_exact: As given.
    """

    def __init__(
        self,
        artifact: str,
        reference: str,
        arithmetic: str,
        outputs: Mapping[str, tuple[TensorSpec, TensorSpec]],
        *,
        must_be_exact: bool = False,
        planned: Mapping[str, TensorQuantization] | None = None,
    ) -> None:
        self.artifact = artifact
        self.reference = reference
        self.error: str | None = None
        self._arithmetic = arithmetic
        self.must_be_exact = must_be_exact
        self._outputs: dict[str, OutputComparison] = {}
        try:
            for name, specs in outputs.items():
                quantization = (planned or {}).get(name)
                self._outputs[name] = OutputComparison(
                    *specs, planned=quantization, bitwise=must_be_exact
                )
        except VerificationError as error:
            self.error = str(error)

    def add(
        self,
        actual: Mapping[str, NDArray[Any]],
        reference: Mapping[str, NDArray[Any]],
        *,
        generated: bool = False,
    ) -> None:
        """Takes the outputs of one batch into account; see :meth:`OutputComparison.add`.

        What cannot be compared ends the comparison with an :attr:`error`.
        """
        if self.error is not None:
            return
        try:
            for name, comparison in self._outputs.items():
                comparison.add(actual[name], reference[name], generated=generated)
        except VerificationError as error:
            self.error = str(error)

    def result(self) -> PairResult:
        """What was found."""
        names = (self.artifact, self.reference)
        if self.error is not None:
            return PairResult(
                *names, "failed", self._arithmetic, self.must_be_exact, error=self.error
            )
        outputs = list(self._outputs.values())
        counts: dict[int, int] = {}
        for output in outputs:
            for error, count in output.histogram.counts.items():
                counts[error] = counts.get(error, 0) + count
        total = sum(counts.values())
        mismatches = sum(output.mismatches for output in outputs)
        largest = float(max((output.histogram.max_error for output in outputs), default=0))
        return PairResult(
            *names,
            verdict_of(largest, mismatches) if total else "failed",
            self._arithmetic,
            self.must_be_exact,
            max_error_lsb=largest,
            mismatch_fraction=mismatches / total if total else math.nan,
            sqnr_db=min((output.sqnr_db for output in outputs), default=math.nan),
            histogram=reported_bins(counts),
            values=total,
            error=None if total else "there is no output value to compare",
        )


def _common_step(
    actual: TensorSpec, reference: TensorSpec, planned: TensorQuantization | None, bitwise: bool
) -> float:
    for spec in (reference, actual):
        if spec.scale is not None:
            return spec.scale
    if planned is not None and not planned.per_channel:
        return planned.scale[0]
    if all(np.dtype(spec.dtype).kind in "iub" for spec in (actual, reference)):
        return 1.0
    if bitwise and actual.dtype == reference.dtype:
        return 1.0  # Bits decide; the figures in LSB are then in units of the output.
    raise VerificationError(
        f"output '{actual.name}' is {actual.dtype}, and nothing says what one step of it is",
        remedy="convert again: the scale of every output stands in the manifest or in plan.json",
    )


def _where_finite(
    actual: NDArray[Any], reference: NDArray[Any], name: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    if reference.dtype.kind == "f":
        finite = np.isfinite(reference)
        if not finite.all():
            actual, reference = actual[finite], reference[finite]
    if actual.dtype.kind == "f" and not np.isfinite(actual).all():
        raise VerificationError(f"output '{name}' holds NaN or infinity, the reference does not")
    return actual, reference
