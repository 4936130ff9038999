"""Vela, Arm's compiler for Ethos-U, run in a child process.

Vela is native code in part: what it does on a file that it cannot take (an exception, a crash, no
end) must not be what intaglio does. Its output goes to a log file, which stays where Vela fails.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from intaglio.errors import ToolError
from intaglio.targets.ethos_u.options import EthosUConfig
from intaglio.targets.processes import signal_name

#: The oldest Vela whose reports are understood.
OLDEST = (4, 2)

_INSTALL = 'pip install "intaglio[ethos-u]"'
_VERSION_SECONDS = 60.0

# What --verbose-performance, --show-cpu-operations and the debug database add: cycles of every
# operator, reasons for the CPU, and which operator of the file each of them comes from.
_REPORTS = ("--verbose-performance", "--show-cpu-operations", "--enable-debug-db")

# The line of a log that says what went wrong.
_COMPLAINT = re.compile(r"^\s*(vela: error|[\w.]*(Error|Exception|Interrupt)\b|Error\b)")


def find_vela() -> Path:
    """The program ``vela``: on the PATH, or beside this Python.

    Raises:
        ToolError: It is not installed.
    """
    found = shutil.which("vela") or shutil.which("vela", path=sysconfig.get_path("scripts"))
    if found is None:
        raise ToolError(
            "Vela, the compiler for Ethos-U, is not installed",
            command=("vela",),
            remedy=_INSTALL,
        )
    return Path(found)


def vela_version() -> str:
    """The version of the installed Vela, such as ``5.2.0``.

    Raises:
        ToolError: It is not installed, fails, or is too old.
    """
    command = [str(find_vela()), "--version"]
    match = re.search(r"(\d+)\.(\d+)[\w.]*", _run(command, _VERSION_SECONDS))
    if match is None:
        raise ToolError(
            "Vela does not tell its version", command=command, returncode=0, remedy=_INSTALL
        )
    if (int(match[1]), int(match[2])) < OLDEST:
        raise ToolError(
            f"Vela {match[0]} is too old: {'.'.join(map(str, OLDEST))} is the oldest that works",
            command=command,
            returncode=0,
            remedy=_INSTALL,
        )
    return match[0]


def compile_file(source: Path, folder: Path, config: EthosUConfig) -> str:
    """Compiles a ``.tflite`` file.

    Args:
        source: The file.
        folder: Where Vela writes ``<stem>_vela.tflite`` and its reports; it exists.
        config: The options.

    Returns:
        What Vela printed.

    Raises:
        ToolError: Vela is missing, fails, crashes, takes too long or writes nothing. Its log is
            kept.
    """
    command = [str(find_vela()), *config.arguments(), *_REPORTS]
    command += ["--output-dir", str(folder), str(source)]
    return _run(command, config.timeout, folder / f"{source.stem}_vela.tflite")


def _run(command: Sequence[str], seconds: float, result: Path | None = None) -> str:
    """What a command prints; its log is deleted unless it fails."""
    handle, name = tempfile.mkstemp(prefix="intaglio-vela-", suffix=".log")
    log = Path(name)
    keep = False
    try:
        with os.fdopen(handle, "wb") as stream:
            code, problem = _wait(command, seconds, stream)
        text = log.read_text(encoding="utf-8", errors="replace")
        if problem is None and result is not None and not result.is_file():
            problem = "ended without a compiled file"
        if problem is None:
            return text
        keep = True
        said = _complaint(text)
        raise ToolError(
            f"Vela {problem}{f': {said}' if said else ''}",
            command=command,
            returncode=code,
            log=log,
            remedy=f"its log is {log}; the command was: {' '.join(command)}",
        )
    finally:
        if not keep:
            log.unlink(missing_ok=True)


def _wait(command: Sequence[str], seconds: float, log: object) -> tuple[int | None, str | None]:
    """Runs a command to its end: its exit code and what is wrong with it, or None."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "0"}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,  # type: ignore[call-overload]
            stderr=subprocess.STDOUT,
            env=environment,
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


def _complaint(log: str) -> str:
    """The line of a log that says what went wrong, else its last one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    named = [line for line in lines if _COMPLAINT.match(line)]
    return (named or lines or [""])[-1][:300]
