"""``train`` and ``replay``: a training bundle in, the bundle of the adapted model out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intaglio.adapted import export_adapted
from intaglio.bundle import Bundle, check_output, load
from intaglio.errors import InputError, OutputError, RecipeError, ToolError
from intaglio.fitting.listener import Listener
from intaglio.passes.train.step_sizes import smallest_gradient
from intaglio.preparing import TRAIN_STEP
from intaglio.progress import Progress, silent
from intaglio.training_files import (
    load_training,
    open_stepper,
    require_one_input,
    require_training,
)
from intaglio.transforms.forward_gradient.step import digest
from intaglio.transforms.forward_gradient.transcript import (
    Transcript,
    decode,
    encode,
    specification_digest,
)

if TYPE_CHECKING:
    from intaglio.fitting.training.loop import RunOutcome
    from intaglio.targets.training import Stepper
    from intaglio.targets.training_files import Training

Data = str | Path | Mapping[str, NDArray[Any]]

#: The folder of a run beside the folder it writes to: removed when the run is through.
RUN_SUFFIX = ".training"
#: The transcript in the bundle of an adapted model.
TRANSCRIPT_FILE = "transcript.bin"

#: Targets whose step trains here, the fastest first.
_TARGETS = ("c", "onnx-integer")

#: Points of the loss curve that are kept for the report.
_CURVE = 240
#: Shares above which the report warns.
_MANY_TIES, _MANY_CLIPPED, _MANY_AT_LIMIT = 0.5, 0.01, 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingReport:
    """What a training run came to.

    Attributes:
        bundle: The adapted model; None after an interrupt.
        run: Folder of the run; it is gone unless the run was interrupted.
        facts: What happened, JSON-friendly: steps, forwards, seconds, losses, validations, shares.
        warnings: What the user should know.
    """

    bundle: Bundle | None
    run: Path
    facts: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def interrupted(self) -> bool:
        """Whether the run can be resumed."""
        return self.bundle is None

    def to_dict(self) -> dict[str, Any]:
        """JSON-friendly data."""
        out = None if self.bundle is None else str(self.bundle.folder)
        return {"out": out, "run": str(self.run), "warnings": list(self.warnings), **self.facts}


def train(
    bundle: Bundle | str | Path,
    data: Data,
    out: str | Path | None = None,
    *,
    validate: Data | None = None,
    steps: int = 1000,
    batch: int = 16,
    seed: int = 1,
    halve_every: int = 0,
    validate_every: int = 100,
    patience: int = 0,
    checkpoint_every: int = 500,
    target: str | None = None,
    runtime: str | None = None,
    resume: bool = False,
    transcript: str | Path | None = None,
    progress: Progress | None = None,
    listener: Listener | None = None,
) -> TrainingReport:
    """Trains the model of a bundle and writes the adapted one as a bundle of its own.

    Every step is on disk before the next begins: after a kill at any moment, the same call with
    ``resume`` goes on and comes to the same bits as if nothing had happened.

    Args:
        bundle: A bundle of the recipe ``forward-gradient``, or its folder.
        data: Samples and labels: a ``.npz`` file, or arrays by name.
        out: Folder to write; None for the bundle's name with ``-adapted``.
        validate: Samples and labels to choose the best weights by; None takes the last weights.
        steps: Steps of the whole run.
        batch: Samples a step sees.
        seed: Seed of the perturbations and of the order of the samples.
        halve_every: Halve the step each time so many steps are done; 0 for never.
        validate_every: Validate each time so many steps are done.
        patience: Stop after so many validations without a better one; 0 for never.
        checkpoint_every: Save all weights each time so many steps are done.
        target: ``c`` or ``onnx-integer``; None for the fastest that runs here.
        runtime: Which of the target's runtimes; None for the first.
        resume: Go on with an interrupted run.
        transcript: File to write the transcript to, besides the one in the bundle.
        progress: Listener for stages.
        listener: Told after every step: steps done, steps in all, loss, last accuracy.

    Returns:
        What happened, and the bundle.

    Raises:
        RecipeError: The bundle does not train, an option makes no sense, or there is an
            interrupted run and ``resume`` is not asked for.
        InputError: The data does not fit, or a file is missing or damaged.
        ToolError: The runtime failed.
        OutputError: The bundle cannot be written.
    """
    from intaglio.fitting.training.data import read_samples
    from intaglio.fitting.training.loop import Run
    from intaglio.fitting.training.run_folder import RunFolder
    from intaglio.fitting.training.settings import RunSettings

    settings = RunSettings(
        steps=steps,
        batch=batch,
        seed=seed,
        halve_every=halve_every,
        validate_every=validate_every,
        patience=patience,
        checkpoint_every=checkpoint_every,
    )
    source = bundle if isinstance(bundle, Bundle) else load(Path(bundle))
    require_training(source)
    folder = _beside(source.folder, "-adapted") if out is None else Path(out)
    check_output(folder)
    _keep_apart(source.folder, folder)
    if patience and validate is None:
        raise RecipeError("--patience needs validation data", remedy="give --validate")
    training = load_training(source)
    require_one_input(training)
    samples = read_samples(data, training, "training data")
    held_out = None if validate is None else read_samples(validate, training, "validation data")
    if len(samples) < batch:
        raise RecipeError(
            f"there are {len(samples)} samples, and a batch has {batch}",
            remedy=f"give --batch {len(samples)} or less",
        )
    if transcript is not None and not Path(transcript).parent.is_dir():
        raise OutputError(
            f"cannot write {transcript}: {Path(transcript).parent} is no folder",
            remedy="make it first, or give another --transcript",
        )
    if transcript is not None and Path(transcript).is_dir():
        raise OutputError(
            f"cannot write {transcript}: it is a folder", remedy="give a file as --transcript"
        )
    listen = progress or silent
    listen("open", 0, None)
    # Before anything is written: what cannot be opened leaves no folder behind.
    stepper = _open(source, target, runtime)
    try:
        place = RunFolder(_beside(folder, RUN_SUFFIX))
    except BaseException:
        stepper.close()
        raise
    try:
        try:
            _begin(place, settings, training, samples, held_out, resume)
            told = listener or _forward(listen)
            run = Run(stepper, training, samples, held_out, settings, place, told)
            outcome = run.run()
        finally:
            stepper.close()
        facts = _facts(outcome, training, settings, stepper)
        warnings = _warnings(training, facts, samples.clipped)
        if transcript is not None:
            Path(transcript).write_bytes(encode(outcome.transcript))
        if outcome.stopped == "interrupt":
            return TrainingReport(None, place.path, facts, tuple(warnings))
        # Without times: the same run writes the same bytes.
        notes = {k: v for k, v in facts.items() if k not in ("seconds", "step_seconds")}
        notes["warnings"] = warnings
        adapted = export_adapted(
            source,
            outcome.weights,
            folder,
            notes=notes,
            files={TRANSCRIPT_FILE: encode(outcome.transcript)},
            progress=listen,
        )
        path = place.path
        place.remove()
        return TrainingReport(adapted, path, facts, tuple(warnings))
    finally:
        place.close()


def replay(
    bundle: Bundle | str | Path,
    transcript: str | Path | bytes,
    out: str | Path,
    *,
    progress: Progress | None = None,
) -> Bundle:
    """Rebuilds adapted weights from a transcript: no data, no forward call, the same bits.

    Args:
        bundle: The bundle that the training began from, or its folder.
        transcript: The transcript, or its file.
        out: Folder to write the bundle of the adapted model to.
        progress: Listener.

    Raises:
        RecipeError: The bundle does not train.
        InputError: The transcript is damaged, or belongs to another bundle.
        OutputError: The bundle cannot be written.
    """
    from intaglio.transforms.forward_gradient.step import update

    source = bundle if isinstance(bundle, Bundle) else load(Path(bundle))
    require_training(source)
    check_output(Path(out))
    _keep_apart(source.folder, Path(out))
    training = load_training(source)
    found = _read_transcript(transcript)
    specification = training.specification
    initial = digest(specification, training.weights)
    if (found.specification, found.weights) != (specification_digest(specification), initial):
        raise InputError(
            "the transcript belongs to another bundle: its training step or its first weights are "
            "not those of this one",
            remedy="give the bundle that the run began from, converted with the same options",
        )
    if found.probes != specification.probes:
        raise InputError(
            f"the transcript has {found.probes} probes a step, the bundle {specification.probes}",
            remedy="the transcript is damaged: take another copy of it",
        )
    listen = progress or silent
    weights: Mapping[str, NDArray[Any]] = training.weights
    for step in range(found.steps):
        seed = specification.step_seed(found.first_seed, step)
        signs = tuple(int(sign) for sign in found.signs[step])
        weights = update(specification, weights, seed, signs, found.step_shift(step))
        listen("replay", step + 1, found.steps)
    if found.end and found.end != digest(specification, weights):
        raise InputError(
            "the transcript does not come to the weights that it says: it is damaged",
            remedy="take another copy of it",
        )
    notes = {"steps": found.steps, "replayed": True}
    files = {TRANSCRIPT_FILE: encode(found)}
    return export_adapted(source, weights, out, notes=notes, files=files, progress=listen)


def _keep_apart(source: Path, out: Path) -> None:
    """Refuses to write over the bundle that trains: without it no run is repeated or replayed."""
    if source.resolve() == out.resolve():
        raise RecipeError(
            f"{out} is the bundle that trains itself", remedy="give another folder as --out"
        )


def _beside(folder: Path, suffix: str) -> Path:
    resolved = folder.resolve()
    return resolved.with_name(resolved.name + suffix)


def _begin(
    place: Any, settings: Any, training: Any, samples: Any, held_out: Any, resume: bool
) -> None:
    """Starts a run in its folder, or makes sure that the one there is the one to go on with."""
    from intaglio.fitting.training.run_folder import fingerprint

    arrays = [samples.x, samples.targets]
    arrays += [] if held_out is None else [held_out.x, held_out.targets]
    told = {
        "settings": settings.to_dict(),
        "specification": specification_digest(training.specification),
        "weights": digest(training.specification, training.weights),
        "data": fingerprint(*arrays),
    }
    found = place.told()
    before = None if found is None else place.transcript()
    done = 0 if before is None else before.steps
    if found is None or (not done and not resume):
        place.begin(told)
        return
    if not resume:
        raise RecipeError(
            f"{place.path} holds an interrupted run",
            remedy=f"go on with --resume, or remove {place.path}",
        )
    if done > settings.steps:
        raise RecipeError(
            f"the interrupted run has made {done} steps, and --steps is {settings.steps}",
            remedy=f"give --steps {done} or more, or another --out",
        )
    if found != told:
        # More steps may be asked for: they change nothing that is done.
        before_that = found.get("settings")
        stated = before_that if isinstance(before_that, dict) else {}
        longer = {**found, "settings": {**stated, "steps": settings.steps}}
        if longer != told:
            changed = [key for key in told if found.get(key) != told[key]]
            raise RecipeError(
                f"the interrupted run was told otherwise: {', '.join(changed)}",
                remedy="give the same options, data and bundle, or another --out",
            )


def _open(bundle: Bundle, target: str | None, runtime: str | None) -> Stepper:
    there = {artifact.target for artifact in bundle.artifacts if artifact.role == TRAIN_STEP}
    if target is not None:
        return open_stepper(bundle, target, runtime)
    known = [name for name in _TARGETS if name in there]
    if runtime is not None:
        artifacts = [bundle.artifact(name, TRAIN_STEP) for name in known]
        here = [found.name for a in artifacts for found in bundle.opener(a).runtimes(a)]
        if runtime not in here:
            raise RecipeError(
                f"'{runtime}' does not run the training step of {bundle.folder} here",
                remedy=f"known here: {', '.join(here)}",
            )
    for name in known[:-1]:
        try:
            return open_stepper(bundle, name, runtime)
        except (ToolError, RecipeError):
            # No compiler here, or the runtime is one of the next target.
            continue
    return open_stepper(bundle, known[-1], runtime)


def _forward(progress: Progress) -> Listener:
    return lambda done, total, loss, accuracy: progress("train", done, total)


def _read_transcript(source: str | Path | bytes) -> Transcript:
    try:
        return decode(source if isinstance(source, bytes) else Path(source).read_bytes())
    except OSError as error:
        raise InputError(
            f"cannot read {error.filename}: {error.strerror or error}", remedy="give a transcript"
        ) from error
    except ValueError as error:
        raise InputError(str(error), remedy="give what train wrote as --transcript") from error


def _facts(
    outcome: RunOutcome, training: Training, settings: Any, stepper: Stepper
) -> dict[str, Any]:
    specification = training.specification
    signs = outcome.transcript.signs
    moved = sum(
        int((outcome.weights[p.name] != training.weights[p.name]).sum())
        for p in specification.parameters
    )
    at_limit = sum(
        int((np.abs(outcome.weights[p.name].astype(np.int64)) >= p.limit).sum())
        for p in specification.parameters
    )
    size = sum(p.size for p in specification.parameters)
    forwards = 2 * specification.seeds_per_step
    # A resumed run may have had no step left to do: then there is no time of one.
    done = outcome.steps_done - outcome.resumed_at
    return {
        "steps": outcome.transcript.steps,
        "steps_done": outcome.steps_done,
        "stopped": outcome.stopped,
        "settings": settings.to_dict(),
        "runtime": stepper.runtime,
        "forwards_per_step": forwards,
        "forwards": forwards * settings.batch * outcome.steps_done,
        "seconds": outcome.seconds,
        "step_seconds": outcome.seconds / done if done else None,
        "halvings": list(outcome.transcript.halvings),
        "ties": float((signs == 0).mean()) if signs.size else 0.0,
        "parameters": size,
        "moved": moved / max(1, size),
        "at_limit": at_limit / max(1, size),
        "smallest_step_lsb": min(
            _smallest_step(p, specification) for p in specification.parameters
        ),
        "digest": digest(specification, outcome.weights),
        "loss": _curve(outcome.losses),
        "validations": [dataclasses.asdict(point) for point in outcome.validations],
    }


def _smallest_step(parameter: Any, specification: Any) -> float:
    """The smallest move, in steps of the grid, of a weight that one probe's sign moves."""
    return float(parameter.step * smallest_gradient(specification.law))


