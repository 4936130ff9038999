"""Vela, Arm's compiler for Ethos-U, run in a child process.

Vela is native code in part: what it does on a file that it cannot take (an exception, a crash, no
end) must not be what intaglio does. Its output goes to a log file, which stays where Vela fails.
"""

from __future__ import annotations

import re
import shutil
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from intaglio.errors import ToolError
from intaglio.targets.ethos_u.options import EthosUConfig
from intaglio.targets.programs import run_program

#: The oldest Vela whose reports are understood, and the oldest that reads TOSA files as told here.
OLDEST, OLDEST_OF_TOSA = (4, 2), (5, 0)

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


def vela_version(oldest: tuple[int, int] = OLDEST) -> str:
    """The version of the installed Vela, such as ``5.2.0``.

    Args:
        oldest: The oldest that will do.

    Raises:
        ToolError: It is not installed, fails, or is too old.
    """
    command = [str(find_vela()), "--version"]
    match = re.search(r"(\d+)\.(\d+)[\w.]*", _run(command, _VERSION_SECONDS))
    if match is None:
        raise ToolError(
            "Vela does not tell its version", command=command, returncode=0, remedy=_INSTALL
        )
    if (int(match[1]), int(match[2])) < oldest:
        raise ToolError(
            f"Vela {match[0]} is too old: {'.'.join(map(str, oldest))} is the oldest that works",
            command=command,
            returncode=0,
            remedy=_INSTALL,
        )
    return match[0]


def compile_file(source: Path, folder: Path, config: EthosUConfig) -> str:
    """Compiles a ``.tflite`` or ``.tosa`` file.

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


def compiles(data: bytes, config: EthosUConfig) -> bool:
    """Whether Vela takes a ``.tosa`` file; nothing is kept of the trial.

    Raises:
        ToolError: Vela crashes or takes too long; its log is kept.
    """
    with tempfile.TemporaryDirectory(prefix="intaglio-vela-") as place_to_work:
        source = Path(place_to_work) / "part.tosa"
        source.write_bytes(data)
        try:
            compile_file(source, source.parent, config)
        except ToolError as error:
            if error.returncode is None or error.returncode < 0:
                raise
            if error.log is not None:
                error.log.unlink(missing_ok=True)
            return False
    return True


def _run(command: Sequence[str], seconds: float, result: Path | None = None) -> str:
    return run_program(
        "Vela",
        command,
        seconds,
        prefix="intaglio-vela-",
        complaint=_complaint,
        due=result,
        environment={"PYTHONHASHSEED": "0"},
    )


def _complaint(log: str) -> str:
    """The line of a log that says what went wrong, else its last one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    named = [line for line in lines if _COMPLAINT.match(line)]
    return (named or lines or [""])[-1][:300]
