"""The system's C compiler: found, and run with its words passed on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from intaglio.errors import ToolError

_TIMEOUT = 600


def find_compiler() -> str | None:
    """The compiler that ``CC`` names, or else cc, gcc or clang; None where there is none."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found is not None:
            return found
    return None


def require_compiler() -> str:
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
            f"{command[0]} could not compile the emitted C:\n{done.stderr[-3000:]}",
            command=tuple(command),
            remedy="try another compiler with CC=clang, and report this with the message above",
        )
