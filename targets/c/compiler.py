"""The system's C compiler: found, and run with its words passed on."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from intaglio.errors import ToolError

_TIMEOUT = 600


def find_compiler() -> tuple[str, ...] | None:
    """What ``CC`` says, arguments included, or else cc, gcc or clang; None where there is none.

    Raises:
        ToolError: ``CC`` names something that is not installed.
    """
    stated = tuple(shlex.split(os.environ.get("CC", "")))
    if stated:
        if shutil.which(stated[0]) is None:
            raise ToolError(
                f"the compiler that CC names, {stated[0]}, is not installed here",
                command=stated,
                remedy="install it, name another one, or unset CC",
            )
        return stated
    for name in ("cc", "gcc", "clang"):
        found = shutil.which(name)
        if found is not None:
            return (found,)
    return None


def require_compiler() -> tuple[str, ...]:
    """As :func:`find_compiler`.

    Raises:
        ToolError: There is none.
    """
    found = find_compiler()
    if found is None:
        raise ToolError(
            "no C compiler is installed here",
            command=("cc",),
            remedy="install gcc or clang (Debian: apt-get install gcc libc6-dev), or set CC",
        )
    return found


def compile_files(command: Sequence[str], folder: Path) -> None:
    """Runs a compiler.

    Args:
        command: The compiler and its arguments.
        folder: Where it runs.

    Raises:
        ToolError: It failed; the message has the end of what it said.
    """
    try:
        done = subprocess.run(
            list(command), cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(
            f"the compiler {command[0]} did not run: {error}",
            command=tuple(command),
            remedy="check the compiler, or set CC to another one",
        ) from error
    if done.returncode:
        raise ToolError(
            f"{command[0]} could not compile the emitted C (exit code {done.returncode}):\n"
            + (done.stderr or done.stdout)[-3000:],
            command=tuple(command),
            remedy="try another compiler with CC=clang, and report this with the message above",
        )
