"""The folder of a training run: everything that going on after a kill needs.

It holds ``run.json`` (what the run was told), ``transcript.bin`` (written after every step),
``losses.bin`` (float32, one a step), ``validation.json``, and now and then all weights
(``weights-<step>.bin``). Weights between two of those come back by replaying the transcript, which
takes no data and no forward call.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError
from intaglio.fitting import run_folder
from intaglio.fitting.run_folder import Log
from intaglio.fitting.training.journal import Journal
from intaglio.targets.training_files import Training, weights_bytes, weights_from_bytes
from intaglio.transforms.forward_gradient.step import Weights
from intaglio.transforms.forward_gradient.transcript import Transcript, specification_digest

TRANSCRIPT = "transcript.bin"
_RUN, _LOSSES, _VALIDATION = "run.json", "losses.bin", "validation.json"
_WEIGHTS = "weights-{step:09d}.bin"
_KEPT = 2


def fingerprint(*arrays: NDArray[Any]) -> str:
    """SHA-256 of arrays: whether a run goes on with the data it began with."""
    state = hashlib.sha256()
    for array in arrays:
        state.update(f"{array.dtype}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


class RunFolder(run_folder.RunFolder):
    """An open folder of a training run; only one process has it open.

    Args:
        path: The folder; made where it is missing.

    Raises:
        RecipeError: Another process trains in it.
        OutputError: It cannot be made.
    """

    ours: ClassVar[re.Pattern[str]] = re.compile(
        r"(run\.json|transcript\.bin|losses\.bin|validation\.json|weights-\d+\.bin)(\.new)?"
        r"|transcript\.new"
    )
    does, do, told_in = "trains", "train", _RUN

    def transcript(self) -> Transcript | None:
        """The steps so far, None before the first.

        Raises:
            InputError: They are damaged.
        """
        path = self.path / TRANSCRIPT
        if not path.is_file():
            return None
        try:
            return Journal.read(path)
        except (OSError, ValueError) as error:
            raise self.damaged(path, error) from error

    def save(self, training: Training, weights: Weights, step: int) -> None:
        """Saves all weights as they are after ``step`` steps; the oldest are removed."""
        self.write(_WEIGHTS.format(step=step), weights_bytes(training.specification, weights))
        for old in sorted(self.path.glob("weights-*.bin"))[:-_KEPT]:
            old.unlink()

    def saved(self, training: Training, steps: int) -> tuple[int, dict[str, NDArray[Any]]]:
        """The newest weights that are whole, not after ``steps`` steps: how many, and they."""
        for path in sorted(self.path.glob("weights-*.bin"), reverse=True):
            step = int(path.stem.partition("-")[2])
            with contextlib.suppress(OSError, InputError):
                if step <= steps:
                    return step, weights_from_bytes(training.specification, path.read_bytes())
        return 0, training.weights

    def validations(self) -> list[dict[str, Any]]:
        """What validations found so far, as :meth:`save_validations` was given them."""
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((self.path / _VALIDATION).read_text(encoding="utf-8"))
            if isinstance(found, list):
                return found
        return []

    def save_validations(self, points: list[dict[str, Any]]) -> None:
        """Saves what validations found."""
        self.write(_VALIDATION, (json.dumps(points) + "\n").encode())

    def losses(self, steps: int) -> NDArray[np.float32]:
        """The losses of the first ``steps`` steps; NaN where a kill came in between."""
        path = self.path / _LOSSES
        found = np.full(steps, np.nan, np.float32)
        if path.is_file():
            data = path.read_bytes()
            kept = np.frombuffer(data[: len(data) // 4 * 4], "<f4")[:steps]
            found[: len(kept)] = kept
        return found

    def open_losses(self, losses: NDArray[np.float32]) -> Log:
        """A file to append losses to, which holds these."""
        return self.append_to(_LOSSES, losses.astype("<f4").tobytes())

    def remove(self) -> None:
        """Removes the folder: the run is over."""
        for entry in self._entries():
            entry.unlink(missing_ok=True)
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)


def new_transcript(training: Training, digest: str, seed: int) -> Transcript:
    """A transcript without steps.

    Args:
        training: The bundle's training step.
        digest: Of the weights that the run begins with.
        seed: Seed of the first step.
    """
    specification = training.specification
    probes = specification.probes
    empty = np.zeros((0, probes), np.int8)
    return Transcript(specification_digest(specification), digest, seed, probes, (), empty)
