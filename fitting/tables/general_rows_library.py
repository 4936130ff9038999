"""Compiles and loads ``general_rows.c``, as :mod:`kernel` does for the kernel of 16 rows."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from intaglio.fitting.tables.kernel import FLAGS, cache_folder

_SOURCE = Path(__file__).with_name("general_rows.c")
_POINTER, _INT, _LONG, _FLOAT = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_float


@functools.cache
def library() -> ctypes.CDLL | None:
    """The library of this machine, or None without a compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    for folder in (cache_folder(), Path(tempfile.gettempdir()) / f"intaglio-kernels-{os.getuid()}"):
        try:
            return _declared(ctypes.CDLL(str(_compiled(compiler, folder))))
        except (OSError, subprocess.CalledProcessError):
            continue
    return None


def _compiled(compiler: str, folder: Path) -> Path:
    """Path of the compiled library in a folder; its name says what decides its code."""
    source = _SOURCE.read_bytes()
    # What -march=native stands for is part of the name: a home folder may serve several machines.
    native = subprocess.run(
        [compiler, *FLAGS, "-E", "-dM", "-x", "c", os.devnull], capture_output=True, check=True
    ).stdout
    digest = hashlib.sha256(source + native + repr((compiler, FLAGS)).encode()).hexdigest()
    path = folder / f"rows-{digest[:20]}.so"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    # A private file that is renamed at the end: two processes may compile at once.
    handle, name = tempfile.mkstemp(suffix=".so", dir=folder)
    os.close(handle)
    try:
        command = [compiler, *FLAGS, "-o", name, str(_SOURCE)]
        subprocess.run(command, capture_output=True, check=True)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    sizes = [_POINTER, _LONG, _INT, _INT, _FLOAT, _INT, _INT, _POINTER, _FLOAT, _FLOAT, _FLOAT]
    shape = [_POINTER, _INT, _INT, _INT, _INT, _FLOAT, _INT, _POINTER, _FLOAT, _FLOAT]
    functions = {
        "intaglio_rows_forward": sizes + [_POINTER] * 3,
        "intaglio_rows_backward": sizes + [_POINTER] * 6,
        "intaglio_depthwise_forward": shape + [_POINTER] * 3,
        "intaglio_depthwise_backward": shape + [_POINTER] * 6,
    }
    for name, arguments in functions.items():
        getattr(found, name).argtypes = arguments
        getattr(found, name).restype = _INT
    return found
