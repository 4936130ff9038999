"""Accuracy of every artifact and of the float source on labeled samples, streamed.

``top1`` compares the arg-max of the scores with class labels and, whether there are labels or not,
with the float model's. ``psnr`` and ``mse`` compare outputs with target arrays. Intervals are
Wilson's at 95 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError, RecipeError
from intaglio.transforms.metrics import mean_squared_error, psnr_db, wilson_interval
from intaglio.verification.report import SOURCE

METRICS = ("top1", "psnr", "mse")

Outputs = Mapping[str, NDArray[Any]]


def choose_metric(metric: str | None, has_labels: bool, has_targets: bool) -> str | None:
    """The metric to use.

    Args:
        metric: What the user asked for, or None for the one that fits the data.
        has_labels: Whether the samples come with ``labels``.
        has_targets: Whether they come with ``target``.

    Returns:
        One of :data:`METRICS`, or None where there is nothing to compare with.

    Raises:
        RecipeError: There is no such metric, or the data does not have what it needs.
    """
    if metric is None:
        return "top1" if has_labels else "psnr" if has_targets else None
    if metric not in METRICS:
        raise RecipeError(
            f"there is no metric '{metric}'", remedy=f"use --metric {', '.join(METRICS)}"
        )
    needed, present = ("labels", has_labels) if metric == "top1" else ("target", has_targets)
    if not present:
        raise RecipeError(
            f"--metric {metric} needs '{needed}', which the inputs do not have",
            remedy=f"give --inputs DATA.npz with a key '{needed}', one entry a sample",
        )
    return metric


class Accuracy:
    """Accumulates the accuracy of several models on the same samples.

    Args:
        metric: One of :data:`METRICS`, or None to count agreement with the source only.
    """

    def __init__(self, metric: str | None) -> None:
        self.metric = metric
        self._peak: float | None = None
        self._samples: dict[str, int] = {}
        self._correct: dict[str, int] = {}
        self._agreed: dict[str, int] = {}
        self._sums: dict[str, float] = {}

    def add(
        self,
        outputs: Mapping[str, Outputs],
        count: int,
        labels: NDArray[np.int64] | None,
        targets: NDArray[Any] | None,
    ) -> None:
        """Takes one batch into account.

        Args:
            outputs: Real outputs in the source's layout, by model and output name.
            count: Samples in the batch.
            labels: Class of each sample, or None.
            targets: What the outputs should be, or None.

        Raises:
            InputError: Labels or targets do not fit the outputs.
        """
        if self.metric in (None, "top1"):
            self._add_decisions(outputs, count, labels)
        elif targets is not None:
            for name, found in outputs.items():
                self._add_errors(name, found, count, targets)

    def results(self) -> dict[str, dict[str, float]]:
        """Metric values by model; fractions are 0 to 1, with their interval."""
        found: dict[str, dict[str, float]] = {}
        for name, samples in self._samples.items():
            values: dict[str, float] = {"samples": samples}
            if name in self._correct:
                values.update(_fraction("top1", self._correct[name], samples))
            if name in self._agreed and name != SOURCE:
                values.update(_fraction("agreement", self._agreed[name], samples))
            if name in self._sums:
                key = "psnr_db" if self.metric == "psnr" else "mse"
                values[key] = self._sums[name] / samples
                if self._peak is not None:
                    values["peak"] = self._peak
            found[name] = values
        return found

    def _add_decisions(
        self, outputs: Mapping[str, Outputs], count: int, labels: NDArray[np.int64] | None
    ) -> None:
        # Without labels only a model with scores as its one output is taken for a classifier.
        if labels is None and any(len(found) != 1 for found in outputs.values()):
            return
        decisions = {name: _decisions(found, count) for name, found in outputs.items()}
        known = {name: d for name, d in decisions.items() if d is not None}
        if labels is not None and len(known) < len(decisions):
            shapes = [array.shape for found in outputs.values() for array in found.values()]
            raise InputError(
                f"labels need an output of shape samples x classes; there is {shapes[0]}",
                remedy="for other outputs give the key 'target' and --metric mse or psnr",
            )
        expected = known.get(SOURCE)
        for name, decided in known.items():
            self._samples[name] = self._samples.get(name, 0) + count
            if labels is not None:
                _count(self._correct, name, decided == labels)
            if expected is not None:
                _count(self._agreed, name, decided == expected)

    def _add_errors(self, name: str, outputs: Outputs, count: int, targets: NDArray[Any]) -> None:
        fitting = [array for array in outputs.values() if array.shape == targets.shape]
        if not fitting:
            shapes = ", ".join(str(array.shape) for array in outputs.values())
            raise InputError(
                f"targets of shape {targets.shape} fit no output of the model ({shapes})",
                remedy="give 'target' arrays shaped like the output, sample axis first",
            )
        if self.metric == "psnr" and self._peak is None:
            self._peak = _peak(targets)
        rows = zip(_rows(targets, count), _rows(fitting[0], count), strict=True)
        for target, output in rows:
            if self.metric == "psnr" and self._peak is not None:
                value = psnr_db(target, output, self._peak)
            else:
                value = mean_squared_error(target, output)
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._samples[name] = self._samples.get(name, 0) + count


def _decisions(outputs: Outputs, count: int) -> NDArray[np.int64] | None:
    """Arg-max of the first output shaped ``[count, classes]`` (with or without trailing ones)."""
    for array in outputs.values():
        classes = array.shape[1] if array.ndim >= 2 else 0
        if array.ndim >= 2 and array.shape[0] == count and array.size == count * classes > count:
            return np.asarray(array.reshape(count, classes).argmax(axis=1))
    return None


def _count(counts: dict[str, int], name: str, hits: NDArray[np.bool_]) -> None:
    counts[name] = counts.get(name, 0) + int(np.count_nonzero(hits))


def _fraction(key: str, hits: int, samples: int) -> dict[str, float]:
    low, high = wilson_interval(hits, samples)
    return {key: hits / samples, f"{key}_low": low, f"{key}_high": high}


def _rows(array: NDArray[Any], count: int) -> Sequence[NDArray[Any]]:
    """One array a sample."""
    return list(array) if array.ndim and array.shape[0] == count else [array]


def _peak(targets: NDArray[Any]) -> float:
    """The largest possible value of pictures like these: 1.0, 255, or what occurs."""
    largest = float(np.abs(targets).max(initial=0.0))
    if largest <= 1.0:
        return 1.0
    return 255.0 if largest <= 255.0 else largest
