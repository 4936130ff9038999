"""The loop over the steps of a training run."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.fitting.listener import Listener
from intaglio.fitting.training.data import Samples
from intaglio.fitting.training.journal import Journal
from intaglio.fitting.training.order import Order
from intaglio.fitting.training.run_folder import TRANSCRIPT, RunFolder, new_transcript
from intaglio.fitting.training.settings import RunSettings
from intaglio.fitting.training.validation import Validation, validate
from intaglio.targets.training import Stepper
from intaglio.targets.training_files import Training
from intaglio.transforms.forward_gradient.specification import LARGEST_SHIFT
from intaglio.transforms.forward_gradient.step import StepResult, digest
from intaglio.transforms.forward_gradient.transcript import Transcript


@dataclasses.dataclass(frozen=True, eq=False)
class RunOutcome:
    """What a run came to.

    Attributes:
        transcript: All steps up to the weights that are kept.
        weights: Those weights: the best by validation, else the last.
        steps_done: Steps of the run, those after the best included.
        losses: float32, one a step, mean of both probes over the samples, in real units.
        validations: In order; the first is of the weights before the run.
        seconds: Wall time of the steps of this call, not of what was done before a resume.
        resumed_at: Step that this call began with.
        stopped: Why the run ended: ``steps``, ``patience`` or ``interrupt``.
    """

    transcript: Transcript
    weights: dict[str, NDArray[Any]]
    steps_done: int
    losses: NDArray[np.float32]
    validations: tuple[Validation, ...]
    seconds: float
    resumed_at: int
    stopped: str


class Run:
    """One training run in a folder.

    Args:
        stepper: The training step; its weights are changed.
        training: What the bundle says of it.
        samples: What to train on.
        validation: What to validate on, or None.
        settings: How long.
        folder: Where it keeps what it needs to go on after a kill.
        listener: Told after every step.
    """

    def __init__(
        self,
        stepper: Stepper,
        training: Training,
        samples: Samples,
        validation: Samples | None,
        settings: RunSettings,
        folder: RunFolder,
        listener: Listener,
    ) -> None:
        self._stepper = stepper
        self._training = training
        self._samples = samples
        self._validation = validation
        self._settings = settings
        self._folder = folder
        self._listener = listener
        self._order = Order(len(samples), settings.batch, settings.seed)
        self._unit = _loss_unit(training, settings.batch)

    def run(self) -> RunOutcome:
        """Trains to the end, from where the folder's run stands; an interrupt ends it early."""
        transcript = self._restore()
        begun = transcript.steps
        halvings, signs = list(transcript.halvings), list(transcript.signs)
        losses = list(self._folder.losses(begun))
        points = self._points(begun)
        journal = Journal(self._folder.path / TRANSCRIPT, transcript)
        log = self._folder.open_losses(np.array(losses, np.float32))
        step, stopped, start = begun, "steps", time.perf_counter()
        try:
            while step < self._settings.steps:
                if self._out_of_patience(points):
                    stopped = "patience"
                    break
                if self._halves(step, halvings):
                    journal.halve(step)
                    halvings.append(step)
                result = self._step(step, len(halvings))
                journal.add(result.signs)
                signs.append(np.array(result.signs, np.int8))
                losses.append(np.float32(self._unit * _mean(result)))
                log.write(losses[-1].astype("<f4").tobytes())
                step += 1
                self._after(step, journal, points)
                accuracy = points[-1].accuracy if points else None
                self._listener(step, self._settings.steps, float(losses[-1]), accuracy)
        except KeyboardInterrupt:
            # The step that was under way may or may not be in the weights: the signs decide.
            stopped = "interrupt"
        finally:
            seconds = time.perf_counter() - start
            journal.sync()
            journal.close()
            log.close()
        stacked = np.array(signs, np.int8).reshape(len(signs), transcript.probes)
        whole = dataclasses.replace(transcript, halvings=tuple(halvings), signs=stacked)
        if stopped == "interrupt":
            return self._outcome(whole, whole.steps, losses, points, seconds, begun, stopped)
        best = self._best(points)
        kept = whole.steps if best is None else best.step
        return self._outcome(whole, kept, losses, points, seconds, begun, stopped)

    def _restore(self) -> Transcript:
        """Brings the weights to where the folder's run stands."""
        seed = self._settings.seed & 0xFFFFFFFF
        found = self._folder.transcript()
        initial = digest(self._training.specification, self._training.weights)
        transcript = found or new_transcript(self._training, initial, seed)
        self._replay(transcript, transcript.steps)
        return transcript

    def _replay(self, transcript: Transcript, steps: int) -> None:
        """Brings the weights to where they were after ``steps`` steps."""
        step, weights = self._folder.saved(self._training, steps)
        self._stepper.set_weights(weights)
        replay(self._stepper, transcript, step, steps)

    def _points(self, steps: int) -> list[Validation]:
        if self._validation is None:
            return []
        found = [Validation(**point) for point in self._folder.validations()]
        points = [point for point in found if point.step <= steps]
        # A validation that a kill cut off is done now; so is the one before the first step.
        due = steps % self._settings.validate_every == 0 or steps == self._settings.steps
        if due and (not points or points[-1].step < steps):
            points.append(self._validate(steps))
            self._save(points)
        return points

    def _validate(self, step: int) -> Validation:
        assert self._validation is not None
        return validate(self._stepper, self._training, self._validation, step)

    def _save(self, points: list[Validation]) -> None:
        self._folder.save_validations([dataclasses.asdict(point) for point in points])

    def _halves(self, step: int, halvings: list[int]) -> bool:
        every = self._settings.halve_every
        due = bool(every) and step > 0 and step % every == 0
        return due and step not in halvings and len(halvings) < LARGEST_SHIFT

    def _step(self, step: int, halvings: int) -> StepResult:
        chosen = self._order.batch(step)
        seed = self._training.specification.step_seed(self._settings.seed, step)
        x, targets = self._samples.x[chosen], self._samples.targets[chosen]
        return self._stepper.step(x, targets, seed, halvings)

    def _after(self, step: int, journal: Journal, points: list[Validation]) -> None:
        """What is done now and then, behind a step that is in the journal already."""
        settings = self._settings
        if step % settings.checkpoint_every == 0:
            journal.sync()
            self._folder.save(self._training, self._stepper.weights(), step)
        last = step == settings.steps
        if self._validation is not None and (step % settings.validate_every == 0 or last):
            points.append(self._validate(step))
            self._save(points)

    def _out_of_patience(self, points: list[Validation]) -> bool:
        best = self._best(points)
        if not self._settings.patience or best is None:
            return False
        return len(points) - 1 - points.index(best) >= self._settings.patience

    @staticmethod
    def _best(points: list[Validation]) -> Validation | None:
        best: Validation | None = None
        for point in points:
            if best is None or point.better_than(best):
                best = point
        return best

    def _outcome(
        self,
        transcript: Transcript,
        kept: int,
        losses: list[np.float32],
        points: list[Validation],
        seconds: float,
        begun: int,
        stopped: str,
    ) -> RunOutcome:
        self._replay(transcript, kept)
        weights = self._stepper.weights()
        end = digest(self._training.specification, weights)
        return RunOutcome(
            transcript=dataclasses.replace(transcript.first(kept), end=end),
            weights=weights,
            steps_done=transcript.steps,
            losses=np.array(losses, np.float32),
            validations=tuple(points),
            seconds=seconds,
            resumed_at=begun,
            stopped=stopped,
        )


def replay(stepper: Stepper, transcript: Transcript, start: int, stop: int) -> None:
    """Runs the updates of a transcript's steps from ``start`` to ``stop``."""
    specification = stepper.specification
    for step in range(start, stop):
        seed = specification.step_seed(transcript.first_seed, step)
        signs = tuple(int(sign) for sign in transcript.signs[step])
        stepper.replay(seed, signs, transcript.step_shift(step))


def _mean(result: StepResult) -> float:
    both = [*result.loss_plus, *result.loss_minus]
    return sum(both) / len(both)


def _loss_unit(training: Training, batch: int) -> float:
    """Real value of one step of a loss, for each sample."""
    specification = training.specification
    if specification.loss == "cross-entropy":
        return math.log(2) * 2.0**-specification.loss_bits / batch
    elements = math.prod(int(size) for size in training.target.shape[1:])
    return specification.logit_scale * specification.logit_scale / batch / max(1, elements)
