"""``verify`` of training steps: every runtime must make the same steps, bit for bit.

Each runtime starts at the bundle's weights and makes the same steps on the same batches. After each
step losses, signs and the digest of all weights are compared with those of ``onnx-integer``, or of
the first runtime where a bundle has no such target; and the digest with that of the weights that
numpy computes from the signs, for any runtime alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import IntaglioError
from intaglio.progress import Progress
from intaglio.targets.base import Artifact, TensorSpec
from intaglio.targets.training import Stepper
from intaglio.targets.training_files import Training
from intaglio.training_files import TRAIN_STEP, load_training
from intaglio.transforms.forward_gradient.specification import StepSpecification
from intaglio.transforms.forward_gradient.step import StepResult, digest, update
from intaglio.transforms.scales import TensorQuantization
from intaglio.verification.report import PairResult, VerifyReport
from intaglio.verification.runs import describe

if TYPE_CHECKING:
    from intaglio.bundle import Bundle

#: Steps that every runtime makes; the last ones with halved steps.
STEPS = 20
_HALVED = 15

#: Samples of a batch, where the model leaves the number open.
BATCH = 8

#: Seed of the labels, and of samples where the bundle keeps none.
_SEED = 20250
#: First seed of the steps: they run over the end of 32 bits.
_FIRST_SEED = 2**32 - 5

_GOLDEN = "onnx-integer"
_NUMPY = "numpy"


@dataclasses.dataclass(frozen=True)
class _Step:
    """What a runtime found in one step: losses, signs, and the weights' digest behind it."""

    result: StepResult
    digest: str


@dataclasses.dataclass
class _Run:
    """All steps of one runtime.

    Attributes:
        name: ``train_step/`` and the target, with the runtime where it has several.
        arithmetic: The artifact's.
        steps: What it found, as far as it came.
        replayed: Digest that numpy computes from the signs, a step each.
        error: Why it stopped, or None.
    """

    name: str
    arithmetic: str
    steps: list[_Step] = dataclasses.field(default_factory=list)
    replayed: list[str] = dataclasses.field(default_factory=list)
    error: str | None = None


def verify_training(bundle: Bundle, report: VerifyReport, progress: Progress) -> None:
    """Adds what the bundle's training steps do to a report; nothing where it has none.

    Args:
        bundle: The bundle.
        report: Gets a pair for each runtime, and the failures.
        progress: Listener.
    """
    artifacts = [a for a in bundle.artifacts if a.role == TRAIN_STEP]
    if not artifacts:
        return
    try:
        training = load_training(bundle)
        if len(training.inputs) != 1:
            report.warnings.append(
                f"the training step was not run: the model has {len(training.inputs)} inputs, and "
                "batches are of one"
            )
            return
        batches = list(_batches(training, bundle))
    except IntaglioError as error:
        report.failures.append(f"the training step cannot be run: {error}")
        return
    runs: list[_Run] = []
    for artifact in sorted(artifacts, key=lambda a: a.target != _GOLDEN):
        runs += _runs(bundle, artifact, training, batches, report, progress)
    for run in runs:
        _compare_with_numpy(run, report)
        if run is not runs[0]:
            _compare(run, runs[0], report)


def _runs(
    bundle: Bundle,
    artifact: Artifact,
    training: Training,
    batches: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    report: VerifyReport,
    progress: Progress,
) -> Iterator[_Run]:
    opener = bundle.opener(artifact)
    runtimes = opener.runtimes(artifact)
    base = f"{TRAIN_STEP}/{artifact.target}"
    if not runtimes:
        report.warnings.append(f"{base} was not run: {opener.why_not_run()}")
    for runtime in runtimes:
        name = base if len(runtimes) == 1 else f"{base}@{runtime.name}"
        run = _Run(name, artifact.arithmetic)
        try:
            stepper = opener.open_stepper(artifact, bundle.folder, runtime.name)
            try:
                _make_steps(run, stepper, training.specification, batches, progress)
            finally:
                stepper.close()
        except Exception as error:
            # A runtime may raise anything; the others go on.
            run.error = describe(error)
        yield run


