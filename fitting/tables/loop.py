"""The loop over the steps of a fitting run.

A step's crops depend on the seed and its number alone, and a checkpoint holds all else that a step
reads, so a run that was killed comes to the same bits as one that was not. (With the same number
of threads on the same machine: the order of floating-point sums is part of a run. The network that
comes out has integers only, and is the same everywhere.)
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intaglio.errors import RecipeError
from intaglio.fitting.image_pairs import Batch, CropSampler
from intaglio.fitting.listener import Listener
from intaglio.fitting.tables.adam import Adam
from intaglio.fitting.tables.averaging import Average
from intaglio.fitting.tables.run_folder import RunFolder, encode_line
from intaglio.fitting.tables.schedule import Schedule
from intaglio.fitting.tables.settings import FitSettings
from intaglio.fitting.tables.teacher import Teacher
from intaglio.fitting.tables.validation import ValidationSet

#: Lines of the journal, about, besides those of validations.
_LINES = 200
_PIXEL = 255.0


@dataclasses.dataclass(frozen=True)
class FitOutcome:
    """What the loop came to; the module has the averaged weights.

    Attributes:
        steps: Steps done.
        journal: Lines of the journal: step, loss, rate, seconds, and PSNR where it was validated.
        seconds: Of all steps and validations, those before a resume included.
        resumed_at: Step that this call began with.
        interrupted: Whether Ctrl-C ended it before its last step.
    """

    steps: int
    journal: list[dict[str, Any]]
    seconds: float
    resumed_at: int
    interrupted: bool


class Fitting:
    """A fitting run.

    Args:
        module: The network; its weights are changed.
        settings: How it learns.
        sampler: Crops to learn from.
        validation: Pictures to validate on; may be empty.
        teacher: What to imitate, or None.
        folder: Where it keeps what it needs to go on after a kill.
        listener: Told after every step.
    """

    def __init__(
        self,
        module: nn.Module,
        settings: FitSettings,
        sampler: CropSampler,
        validation: ValidationSet,
        teacher: Teacher | None,
        folder: RunFolder,
        listener: Listener,
    ) -> None:
        self._module: Any = module
        self._settings = settings
        self._recipe = settings.recipe
        self._sampler = sampler
        self._validation = validation
        self._teacher = teacher
        self._folder = folder
        self._listener = listener
        self._schedule = Schedule(settings.recipe, settings.steps)
        self._optimizer = make_optimizer(module, settings)
        self._average = Average(module, settings.recipe.average)
        self._loss_sum, self._loss_count, self._seconds = 0.0, 0, 0.0

    def run(self) -> FitOutcome:
        """Learns to the end, from where the folder's run stands."""
        begun = step = self._restore()
        lines = self._folder.journal(step)
        psnr = next((line["psnr"] for line in reversed(lines) if line.get("psnr")), None)
        journal = self._folder.open_journal(lines)
        before, start = self._seconds, time.perf_counter()
        try:
            with _heard() as interrupted:
                while step < self._settings.steps and not interrupted.is_set():
                    loss = self._step(step)
                    step += 1
                    self._seconds = before + time.perf_counter() - start
                    line = self._line(step)
                    if line is not None:
                        psnr = line.get("psnr", psnr)
                        lines.append(line)
                        journal.write(encode_line(line))
                    if step % self._recipe.checkpoint_every == 0:
                        self._save(step)
                    self._listener(step, self._settings.steps, loss, psnr)
                # The end is saved, too: a kill while the network is written costs no step.
                if step > begun:
                    self._save(step)
        finally:
            journal.close()
        done = step == self._settings.steps
        self._take_average()
        return FitOutcome(step, lines, self._seconds, begun, not done)

    def _take_average(self) -> None:
        with torch.no_grad():
            for parameter, value in zip(
                self._module.parameters(), self._average.values, strict=True
            ):
                parameter.copy_(value)
            self._module.project()

    def _step(self, step: int) -> float:
        batch = self._sampler.batch(step, self._schedule.batch(step))
        wanted = targets_of(batch, self._teacher, self._recipe.teacher_share, self._recipe.margin)
        share = self._schedule.rate(step) / self._recipe.rate
        margin = self._recipe.margin
        loss = train_step(self._module, self._optimizer, batch.inputs, wanted, margin, share)
        self._average.update(step + 1)
        self._loss_sum += loss
        self._loss_count += 1
        return loss

    def _line(self, step: int) -> dict[str, Any] | None:
        """The journal's line behind a step, where one is due."""
        validate = len(self._validation) and self._due(step, self._recipe.validations)
        if not validate and not self._due(step, _LINES):
            return None
        line: dict[str, Any] = {
            "step": step,
            "loss": round(self._loss_sum / max(1, self._loss_count), 6),
            "crops": self._schedule.crops(step),
            "rate": round(self._schedule.rate(step - 1), 9),
            "seconds": round(self._seconds, 3),
        }
        # A weight that is no number need not reach the loss: integers are made of it on the way.
        weights = self._module.parameters()
        if not np.isfinite(line["loss"]) or not all(bool(w.isfinite().all()) for w in weights):
            raise RecipeError(
                f"the loss or a weight is no number any more at step {step}",
                remedy="begin again in another --out with a lower rate: --set rate=0.1",
            )
        self._loss_sum, self._loss_count = 0.0, 0
        if validate:
            line["psnr"] = round(self.validate(), 4)
        return line

    def _due(self, step: int, times: int) -> bool:
        """Whether something that is done so many times, the last time at the end, is due."""
        steps = self._settings.steps
        return step * times // steps > (step - 1) * times // steps

    def validate(self) -> float:
        """Mean PSNR of the averaged weights."""
        with self._average.applied():
            self._module.project()
            return self._validation.score(lambda planes: restore(self._module, planes))

    def _save(self, step: int) -> None:
        self._folder.save(
            {
                "step": step,
                "module": self._module.state_dict(),
                "optimizer": self._optimizer.state(),
                "average": self._average.values,
                "loss_sum": self._loss_sum,
                "loss_count": self._loss_count,
                "seconds": self._seconds,
            }
        )

    def _restore(self) -> int:
        state = self._folder.saved()
        if state is None:
            return 0
        self._module.load_state_dict(state["module"])
        self._optimizer.restore(state["optimizer"])
        self._average.restore(state["average"])
        self._loss_sum, self._loss_count = state["loss_sum"], state["loss_count"]
        self._seconds = state["seconds"]
        return int(state["step"])


