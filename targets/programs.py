"""Outside programs that are run to their end, with what they print in a log file.

What a program does (an exception, a crash, no end) must not be what intaglio does: it gets a
process of its own, is stopped when its time is over, and its log stays where it fails.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from intaglio.errors import ToolError
from intaglio.targets.processes import signal_name


def run_program(
    name: str,
    command: Sequence[str],
    seconds: float,
    *,
    prefix: str,
    complaint: Callable[[str], str],
    due: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Runs a program to its end.

    Args:
        name: What messages call it.
        command: The command line.
        seconds: After these it is stopped.
        prefix: How the name of its log file begins.
        complaint: Picks what a log says went wrong; empty where it says nothing.
        due: A file that it must have written.
        environment: Environment variables to set besides those there are.

    Returns:
        What it printed.

    Raises:
        ToolError: It cannot be started, fails, crashes, takes too long or has not written what is
            due. Its log is kept; else it is deleted.
    """
    handle, path = tempfile.mkstemp(prefix=prefix, suffix=".log")
    log = Path(path)
    keep = False
    try:
        with os.fdopen(handle, "wb") as stream:
            code, problem = _wait(command, seconds, stream, environment or {})
        text = log.read_text(encoding="utf-8", errors="replace")
        if problem is None and due is not None and not due.is_file():
            problem = "ended without a compiled file"
        if problem is None:
            return text
        keep = True
        said = complaint(text)
        raise ToolError(
            f"{name} {problem}{f': {said}' if said else ''}",
            command=command,
            returncode=code,
            log=log,
            remedy=f"its log is {log}; the command was: {' '.join(command)}",
        )
    finally:
        if not keep:
            log.unlink(missing_ok=True)


def _wait(
    command: Sequence[str], seconds: float, log: object, extra: Mapping[str, str]
) -> tuple[int | None, str | None]:
    """Runs a command to its end: its exit code and what is wrong with it, or None."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,  # type: ignore[call-overload]
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **extra},
            start_new_session=True,
        )
    except OSError as error:
        return None, f"cannot be started: {error.strerror or error}"
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        _stop(process)
        return None, f"was still running after {seconds:g} seconds, and was stopped"
    except BaseException:
        # An interrupt: nothing goes on behind our back.
        _stop(process)
        raise
    if code < 0:
        return code, f"crashed with {signal_name(-code)}"
    return code, f"failed with exit code {code}" if code else None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a running process and what it started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
