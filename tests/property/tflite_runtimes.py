"""Both TFLite runtimes in child processes: files that crash them do not end the tests."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

WORKER = Path(__file__).with_name("tflite_worker.py")


def has_micro() -> bool:
    """Whether TFLite Micro is installed."""
    return importlib.util.find_spec("tflite_micro") is not None


class RuntimeFailureError(Exception):
    """The runtime refused the file, or died of it; the text is its own."""


class Runtimes:
    """A child process that is started again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Any = None

    def run(
        self, runtime: str, model: bytes, runs: list[list[np.ndarray]]
    ) -> list[list[np.ndarray]]:
        """Outputs of each run.

        Raises:
            RuntimeFailureError: With what the runtime printed.
        """
        process = self._process
        if process is None or process.poll() is not None:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115
            process = self._process = subprocess.Popen(
                [sys.executable, str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        self._log.seek(0)
        self._log.truncate()
        try:
            pickle.dump((runtime, model, runs), process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError):
            process.wait()
            raise RuntimeFailureError(f"died ({process.returncode}): {self._printed()}") from None
        if isinstance(answer, str):
            raise RuntimeFailureError(f"{answer} {self._printed()}")
        return answer

    def _printed(self) -> str:
        self._log.seek(0)
        text = self._log.read().decode(errors="replace").strip()
        return text[-600:]

    def close(self) -> None:
        """Ends the child process."""
        if self._process is not None and self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(timeout=10)
