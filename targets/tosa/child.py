"""The child process that runs the TOSA reference model, inside an environment of its own.

Nothing of intaglio can be imported here: only the standard library, numpy, the reference model,
and the module of message frames, whose path is the only argument. One request, one reply, over
stdin and stdout, until stdin ends. Requests (key ``do``) and what comes back, beside
``{"ok": true}``:

* ``hello``: ``version`` of tosa-tools
* ``load``: the bytes of a file, as one array; kept for the runs
* ``run``: ``seconds`` that it may take, and the inputs, each with a leading sample axis; the
  outputs, stacked likewise

A failure is ``{"ok": false, "kind": ..., "message": ...}`` with kind ``missing`` (the reference
model cannot be imported), ``refused`` (it refuses the file) or ``failed``. The reference model
ends the process on some errors of a graph; that is for the parent to see.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

_MODEL = "tosa_reference_model"

# The level whose limits a file must keep.
_LEVEL = "EIGHTK"

Reply = tuple[Mapping[str, Any], Sequence[Any]]


class Runner:
    """Answers requests; holds the file."""

    def __init__(self) -> None:
        self._data = b""

    def answer(self, request: Mapping[str, Any], arrays: Sequence[Any]) -> Reply:
        """The reply to one request: its header and its arrays."""
        handlers = {"hello": self._hello, "load": self._load, "run": self._run}
        try:
            header, results = handlers[request["do"]](request, arrays)
        except ImportError as error:
            return _failure("missing", error), ()
        except ValueError as error:
            # Inputs were checked before: what the reference model raises is about the file.
            return _failure("refused", error), ()
        except Exception as error:
            return _failure("failed", error), ()
        return {**header, "ok": True}, results

    def _hello(self, _request: Mapping[str, Any], _arrays: Sequence[Any]) -> Reply:
        importlib.import_module(_MODEL)  # It is loaded now, and not timed with a run.
        return {"version": importlib.metadata.version("tosa-tools")}, ()

    def _load(self, _request: Mapping[str, Any], arrays: Sequence[Any]) -> Reply:
        self._data = arrays[0].tobytes()
        return {}, ()

    def _run(self, request: Mapping[str, Any], arrays: Sequence[Any]) -> Reply:
        import numpy as np

        model = importlib.import_module(_MODEL)
        _end_after(request["seconds"])
        rows = []
        for sample in range(request["samples"]):
            # With an ellipsis a scalar stays an array.
            inputs = [array[sample, ...] for array in arrays]
            outputs, status = model.run(self._data, inputs, tosa_level=_LEVEL)
            if status != model.GraphStatus.TOSA_VALID:
                raise RuntimeError(f"the graph's state is {status.name}")
            # Copies: the arrays lie in the reference model's own memory.
            rows.append([np.array(output) for output in outputs])
        _end_after(0)
        return {}, [np.stack(column) for column in zip(*rows, strict=True)]


def _failure(kind: str, error: Exception) -> Mapping[str, Any]:
    return {"ok": False, "kind": kind, "message": str(error) or type(error).__name__}


def _end_after(seconds: float) -> None:
    """Ends this process after a time (0: never), whatever it is in: its parent may be gone."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _load_frames(path: str) -> ModuleType:
    """The module of message frames, from its file."""
    spec = importlib.util.spec_from_file_location("frames", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _settle() -> None:
    """Ctrl-C is the parent's business; a crash leaves no core file, and starts no debugger."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # On a fatal error the reference model looks for gdb in the PATH and waits for it.
    os.environ["PATH"] = os.devnull
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        pass


def main(path: str) -> int:
    """Answers requests until stdin ends."""
    _settle()
    frames = _load_frames(path)
    source, sink = io.FileIO(os.dup(0), "rb"), io.FileIO(os.dup(1), "wb")
    # What the reference model prints goes to the log.
    os.dup2(2, 1)
    runner = Runner()
    try:
        while True:
            message = frames.read_frame(source)
            if message is None:
                return 0
            frames.write_frame(sink, *runner.answer(*message))
    except (OSError, frames.FrameError):
        return 1


if __name__ == "__main__":
    os._exit(main(sys.argv[1]))
