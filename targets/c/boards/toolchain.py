"""The outside programs: Arm's GCC with newlib, and QEMU."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from intaglio.errors import ToolError

GCC = "arm-none-eabi-gcc"
QEMU = "qemu-system-arm"

_SECONDS = 600.0
_TAIL = 3000


def missing_packages() -> list[str]:
    """Debian's packages that are not installed here and without which no board runs."""
    missing = []
    if shutil.which(GCC) is None:
        missing.append("gcc-arm-none-eabi")
    if not _has_newlib():
        missing.append("libnewlib-arm-none-eabi")
    if shutil.which(QEMU) is None:
        missing.append("qemu-system-arm")
    return missing


def require_toolchain() -> None:
    """Looks for the programs.

    Raises:
        ToolError: One is missing.
    """
    missing = missing_packages()
    if missing:
        raise ToolError(
            "what builds and runs images for Cortex-M boards is not installed here",
            command=(GCC,),
            remedy=f"Debian: apt-get install {' '.join(missing)}",
        )


def run_tool(command: Sequence[str], folder: Path, what: str, seconds: float = _SECONDS) -> str:
    """Runs a program to its end.

    Args:
        command: The program and its arguments.
        folder: Where it runs.
        what: What it is to do, for the message: "the compiler".
        seconds: Time it may take.

    Returns:
        What it printed.

    Raises:
        ToolError: It did not start, failed or took too long.
    """
    try:
        done = subprocess.run(
            list(command),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(
            f"{what} was still running after {seconds:g} seconds, and was stopped",
            command=command,
            remedy="give it more time, or less to do",
        ) from error
    except OSError as error:
        raise ToolError(
            f"{what} cannot be started: {error.strerror or error}",
            command=command,
            remedy="check the installation of " + command[0],
        ) from error
    if done.returncode:
        raise ToolError(
            f"{what} failed with exit code {done.returncode}: {done.stdout[-_TAIL:].strip()}",
            command=command,
            returncode=done.returncode,
            remedy=f"the command was: {' '.join(command)}",
        )
    return done.stdout


def tool_version(name: str, folder: Path) -> str:
    """First line of what a program says of its version."""
    return run_tool([name, "--version"], folder, name).splitlines()[0].strip()


def _has_newlib() -> bool:
    """Whether the compiler finds the library; it names the file alone where it does not."""
    if shutil.which(GCC) is None:
        return False
    try:
        done = subprocess.run(
            [GCC, "-print-file-name=libc.a"], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return Path(done.stdout.strip()).is_absolute()
