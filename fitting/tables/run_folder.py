"""The folder of a fitting run: everything that going on after a kill needs, and the result.

``settings.json`` says what the run was told, ``journal.jsonl`` what happened, a line now and then;
``checkpoint.pt`` holds weights, averages and the optimizer's state. A file is replaced as a whole,
so that a kill leaves the old one or the new one. ``model.onnx``, ``fit.json`` and ``report.html``
come at the end, and the checkpoint goes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intaglio.errors import InputError, RecipeError

SETTINGS, JOURNAL, CHECKPOINT = "settings.json", "journal.jsonl", "checkpoint.pt"
MODEL, FACTS, REPORT = "model.onnx", "fit.json", "report.html"
_LOCK = "lock"
_OURS = re.compile(
    r"(settings\.json|journal\.jsonl|checkpoint\.pt|model\.onnx|fit\.json|report\.html)(\.new)?"
)


class RunFolder:
    """An open folder of a run; only one process has it open.

    Args:
        path: The folder; made where it is missing.

    Raises:
        RecipeError: Another process fits in it, or it holds what no run left there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        for entry in sorted(path.iterdir()):
            if entry.name != _LOCK and not (entry.is_file() and _OURS.fullmatch(entry.name)):
                raise RecipeError(
                    f"{path} is for the run, and holds {entry.name}",
                    remedy="move that away, or give another --out",
                )
        self._lock = (path / _LOCK).open("a")
        try:
            _lock(self._lock.fileno())
        except OSError as error:
            self._lock.close()
            raise RecipeError(
                f"another process fits in {path}", remedy="wait for it, or give another --out"
            ) from error

    def told(self) -> dict[str, Any] | None:
        """What the run in this folder was told, or None where there is none.

        Raises:
            InputError: It is damaged.
        """
        return self._read_json(SETTINGS)

    def facts(self) -> dict[str, Any] | None:
        """What the finished run came to, or None before its end.

        Raises:
            InputError: It is damaged.
        """
        return self._read_json(FACTS)

    def begin(self, told: Mapping[str, Any]) -> None:
        """Notes what a new run is told."""
        for entry in self.path.iterdir():
            if entry.name != _LOCK:
                entry.unlink()
        self.write_json(SETTINGS, told)

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        """Writes data as a whole."""
        text = json.dumps(data, indent=1, sort_keys=True, allow_nan=False)
        self.write(name, f"{text}\n".encode())

    def write(self, name: str, data: bytes) -> None:
        """Writes a file: the old one or the new one is there at any moment."""
        new = self.path / f"{name}.new"
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path / name)

    def save(self, state: Mapping[str, Any]) -> None:
        """Saves a checkpoint: tensors and numbers."""
        import torch

        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        self.write(CHECKPOINT, buffer.getvalue())

    def saved(self) -> dict[str, Any] | None:
        """The checkpoint, or None before the first.

        Raises:
            InputError: It is damaged.
        """
        import torch

        path = self.path / CHECKPOINT
        if not path.is_file():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict) or "step" not in state:
                raise ValueError("it holds no run")
        except Exception as error:  # whatever the reader of a damaged file stumbles over
            raise self._damaged(path, error) from error
        return state

    def journal(self, steps: int) -> list[dict[str, Any]]:
        """The journal's lines of the first ``steps`` steps; a line that a kill tore is dropped."""
        path = self.path / JOURNAL
        found = []
        if path.is_file():
            for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    line = json.loads(text)
                    if isinstance(line, dict) and isinstance(line.get("step"), int):
                        found.append(line)
        return [line for line in found if line["step"] <= steps]

    def open_journal(self, lines: list[dict[str, Any]]) -> Any:
        """A file to append lines to, which holds these."""
        self.write(JOURNAL, b"".join(encode_line(line) for line in lines))
        return (self.path / JOURNAL).open("ab", buffering=0)

    def discard(self) -> None:
        """Takes the folder away again, where nothing is in it and it was not there before."""
        self.close()
        (self.path / _LOCK).unlink(missing_ok=True)
        if self._made:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def finish(self) -> None:
        """Removes what only going on needed, and lets go of the folder."""
        (self.path / CHECKPOINT).unlink(missing_ok=True)
        (self.path / _LOCK).unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Lets another process have it."""
        self._lock.close()

    def _read_json(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        if not path.is_file():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._damaged(path, error) from error
        if not isinstance(data, dict):
            raise self._damaged(path, "it holds no object")
        return data

    def _damaged(self, path: Path, reason: object) -> InputError:
        return InputError(
            f"{path} is damaged: {reason}",
            remedy=f"remove {self.path} and fit from the beginning",
        )


def encode_line(line: Mapping[str, Any]) -> bytes:
    """A line of the journal."""
    return json.dumps(line, sort_keys=True, allow_nan=False).encode() + b"\n"


def _lock(descriptor: int) -> None:
    """Takes the lock of a file, which the system frees when the process ends, however it does."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
