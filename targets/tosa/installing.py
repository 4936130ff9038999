"""Makes the environment of the TOSA reference model: a virtual environment, and pip in it.

It is made in a folder beside the one that is asked for and renamed at the end, so that there is
never half of one. (What pip writes into ``bin`` names the first folder; only the environment's
Python is ever used, and that finds itself.)
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from intaglio.errors import OutputError, ToolError
from intaglio.targets.programs import run_program
from intaglio.targets.tosa.environment import (
    INSTALLED,
    PACKAGE,
    VARIABLE,
    Environment,
    default_folder,
    open_environment,
    python_of,
)

Progress = Callable[[str, int, "int | None"], None]

_STAGES = ("make an environment", f"install {PACKAGE} {INSTALLED}", "try it")
_VENV_SECONDS, _PIP_SECONDS, _TRY_SECONDS = 300.0, 1800.0, 120.0

# Versions of Python that there are wheels of the package for.
_OLDEST_PYTHON = (3, 10)

# Lies in every environment that was made here: no other is ever replaced.
_MARK = "made-by-intaglio-setup.txt"

_COMPLAINT = re.compile(r"^(ERROR|Error|[\w.]*Error)\b.*|^.*No module named .*")
_NO_NETWORK = re.compile(
    r"name resolution|NewConnectionError|NameResolutionError|Connection refused|timed out"
    r"|Network is unreachable|ProxyError|ConnectTimeout"
)


def create_environment(
    folder: Path | None = None,
    *,
    force: bool = False,
    python: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Environment, bool]:
    """Makes the environment, unless there is one that works.

    Args:
        folder: Where; None for :func:`.environment.default_folder`.
        force: Make it anew even where there is one.
        python: The interpreter to make it with; None for the one that runs this.
        progress: Told how far it is.

    Returns:
        The environment, and whether it was made now.

    Raises:
        OutputError: The folder holds something else, or cannot be written.
        ToolError: Python has no ``venv`` or no ``pip``, the package cannot be had, or what was
            installed does not work. Nothing is left behind then, and what there was before stays.
    """
    target = (default_folder() if folder is None else folder).expanduser().absolute()
    if not force and python_of(target) is not None:
        ours = (target / _MARK).is_file()
        remedy = "add --force to make it anew" if ours else "give another --path"
        return open_environment(target, str(target), remedy), False
    _check_target(target)
    base = _base_python(python)
    _make_parent(target)
    # Beside the target: only within a file system is renaming a single step.
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        made = work / "env"
        _install(base, made, progress or _silent)
        _replace(target, made, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return open_environment(
        target, str(target), "report this: it worked before it was renamed"
    ), True


def _check_target(target: Path) -> None:
    """Refuses to replace what was not made here.

    Raises:
        OutputError: The folder is a file, or holds other things.
    """
    if not target.exists():
        return
    if not target.is_dir() or (any(target.iterdir()) and not (target / _MARK).is_file()):
        raise OutputError(
            f"{target} is there, and was not made by intaglio setup",
            remedy="give another --path, or remove it yourself",
        )


def _make_parent(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{target.parent} cannot be made: {error.strerror or error}",
            remedy="give another --path, or set XDG_CACHE_HOME",
        ) from error


def _base_python(python: Path | None) -> Path:
    """The interpreter to make the environment with.

    Raises:
        ToolError: It is too old.
    """
    if python is None and sys.version_info >= _OLDEST_PYTHON:
        return Path(sys.executable)
    base = Path(sys.executable) if python is None else python
    ask = "import sys; print('version', *sys.version_info[:2])"
    said = _run("Python", [str(base), "-I", "-c", ask], _TRY_SECONDS)
    match = re.search(r"^version (\d+) (\d+)$", said, re.MULTILINE)
    if match is None or (int(match[1]), int(match[2])) < _OLDEST_PYTHON:
        is_ = "tells no version" if match is None else f"is Python {match[1]}.{match[2]}"
        oldest = ".".join(map(str, _OLDEST_PYTHON))
        raise ToolError(
            f"{base} {is_}; {PACKAGE} needs {oldest} or newer",
            command=(str(base),),
            remedy="give another --python",
        )
    return base


def _install(base: Path, made: Path, progress: Progress) -> None:
    """Makes an environment in a new folder and tries it."""
    total = len(_STAGES)
    progress(_STAGES[0], 0, total)
    try:
        _run("Python's venv", [str(base), "-I", "-m", "venv", str(made)], _VENV_SECONDS)
    except ToolError as error:
        raise _because(
            error,
            "this Python cannot make virtual environments (on Debian and Ubuntu they are in the "
            f"package python3-venv); give another --python, or name one in {VARIABLE}",
        ) from error
    python = str(python_of(made))
    progress(_STAGES[1], 1, total)
    # Only wheels: what is built here from source would take half an hour and a compiler.
    pip = [python, "-I", "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    pip += ["--retries", "2", "--only-binary", ":all:", f"{PACKAGE}=={INSTALLED}"]
    try:
        _run("pip", pip, _PIP_SECONDS)
    except ToolError as error:
        raise _because(error, _pip_remedy(error)) from error
    progress(_STAGES[2], 2, total)
    code = "import tosa_reference_model as m; m.run"
    _run("the TOSA reference model", [python, "-I", "-c", code], _TRY_SECONDS)
    (made / _MARK).write_text(f"{PACKAGE} {INSTALLED}\n", encoding="utf-8")
    progress(_STAGES[2], total, total)


def _pip_remedy(error: ToolError) -> str:
    """What helps where pip failed, by its log."""
    text = error.log.read_text(encoding="utf-8", errors="replace") if error.log else ""
    if _NO_NETWORK.search(text):
        return (
            "the package index cannot be reached: check the network (pip's own settings, such as "
            f"PIP_INDEX_URL and PIP_PROXY, hold), or name an environment in {VARIABLE}"
        )
    if "No matching distribution" in text:
        return (
            f"there is no {PACKAGE} {INSTALLED} for this Python on this system: give another "
            "--python (3.10 to 3.14)"
        )
    if "No module named pip" in text:
        return "this Python has no pip: give another --python"
    return f"make an environment by hand, pip install {PACKAGE}=={INSTALLED}, and set {VARIABLE}"


def _because(error: ToolError, remedy: str) -> ToolError:
    """The same error with what helps, and where its log is."""
    log = f" (log: {error.log})" if error.log else ""
    return ToolError(
        error.message,
        command=error.command,
        returncode=error.returncode,
        log=error.log,
        remedy=remedy + log,
    )


def _replace(target: Path, made: Path, work: Path) -> None:
    """Puts the new folder in the place of the old one."""
    try:
        if target.exists():
            target.rename(work / "old")
        made.rename(target)
    except OSError as error:
        if (work / "old").exists() and not target.exists():
            (work / "old").rename(target)
        raise OutputError(
            f"{target} cannot be written: {error.strerror or error}", remedy="give another --path"
        ) from error


def _run(name: str, command: Sequence[str], seconds: float) -> str:
    return run_program(name, command, seconds, prefix="intaglio-setup-", complaint=_complaint)


def _complaint(log: str) -> str:
    """The last line that tells of an error, else the last one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    named = [line for line in lines if _COMPLAINT.match(line)]
    return (named or lines or [""])[-1][:300]


def _silent(stage: str, done: int, total: int | None) -> None:
    """Listens to nothing."""
