"""Scores a model on test sets, against the float model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from intaglio.transforms.metrics import SqnrAccumulator
from numpy.typing import NDArray

from benchmarks.quantization.cases import Case, TestSet
from benchmarks.quantization.runners import Runner

# Larger batches are slower: the wide intermediate results of integer graphs leave the cache.
BATCH = 25
RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Result:
    """What a model gave on a test set.

    Attributes:
        values: Score of each sample: 1 or 0 for ``top1``, dB for ``psnr``; empty for ``sqnr``.
        decisions: Class of each sample, for models that decide.
        outputs: Outputs of each batch.
        logits: What went into the last Softmax, of each batch; empty where there is none.
    """

    values: NDArray[np.float64]
    decisions: NDArray[np.int64]
    outputs: list[list[NDArray[np.float32]]]
    logits: list[NDArray[np.float32]]


def run(runner: Runner, case: Case, test: TestSet, batched: bool) -> Result:
    """Runs a model on a test set.

    Args:
        runner: The model.
        case: The case.
        test: The test set.
        batched: Whether the model takes batches of any size.
    """
    outputs: list[list[NDArray[np.float32]]] = []
    logits: list[NDArray[np.float32]] = []
    for batch in batches(test, batched):
        found = runner.run(batch)
        outputs.append(found)
        before = runner.logits(batch)
        if before is not None:
            logits.append(before)
    decisions = np.empty(0, np.int64)
    if case.classes:
        decisions = np.concatenate([found[0].argmax(axis=1) for found in outputs])
    values = np.empty(0, np.float64)
    if test.labels is not None:
        values = (decisions == test.labels).astype(np.float64)
    elif test.targets is not None:
        pairs = zip(outputs, test.targets, strict=True)
        values = np.array([psnr(found[0], target, test.border) for found, target in pairs])
    return Result(values, decisions, outputs, logits)


def batches(test: TestSet, batched: bool) -> Iterator[NDArray[np.float32]]:
    """The samples of a test set in batches; of one where the model takes no more."""
    if not isinstance(test.samples, np.ndarray):
        yield from test.samples
        return
    size = BATCH if batched else 1
    for start in range(0, len(test.samples), size):
        yield test.samples[start : start + size]


def psnr(output: NDArray[np.float32], target: NDArray[np.float32], border: int) -> float:
    """Peak signal to noise ratio of one picture, dB.

    Args:
        output: One plane in 0..1 with any axes of one; clipped and rounded to 8 bits here.
        target: H×W, 0..255.
        border: Pixels left out on each side.
    """
    values = np.round(np.clip(output.reshape(target.shape).astype(np.float64), 0, 1) * 255)
    error = (values - target)[border:-border, border:-border]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def sqnr_db(reference: Result, test: Result) -> float | None:
    """Signal to noise of the logits over all samples; of several outputs, the mean of each.

    None where one of the two does not show its logits: probabilities would compare better.
    """
    if bool(reference.logits) != bool(test.logits):
        return None
    if reference.logits:
        columns = [(reference.logits, test.logits)]
    else:
        columns = [
            ([found[i] for found in reference.outputs], [found[i] for found in test.outputs])
            for i in range(len(reference.outputs[0]))
        ]
    ratios = []
    for expected, found in columns:
        total = SqnrAccumulator()
        for a, b in zip(expected, found, strict=True):
            total.update(a, b)
        ratios.append(total.sqnr_db)
    return float(np.mean(ratios))


def bootstrap(
    differences: Sequence[NDArray[np.float64]], resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % interval of a mean loss, over the samples.

    Paired: each sample's loss is float minus quantized on the same sample, averaged over the
    calibration draws; samples are drawn with replacement.

    Args:
        differences: Loss of each sample, one array a calibration draw.
        resamples: How often to resample.
    """
    loss = np.mean(np.stack(differences), axis=0)
    generator = np.random.default_rng(0)
    means = np.array(
        [loss[generator.integers(len(loss), size=len(loss))].mean() for _ in range(resamples)]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
