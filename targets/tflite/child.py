"""The parent's side of the child process that runs a TFLite file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from numpy.typing import NDArray

from intaglio.errors import InputError, ToolError
from intaglio.targets.processes import cause_of, end_child, kill_late
from intaglio.targets.tflite.frames import FrameError, read_frame, write_frame
from intaglio.targets.tflite.runtimes import TfliteRuntime

_TAIL_BYTES = 4000
_TAIL_LINES = 8
_LONGEST = 500
_GRACE_S = 5.0


class Child:
    """One file in one runtime in one process.

    Args:
        path: The file.
        runtime: The runtime.
        timeout_s: Seconds that loading, or answering one request, may take.
        outputs: How many outputs the file has.
        stateful: Whether the file has variables.

    Raises:
        InputError: The runtime refuses the file.
        ToolError: It is not installed, or it crashed or hung on loading.
    """

    def __init__(
        self,
        path: Path,
        runtime: TfliteRuntime,
        *,
        timeout_s: float,
        outputs: int,
        stateful: bool,
    ) -> None:
        self._path = path
        self._runtime = runtime
        self._timeout_s = timeout_s
        self._command = (sys.executable, "-m", "intaglio.targets.tflite.worker")
        # Closed with the child.
        self._log: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            bufsize=0,
            env=_environment(),
        )
        self._finalizer = weakref.finalize(self, end_child, self._process, self._log)
        self._said_before = 0
        self._lock = threading.Lock()
        try:
            self.call(
                "load",
                path=str(path.resolve()),
                runtime=runtime.name,
                outputs=outputs,
                stateful=stateful,
            )
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The child's process number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return self._finalizer.alive and self._process.poll() is None

    def said(self) -> str:
        """What the runtime printed while it answered the last request."""
        size = os.fstat(self._log.fileno()).st_size
        self._log.seek(max(self._said_before, size - (1 << 20)))
        said = self._log.read()
        # The child writes where this file stands: both share its position.
        self._log.seek(0, os.SEEK_END)
        return said.decode("utf-8", "replace")

    def call(
        self, do: str, arrays: Sequence[NDArray[Any]] = (), **request: Any
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Asks the child; see ``worker.py`` for the requests.

        Raises:
            InputError: The runtime refuses the file.
            ToolError: It failed, crashed or hung. After a crash the child is gone.
        """
        with self._lock:
            self._said_before = os.fstat(self._log.fileno()).st_size
            try:
                reply, results = self._exchange(do, arrays, request)
            except BaseException:  # Also Ctrl-C: half an exchange leaves nothing to go on with.
                self.close()
                raise
        if not reply.get("ok"):
            raise self._failure(str(reply.get("kind")), str(reply.get("message")))
        return reply, results

    def close(self) -> None:
        """Ends the child."""
        self._finalizer()

    def _exchange(
        self, do: str, arrays: Sequence[NDArray[Any]], request: dict[str, Any]
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        late = threading.Event()
        timer = threading.Timer(self._timeout_s, kill_late, (self._process, late))
        timer.daemon = True
        timer.start()
        stdin: Any = self._process.stdin
        stdout: Any = self._process.stdout
        try:
            write_frame(stdin, {**request, "do": do}, arrays)
            message = read_frame(stdout)
        except (OSError, FrameError):
            message = None
        finally:
            timer.cancel()
        if message is None or late.is_set():
            raise self._death(hung=late.is_set())
        reply, results = message
        return reply, results

    def _failure(self, kind: str, message: str) -> InputError | ToolError:
        runtime = self._runtime
        if kind == "missing":
            return self._tool_error(f"{runtime.name} is not usable: {message}", runtime.install)
        detail = _join(message, _tail(self.said()))
        if kind == "refused":
            return InputError(
                f"{runtime.name} refuses '{self._path}': {detail}",
                remedy="the file is damaged or holds what this runtime does not know; "
                "another runtime may take it",
            )
        return self._tool_error(
            f"{runtime.name} failed on '{self._path}': {detail}", "another runtime may run it"
        )

    def _death(self, *, hung: bool) -> ToolError:
        if hung:
            return self._tool_error(
                f"{self._runtime.name} gave no answer on '{self._path}' "
                f"within {self._timeout_s:g} s and was stopped",
                "allow more time, or run the file in another runtime",
            )
        try:
            code: int | None = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            code = None
        said = _tail(self.said())
        return self._tool_error(
            f"{self._runtime.name} crashed on '{self._path}' ({cause_of(code)})"
            + (f": {said}" if said else ""),
            "the file is damaged or meets an error of the runtime; another runtime may run it",
            code,
        )

    def _tool_error(self, message: str, remedy: str, code: int | None = None) -> ToolError:
        return ToolError(message, command=self._command, returncode=code, remedy=remedy)


def _environment() -> dict[str, str]:
    """The parent's module search path: the child finds what the parent finds, not its folder."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}


def _tail(text: str) -> str:
    """The last lines a runtime printed, without its chatter."""
    lines = [line.strip() for line in text[-_TAIL_BYTES:].splitlines()]
    told = list(dict.fromkeys(line for line in lines if line and not line.startswith("INFO:")))
    return "; ".join(told[-_TAIL_LINES:])


def _join(message: str, tail: str) -> str:
    # LiteRT repeats in its exception what it has printed.
    whole = message if not tail or tail in message else f"{message.rstrip('. ')}; {tail}"
    whole = " ".join(whole.split())
    return whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]} …"
