"""Where the TOSA reference model lives: a Python environment of its own.

Its package, ``tosa-tools``, asks for older versions of numpy and flatbuffers than ours and installs
modules with names such as ``tests``. It is therefore never imported here: ``intaglio setup tosa``
makes an environment for it, and what runs in it runs as a child process.

Environments are looked for in the variable ``INTAGLIO_TOSA`` (the folder, or its Python), then in
the user's cache folder. Where the variable is set, nothing else is looked at.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import subprocess
from pathlib import Path

from intaglio.errors import ToolError

#: The variable that names an environment.
VARIABLE = "INTAGLIO_TOSA"

#: Versions of ``tosa-tools`` that are taken: from the first, and below the second.
OLDEST, BELOW = (2026, 2), (2027,)

#: The package, and the version of it that is installed where none is named.
PACKAGE, INSTALLED = "tosa-tools", "2026.8.0"

REMEDY = "intaglio setup tosa"

_ASK = f"import importlib.metadata as m; print(m.version({PACKAGE!r}))"
_ASK_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Environment:
    """A Python environment with the reference model in it.

    Attributes:
        python: Its interpreter.
        version: Version of ``tosa-tools`` in it, such as ``2026.8.0``.
    """

    python: Path
    version: str


def default_folder() -> Path:
    """The environment's folder in the user's cache (``XDG_CACHE_HOME`` or ``~/.cache``)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "intaglio" / "tosa-env"


def find_environment() -> Environment | None:
    """The environment to use, None where there is none that works."""
    try:
        return require_environment()
    except ToolError:
        return None


def require_environment() -> Environment:
    """The environment to use.

    Raises:
        ToolError: There is none, or the one there is does not work or has another version.
    """
    named = os.environ.get(VARIABLE)
    if named:
        remedy = f"let {VARIABLE} name an environment, or unset it and run: {REMEDY}"
        return open_environment(Path(named).expanduser(), f"{VARIABLE}={named}", remedy)
    folder = default_folder()
    if python_of(folder) is None:
        raise ToolError(
            "the TOSA reference model is not installed", command=(str(folder),), remedy=REMEDY
        )
    return open_environment(folder, str(folder), f"{REMEDY} --force")


def open_environment(place: Path, called: str, remedy: str) -> Environment:
    """Checks one environment.

    Args:
        place: Its folder, or its Python.
        called: What messages call it.
        remedy: What helps where it does not work.

    Raises:
        ToolError: It does not work, or has another version of the reference model.
    """
    python = python_of(place)
    if python is None:
        raise ToolError(f"{called} holds no Python", command=(str(place),), remedy=remedy)
    try:
        version = _version(python, python.lstat().st_mtime_ns)
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolError(
            f"{called} does not work: {_why(error)}", command=(str(python),), remedy=remedy
        ) from error
    check_version(version, called, python, remedy)
    return Environment(python, version)


def check_version(version: str, called: str, python: Path, remedy: str) -> None:
    """Refuses versions that were never tried.

    Raises:
        ToolError: The version is out of range.
    """
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if not OLDEST <= number < BELOW:
        oldest, below = (".".join(map(str, bound)) for bound in (OLDEST, BELOW))
        raise ToolError(
            f"{called} has {PACKAGE} {version}; it must be at least {oldest} and below {below}",
            command=(str(python),),
            remedy=remedy,
        )


def python_of(place: Path) -> Path | None:
    """The interpreter of an environment's folder, or the path itself where it is a file."""
    if place.is_file():
        return place.absolute()
    # Not resolved: a virtual environment's Python is known by the folder that it lies in.
    for inside in (Path("bin", "python"), Path("Scripts", "python.exe")):
        if (place / inside).is_file():
            return (place / inside).absolute()
    return None


@functools.lru_cache(maxsize=8)
def _version(python: Path, _: int) -> str:
    """The version of the package in an environment, asked once as long as its Python stays."""
    done = subprocess.run(
        [str(python), "-I", "-c", _ASK],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_ASK_SECONDS,
        check=True,
    )
    return done.stdout.strip()


def _why(error: Exception) -> str:
    """The cause in a line: the last that Python said, where it said anything."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in (error.stderr or "").splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"exit code {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer within {_ASK_SECONDS:g} s"
    return getattr(error, "strerror", None) or str(error)
