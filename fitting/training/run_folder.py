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
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError, RecipeError
from intaglio.fitting.training.journal import Journal
from intaglio.targets.training_files import Training, weights_bytes, weights_from_bytes
from intaglio.transforms.forward_gradient.step import Weights
from intaglio.transforms.forward_gradient.transcript import Transcript, specification_digest

TRANSCRIPT = "transcript.bin"
_RUN, _LOSSES, _VALIDATION, _LOCK = "run.json", "losses.bin", "validation.json", "lock"
_WEIGHTS = "weights-{step:09d}.bin"
_KEPT = 2

# Files that a run leaves, also those it was writing when it was killed.
_OURS = re.compile(
    r"(run\.json|transcript\.bin|losses\.bin|validation\.json|weights-\d+\.bin)(\.new)?"
    r"|transcript\.new"
)


def fingerprint(*arrays: NDArray[Any]) -> str:
    """SHA-256 of arrays: whether a run goes on with the data it began with."""
    state = hashlib.sha256()
    for array in arrays:
        state.update(f"{array.dtype}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


class RunFolder:
    """An open folder of a run; only one process has it open.

    Args:
        path: The folder; made where it is missing.

    Raises:
        RecipeError: Another process trains in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._lock = (path / _LOCK).open("a")
        try:
            _lock(self._lock.fileno())
        except OSError as error:
            self._lock.close()
            raise RecipeError(
                f"another process trains in {path}", remedy="wait for it, or give another --out"
            ) from error

    def started(self) -> dict[str, Any] | None:
        """What the run in this folder was told, or None where there is none.

        Raises:
            InputError: It is damaged.
        """
        path = self.path / _RUN
        if not path.is_file():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._damaged(path, error) from error
        if not isinstance(data, dict):
            raise self._damaged(path, "it holds no object")
        return data

    def begin(self, told: Mapping[str, Any]) -> None:
        """Notes what a new run is told; what an earlier one left is removed.

        Raises:
            RecipeError: The folder holds what no run left there.
        """
        left = [entry for entry in sorted(self.path.iterdir()) if entry.name != _LOCK]
        for entry in left:
            if not entry.is_file() or not _OURS.fullmatch(entry.name):
                raise RecipeError(
                    f"{self.path} is for the training run, and holds {entry.name}",
                    remedy="move that away, or give another --out",
                )
        for entry in left:
            entry.unlink()
        self._write(_RUN, (json.dumps(told, indent=1, sort_keys=True) + "\n").encode())

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
            raise self._damaged(path, error) from error

    def save(self, training: Training, weights: Weights, step: int) -> None:
        """Saves all weights as they are after ``step`` steps; the oldest are removed."""
        self._write(_WEIGHTS.format(step=step), weights_bytes(training.specification, weights))
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
        self._write(_VALIDATION, (json.dumps(points) + "\n").encode())

    def losses(self, steps: int) -> NDArray[np.float32]:
        """The losses of the first ``steps`` steps; NaN where a kill came in between."""
        path = self.path / _LOSSES
        found = np.full(steps, np.nan, np.float32)
        if path.is_file():
            data = path.read_bytes()
            kept = np.frombuffer(data[: len(data) // 4 * 4], "<f4")[:steps]
            found[: len(kept)] = kept
        return found

    def open_losses(self, losses: NDArray[np.float32]) -> Any:
        """A file to append losses to, which holds these."""
        self._write(_LOSSES, losses.astype("<f4").tobytes())
        return (self.path / _LOSSES).open("ab", buffering=0)

    def remove(self) -> None:
        """Removes the folder: the run is over."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        """Lets another process have it."""
        self._lock.close()

    def _write(self, name: str, data: bytes) -> None:
        """Writes a file: the old one or the new one is there at any moment."""
        new = self.path / f"{name}.new"
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path / name)

    def _damaged(self, path: Path, reason: object) -> InputError:
        return InputError(
            f"{path} is damaged: {reason}",
            remedy=f"remove {self.path} and train from the beginning",
        )


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


def _lock(descriptor: int) -> None:
    """Takes the lock of a file, which the system frees when the process ends, however it does."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