def make_optimizer(module: Any, settings: FitSettings) -> Adam:
    """Adam over a network's parameters, tables, taps and stem with rates of their own."""
    recipe = settings.recipe
    return Adam(module.parameter_groups(recipe.rate, recipe.tap_rate, recipe.stem_rate))


def train_step(
    module: Any,
    optimizer: Adam,
    inputs: NDArray[np.uint8],
    wanted: Tensor,
    margin: int,
    share: float,
) -> float:
    """One step down the mean squared error.

    Args:
        module: The network.
        optimizer: Of its parameters.
        inputs: uint8 [B, n, n].
        wanted: float32 [B, side^2, cells, cells], the inner cells.
        margin: Cells of the result around them that do not count.
        share: What the step takes of the learning rates.

    Returns:
        The error in squared steps of a pixel.
    """
    out = module.planes(torch.from_numpy(inputs))
    inner = slice(margin, margin + wanted.shape[2])
    # The last clamp to pixels is left out: it would take the gradient of saturated ones.
    difference = (out[:, :, inner, inner] - wanted) / _PIXEL
    loss = (difference * difference).mean()
    optimizer.clear()
    loss.backward()
    optimizer.step(share)
    module.project()
    return float(loss.detach()) * _PIXEL * _PIXEL


def targets_of(batch: Batch, teacher: Teacher | None, share: float, margin: int) -> Tensor:
    """What a batch's result shall be: the truth, mixed with what a teacher makes of the input.

    The squared errors to both, weighted, differ from that to the mixture by a constant only.

    Returns:
        float32 [B, side^2, cells, cells].
    """
    truth = torch.from_numpy(batch.targets).permute(0, 3, 1, 2).float()
    if teacher is None or not share:
        return truth
    shown = torch.from_numpy(teacher.cells(batch.inputs, margin))
    return truth + share * (shown - truth)


@torch.no_grad()
def restore(module: Any, planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a module makes of planes: uint8 [P, H, W] to uint8 [P, H', W']."""
    result: NDArray[np.uint8] = module.image(torch.from_numpy(planes)).numpy()
    return result


@contextlib.contextmanager
def _heard() -> Iterator[threading.Event]:
    """Within it Ctrl-C sets the event, so that the step under way is finished; twice raises."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def listen(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    earlier = signal.signal(signal.SIGINT, listen)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, earlier)