def _curve(losses: NDArray[np.float32]) -> list[list[float]]:
    """Step and mean loss of equal stretches of the run."""
    width = max(1, math.ceil(len(losses) / _CURVE))
    found = []
    for start in range(0, len(losses), width):
        part = losses[start : start + width]
        part = part[np.isfinite(part)]
        if len(part):
            found.append([start + len(part), round(float(part.mean()), 6)])
    return found


def _warnings(training: Training, facts: Mapping[str, Any], clipped: float) -> list[str]:
    specification = training.specification
    found = []
    for p in specification.parameters:
        if p.epsilon == 0:
            found.append(f"the probes do not move '{p.name}': epsilon is below half an LSB")
        elif specification.rounding.value == "nearest" and _smallest_step(p, specification) < 0.5:
            found.append(
                f"a step moves '{p.name}' by {_smallest_step(p, specification):.2g} LSB, which "
                "rounds to nothing: raise train.plan_step.learning_rate, or round stochastically"
            )
    if facts["steps"] and not facts["moved"]:
        found.append("no weight has moved: raise epsilon or the learning rate")
    if facts["steps_done"] and not facts["steps"]:
        found.append(
            "no validation was better than that of the weights the run began with, and these are "
            "kept: take more steps, or lower train.plan_step.learning_rate"
        )
    if facts["ties"] > _MANY_TIES:
        found.append(
            f"{100 * facts['ties']:.0f} % of the probes found no difference: raise "
            "train.plan_step.epsilon, or take larger batches"
        )
    if facts["at_limit"] > _MANY_AT_LIMIT:
        found.append(
            f"{100 * facts['at_limit']:.1f} % of the weights stand at the end of their range: "
            "raise train.select_layers.headroom, or lower the learning rate"
        )
    if clipped > _MANY_CLIPPED:
        found.append(
            f"{100 * clipped:.1f} % of the input values lie outside the calibrated range: "
            "calibrate on data like this"
        )
    return found