def _make_steps(
    run: _Run,
    stepper: Stepper,
    specification: StepSpecification,
    batches: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    progress: Progress,
) -> None:
    replayed = stepper.weights()
    for number in range(STEPS):
        x, targets = batches[number % len(batches)]
        seed, step_shift = specification.step_seed(_FIRST_SEED, number), int(number >= _HALVED)
        result = stepper.step(x, targets, seed, step_shift)
        run.steps.append(_Step(result, digest(specification, stepper.weights())))
        replayed = update(specification, replayed, seed, result.signs, step_shift)
        run.replayed.append(digest(specification, replayed))
        progress(run.name, number + 1, STEPS)


def _compare_with_numpy(run: _Run, report: VerifyReport) -> None:
    """The weights against those that follow from the signs."""
    if run.error is not None:
        report.failures.append(f"{run.name} cannot be run: {run.error}")
        report.pairs.append(PairResult(run.name, _NUMPY, "failed", run.arithmetic, error=run.error))
        return
    wrong = [i for i, step in enumerate(run.steps) if step.digest != run.replayed[i]]
    if wrong:
        report.failures.append(
            f"{run.name}: the weights after step {wrong[0]} are not those that its signs give"
        )
    report.pairs.append(_pair(run, _NUMPY, len(wrong), len(run.steps)))


def _compare(run: _Run, golden: _Run, report: VerifyReport) -> None:
    """Losses, signs and weights against those of the golden reference."""
    if run.error is not None or golden.error is not None:
        return  # That is a failure already.
    both = zip(run.steps, golden.steps, strict=True)
    wrong = [number for number, (found, expected) in enumerate(both) if found != expected]
    if wrong:
        first = wrong[0]
        report.failures.append(
            f"{run.name} differs from {golden.name} at step {first}: "
            f"{_difference(run.steps[first], golden.steps[first])}"
        )
    report.pairs.append(_pair(run, golden.name, len(wrong), len(run.steps)))


def _difference(found: _Step, expected: _Step) -> str:
    for name in ("loss_plus", "loss_minus", "signs"):
        ours, theirs = getattr(found.result, name), getattr(expected.result, name)
        if ours != theirs:
            return f"{name} is {list(ours)}, not {list(theirs)}"
    return "the weights are others"


def _pair(run: _Run, reference: str, wrong: int, count: int) -> PairResult:
    return PairResult(
        run.name,
        reference,
        "different" if wrong else "exact",
        run.arithmetic,
        must_be_exact=True,
        max_error_lsb=float("inf") if wrong else 0.0,
        mismatch_fraction=wrong / count,
        sqnr_db=float("nan") if wrong else float("inf"),
        values=count,
    )


def _batches(training: Training, bundle: Bundle) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Batches of the bundle's samples, or of random integers, with random labels."""
    generator = np.random.default_rng(_SEED)
    data = _samples(training.inputs[0], bundle, generator)
    size = _batch_size(training.inputs[0])
    for start in range(0, max(len(data) - size, 0) + 1, size):
        x = data[start : start + size]
        yield x, _targets(training, len(x), generator)


def _batch_size(spec: TensorSpec) -> int:
    first = spec.shape[0] if spec.shape else 1
    return first if isinstance(first, int) else BATCH


def _samples(spec: TensorSpec, bundle: Bundle, generator: np.random.Generator) -> NDArray[Any]:
    stored = bundle.samples().get(spec.name)
    if stored is None:
        shape = [_batch_size(spec), *(d if isinstance(d, int) else 32 for d in spec.shape[1:])]
        ends = np.iinfo(spec.dtype)
        return generator.integers(ends.min, ends.max, shape, endpoint=True).astype(spec.dtype)
    if stored.dtype.kind == "f":
        quantization = TensorQuantization(
            spec.dtype, (float(spec.scale or 1.0),), (spec.zero_point or 0,)
        )
        stored = quantization.quantize(stored)
    return np.asarray(stored.astype(spec.dtype))


def _targets(training: Training, count: int, generator: np.random.Generator) -> NDArray[Any]:
    """Labels of all classes, or numbers of the size of the logits."""
    classes = _logit_shape(training)
    if training.specification.loss == "cross-entropy":
        return generator.integers(0, classes[-1], count)
    return generator.integers(-4096, 4097, (count, *classes)).astype(np.int32)


def _logit_shape(training: Training) -> tuple[int, ...]:
    shape = training.outputs[0].shape[1:]
    return tuple(d if isinstance(d, int) else 1 for d in shape)
