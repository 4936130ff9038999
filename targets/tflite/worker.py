"""The child process that runs one TFLite file in one runtime.

Real files exist that corrupt the heap of the runtimes, so none of them is ever loaded into the
user's process. Started as ``python -m intaglio.targets.tflite.worker``; speaks the frames of
``frames.py`` over its stdin and stdout: one request, one reply, until stdin ends.

Requests (key ``do``) and what comes back, beside ``{"ok": true}``:

* ``load``: ``path``, ``runtime``, ``outputs``, ``stateful``
* ``run``: ``inner`` tensor indices and the inputs, each with a leading sample axis; the outputs
  and the inner tensors that exist (``inner``), stacked likewise
* ``time``: ``runs``, ``seconds``; the seconds each of at most ``runs`` took, stopping after
  ``seconds``
* ``try_arena``: ``size`` and one sample; ``fits``, and the outputs where it does
* ``print_allocations``

A failure is ``{"ok": false, "kind": ..., "message": ...}`` with kind ``missing`` (the runtime is
not installed), ``refused`` (it refuses the file) or ``failed``.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.tflite.frames import FrameError, read_frame, write_frame

Reply = tuple[Mapping[str, Any], Sequence[NDArray[Any]]]
_Arrays = Sequence[NDArray[Any]]


class Worker:
    """Answers requests; holds the loaded model."""

    def __init__(self) -> None:
        self._runner: Any = None

    def answer(self, request: Mapping[str, Any], arrays: _Arrays) -> Reply:
        """The reply to one request; see the module's docstring."""
        handlers: dict[str, Callable[[Mapping[str, Any], _Arrays], Reply]] = {
            "load": self._load,
            "run": self._run,
            "time": self._time,
            "try_arena": self._try_arena,
            "print_allocations": self._print_allocations,
        }
        try:
            found, results = handlers[request["do"]](request, arrays)
        except ImportError as error:
            return _failure("missing", error), ()
        except Exception as error:  # Whatever a runtime raises is an answer to the parent.
            return _failure("refused" if request["do"] == "load" else "failed", error), ()
        return {**found, "ok": True}, results

    def _load(self, request: Mapping[str, Any], _: _Arrays) -> Reply:
        data = Path(request["path"]).read_bytes()
        runtime = request["runtime"]
        if runtime == "tflm":
            from intaglio.targets.tflite.micro import MicroRunner

            self._runner = MicroRunner(data, outputs=request["outputs"])
        else:
            from intaglio.targets.tflite.litert import LitertRunner

            self._runner = LitertRunner(data, runtime, stateful=request["stateful"])
        return {}, ()

    def _run(self, request: Mapping[str, Any], arrays: _Arrays) -> Reply:
        wanted = request["inner"]
        samples = len(arrays[0]) if arrays else 1
        rows: list[list[NDArray[Any]]] = []
        have: list[int] = []
        for sample in range(samples):
            outputs, inner = self._runner.run([array[sample] for array in arrays], wanted)
            have = list(inner)
            rows.append([*outputs, *inner.values()])
        return {"inner": have}, [np.stack(column) for column in zip(*rows, strict=True)]

    def _time(self, request: Mapping[str, Any], arrays: _Arrays) -> Reply:
        self._runner.run([array[0] for array in arrays], ())
        took: list[float] = []
        end = time.perf_counter() + request["seconds"]
        while not took or (len(took) < request["runs"] and time.perf_counter() < end):
            start = time.perf_counter()
            self._runner.invoke()
            took.append(time.perf_counter() - start)
        return {"took": took}, ()

    def _try_arena(self, request: Mapping[str, Any], arrays: _Arrays) -> Reply:
        outputs = self._runner.try_arena(request["size"], [array[0] for array in arrays])
        return {"fits": outputs is not None}, outputs or ()

    def _print_allocations(self, _: Mapping[str, Any], __: _Arrays) -> Reply:
        self._runner.print_allocations()
        return {}, ()


def _failure(kind: str, error: Exception) -> Mapping[str, Any]:
    return {"ok": False, "kind": kind, "message": f"{error}" or type(error).__name__}


class _EndWithParent:
    """Ends this process when the parent does, even in the middle of a runtime's endless loop.

    While a request is worked on the parent sends nothing, so whatever happens on stdin is its
    closing; the kernel then sends SIGIO, whose default action is to end the process. (Without
    O_ASYNC, as on Windows, the process ends when it next reads.)
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        try:
            import fcntl
            import select
        except ImportError:
            self._set_flags: Callable[[int], Any] | None = None
            return
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        self._idle, self._busy = flags & ~os.O_ASYNC, flags | os.O_ASYNC
        self._set_flags = lambda value: fcntl.fcntl(descriptor, fcntl.F_SETFL, value)
        self._poll = select.poll()
        self._poll.register(descriptor, 0)

    def __enter__(self) -> None:
        if self._set_flags is not None:
            self._set_flags(self._busy)
            if self._poll.poll(0):  # It had gone before we asked to be told.
                os._exit(1)

    def __exit__(self, *_: object) -> None:
        if self._set_flags is not None:
            self._set_flags(self._idle)


def _take_streams() -> tuple[io.FileIO, io.FileIO]:
    """The channel to the parent; what a runtime prints on stdout goes to stderr from now on."""
    source, sink = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return io.FileIO(source, "rb"), io.FileIO(sink, "wb")


def _settle() -> None:
    """Ctrl-C is the parent's business; a crash leaves no core file in the user's folder."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        pass


def main() -> int:
    """Answers requests until stdin ends."""
    _settle()
    source, sink = _take_streams()
    alive = _EndWithParent(source.fileno())
    worker = Worker()
    try:
        while (message := read_frame(source)) is not None:
            with alive:
                reply = worker.answer(*message)
            write_frame(sink, *reply)
    except (OSError, FrameError):
        return 1
    return 0


if __name__ == "__main__":
    # A heap that a bad file has corrupted makes an orderly exit crash: leave at once.
    os._exit(main())
