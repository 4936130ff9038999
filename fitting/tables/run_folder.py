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
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from intaglio.fitting import run_folder
from intaglio.fitting.run_folder import Log

SETTINGS, JOURNAL, CHECKPOINT = "settings.json", "journal.jsonl", "checkpoint.pt"
MODEL, FACTS, REPORT = "model.onnx", "fit.json", "report.html"


class RunFolder(run_folder.RunFolder):
    """An open folder of a fitting run; only one process has it open.

    Args:
        path: The folder; made where it is missing.

    Raises:
        RecipeError: Another process fits in it, or it holds what no run left there.
        OutputError: It cannot be made.
    """

    ours: ClassVar[re.Pattern[str]] = re.compile(
        r"(settings\.json|journal\.jsonl|checkpoint\.pt|model\.onnx|fit\.json|report\.html)(\.new)?"
    )
    does, do, told_in = "fits", "fit", SETTINGS

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self.require_own()
        except BaseException:
            self.close()
            raise

    def facts(self) -> dict[str, Any] | None:
        """What the finished run came to, or None before its end.

        Raises:
            InputError: It is damaged.
        """
        return self.read_json(FACTS)

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
            raise self.damaged(path, error) from error
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

    def open_journal(self, lines: list[dict[str, Any]]) -> Log:
        """A file to append lines to, which holds these."""
        return self.append_to(JOURNAL, b"".join(encode_line(line) for line in lines))

    def finish(self) -> None:
        """Removes what only going on needed, and lets go of the folder."""
        (self.path / CHECKPOINT).unlink(missing_ok=True)
        self.close()


def encode_line(line: Mapping[str, Any]) -> bytes:
    """A line of the journal."""
    return json.dumps(line, sort_keys=True, allow_nan=False).encode() + b"\n"
