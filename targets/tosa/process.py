"""The parent's side of the child process that runs the TOSA reference model."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError, ToolError
from intaglio.targets.processes import cause_of, end_child, kill_late
from intaglio.targets.tflite import frames
from intaglio.targets.tosa.environment import REMEDY, Environment, check_version

_SCRIPT = Path(__file__).with_name("child.py")
_TAIL_BYTES, _TAIL_LINES, _LONGEST = 4000, 6, 500
_GRACE_S = 5.0
# About the debugger that is not there, and about what comes next.
_CHATTER = (
    "WARNING AT ",
    "Attaching debugger",
    "Backtrace generation",
    "Caught signal",
    "WARNING: Different TOSA spec",
    "WARNING: TOSA file created",
)
# What says why, wherever it stands.
_TELLING = ("ERROR_IF", "REQUIRE", "LEVEL_CHECK", "failure", "apply_scale")
_REFUSED = (
    "the file is damaged: convert the model again; if it is refused again, report it with the model"
)


class Child:
    """The reference model in a process, with one file.

    Args:
        environment: Where it is installed.
        called: What messages call the file.
        timeout_s: Seconds that one request may take.

    Raises:
        ToolError: It does not start, or has another version.
    """

    def __init__(self, environment: Environment, called: str, *, timeout_s: float) -> None:
        self._called = called
        self._timeout_s = timeout_s
        # -I: neither this process's module path nor the user's own modules; -B: no new files.
        self._command = (
            str(environment.python), "-I", "-B", str(_SCRIPT), str(frames.__file__)
        )  # fmt: skip
        # Closed with the child.
        self._log: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                bufsize=0,
            )
        except OSError as error:
            self._log.close()
            raise ToolError(
                f"{environment.python} cannot be started: {error.strerror or error}",
                command=self._command,
                remedy=REMEDY,
            ) from error
        self._finalizer = weakref.finalize(self, end_child, self._process, self._log)
        self._said_before = 0
        self._lock = threading.Lock()
        try:
            version = str(self.call("hello")[0]["version"])
            again = f"{REMEDY} --force"
            check_version(version, str(environment.python), environment.python, again)
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

    def load(self, data: bytes) -> None:
        """Gives it the bytes of a file.

        Raises:
            ToolError: It is gone.
        """
        self.call("load", [np.frombuffer(data, np.uint8)])

    def run(self, arrays: Sequence[NDArray[Any]], samples: int) -> list[NDArray[Any]]:
        """Runs the file on samples, one after the other.

        Args:
            arrays: The inputs in the file's order, each ``[samples, *shape]``.
            samples: How many there are.

        Returns:
            The outputs in the file's order, each ``[samples, *shape]``.

        Raises:
            InputError: The reference model refuses the file.
            ToolError: It fails, crashes or takes too long. Its log is kept.
        """
        # Should the parent be gone, the child ends by itself, a while later.
        limit = 2 * self._timeout_s + _GRACE_S
        return self.call("run", arrays, samples=samples, seconds=limit)[1]

    def call(
        self, do: str, arrays: Sequence[NDArray[Any]] = (), **request: Any
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Asks the child; see ``child.py`` for the requests."""
        with self._lock:
            self._said_before = os.fstat(self._log.fileno()).st_size
            try:
                reply, results = self._exchange(do, arrays, request)
            except BaseException:  # Also Ctrl-C: half an exchange leaves nothing to go on with.
                self.close()
                raise
        if not reply.get("ok"):
            error = self._failure(str(reply.get("kind")), str(reply.get("message")))
            self.close()  # Who knows what state the reference model is in after that.
            raise error
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
            frames.write_frame(stdin, {**request, "do": do}, arrays)
            message = frames.read_frame(stdout)
        except (OSError, frames.FrameError):
            message = None
        finally:
            timer.cancel()
        if message is None or late.is_set():
            raise self._death(hung=late.is_set())
        return message

    def _failure(self, kind: str, message: str) -> InputError | ToolError:
        said = _tail(self._said())
        detail = f"{message}; {said}" if said else message
        if kind == "refused":
            return InputError(
                f"the TOSA reference model refuses '{self._called}': {detail}", remedy=_REFUSED
            )
        if kind == "missing":
            python = self._command[0]
            return self._tool_error(f"{python} lacks the TOSA reference model: {message}")
        return self._tool_error(f"the TOSA reference model fails on '{self._called}': {detail}")

    def _death(self, *, hung: bool) -> ToolError:
        if hung:
            self._process.kill()
            return self._tool_error(
                f"the TOSA reference model gave no answer on '{self._called}' within "
                f"{self._timeout_s:g} s and was stopped"
            )
        try:
            code: int | None = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            code = None
        said = _tail(self._said())
        return self._tool_error(
            f"the TOSA reference model crashed on '{self._called}' ({cause_of(code)})"
            + (f": {said}" if said else ""),
            code,
        )

    def _tool_error(self, message: str, code: int | None = None) -> ToolError:
        """The error, with a file of what the reference model said about the last request."""
        said = self._said()
        handle, name = tempfile.mkstemp(prefix="intaglio-tosa-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(f"{' '.join(self._command)}\n{message}\n{said}")
        return ToolError(
            message,
            command=self._command,
            returncode=code,
            log=Path(name),
            remedy=f"its log is {name}: report it with the model, or, if the environment is "
            f"broken: {REMEDY} --force",
        )

    def _said(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        self._log.seek(max(self._said_before, size - (1 << 20)))
        said = self._log.read()
        # The child writes where this file stands: both share its position.
        self._log.seek(0, os.SEEK_END)
        return said.decode("utf-8", "replace")


def _tail(text: str) -> str:
    """What it printed, in one line: what says why, else its last lines; shortened."""
    lines = [line.strip() for line in text[-_TAIL_BYTES:].splitlines()]
    told = list(dict.fromkeys(line for line in lines if line and not line.startswith(_CHATTER)))
    telling = [line for line in told if any(word in line for word in _TELLING)]
    whole = "; ".join((telling or told)[-_TAIL_LINES:])
    return whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]} …"
