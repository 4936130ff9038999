"""Shared libraries compiled for this machine once, and kept in the user's cache folder.

A library's name is made of all that decides what it is: what it is made of, and the processor.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

from intaglio.targets.c.library import library_name

#: Folders that take the place of a cache that cannot be written; removed when the process ends.
_OWN_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []


def cache_folder() -> Path:
    """Where compiled libraries are kept (``XDG_CACHE_HOME`` or ``~/.cache``)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "intaglio" / "kernels"


def kept_library(
    stem: str, made_of: bytes, build: Callable[[Path], None], folder: Path | None = None
) -> Path:
    """The library of this name; built where there is none yet.

    Args:
        stem: What the name begins with.
        made_of: Sources, compiler and flags.
        build: Compiles it: gets the file to write, in a folder of its own.
        folder: Where it is kept; the user's cache where left out.

    Returns:
        The library.

    Raises:
        ToolError: What ``build`` raised; nothing is kept then.
    """
    digest = hashlib.sha256(made_of + _processor().encode()).hexdigest()[:20]
    name = library_name(f"{stem}-{digest}")
    place = folder or cache_folder()
    if (place / name).exists():
        return place / name
    try:
        place.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True)
    except OSError:
        # No home to write to. A folder with a fixed name elsewhere could be somebody else's.
        own = tempfile.TemporaryDirectory(prefix="intaglio-", ignore_cleanup_errors=True)
        _OWN_FOLDERS.append(own)
        build(Path(own.name) / name)
        return Path(own.name) / name
    with scratch as made:
        # Moved when it is whole: two processes may compile at once.
        build(Path(made) / name)
        return (Path(made) / name).replace(place / name)


def _processor() -> str:
    """What ``-march=native`` depends on: a home folder may be shared by several machines."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {flags}"
