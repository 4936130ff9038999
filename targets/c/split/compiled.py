"""The C codec as a shared library of this machine, compiled once and kept.

The library lies in the user's cache folder under a name made of all that decides what it is: the
sources, the compiler, its flags and the processor.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import tempfile
from pathlib import Path

from intaglio.errors import ToolError
from intaglio.targets.c.compiler import compile_files, require_compiler
from intaglio.targets.c.library import library_name, load_library

_FOLDER = Path(__file__).parent
SOURCES = tuple(
    _FOLDER / name for name in ("split_codec.c", "split_fast_encode.c", "split_fast_decode.c")
)
HEADERS = tuple(_FOLDER / name for name in ("split_codec.h", "split_fast.h", "split_fast_parts.h"))
#: Vectors of several lanes' states cost more than they save: gcc must not build them.
FLAGS = ("-std=c99", "-O3", "-fno-tree-slp-vectorize", "-DSPLIT_FAST", "-shared", "-fPIC")
#: The processor's own instructions first; some compilers do not know the words. What gcc does on
#: top for some processors, keeping numbers in vector registers, makes these loops slower.
_PROCESSOR_FLAGS = (("-march=native", "-mtune=generic"), ())
_POINTER, _NUMBER, _SIZE = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_size_t


@functools.cache
def codec_library() -> ctypes.CDLL:
    """The functions of ``split_codec.h``.

    Raises:
        ToolError: There is no compiler, or it failed.
    """
    return declared(load_library(_compiled(require_compiler())))


def declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """The library with the types of its functions."""
    library.split_frame_bytes.argtypes = [_POINTER, _NUMBER]
    library.split_frame_bytes.restype = ctypes.c_uint64
    library.split_crc.argtypes = [_POINTER, _POINTER, _SIZE]
    library.split_crc.restype = _NUMBER
    library.split_write_frame.argtypes = [
        _POINTER, _NUMBER, _POINTER, _POINTER, _NUMBER, _POINTER, _SIZE,
    ]  # fmt: skip
    library.split_write_frame.restype = ctypes.c_int64
    library.split_read_frame.argtypes = [
        _POINTER, _POINTER, _SIZE, _NUMBER, _POINTER, _POINTER, _POINTER, _POINTER,
    ]  # fmt: skip
    library.split_read_frame.restype = ctypes.c_int32
    return library


def build(compiler: tuple[str, ...], target: Path, folder: Path) -> None:
    """Compiles the library.

    Args:
        compiler: The compiler with its arguments.
        target: The library's file.
        folder: Where the compiler runs.

    Raises:
        ToolError: The compiler failed.
    """
    for place, extra in enumerate(_PROCESSOR_FLAGS):
        try:
            compile_files(
                [*compiler, *FLAGS, *extra, *map(str, SOURCES), "-o", str(target)], folder
            )
        except ToolError:
            if place == len(_PROCESSOR_FLAGS) - 1:
                raise
        else:
            return


def _compiled(compiler: tuple[str, ...]) -> Path:
    text = b"".join(path.read_bytes() for path in (*SOURCES, *HEADERS))
    text += repr((compiler, FLAGS, _PROCESSOR_FLAGS, _processor())).encode()
    name = library_name(f"split_codec-{hashlib.sha256(text).hexdigest()[:20]}")
    base = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(base) if base else Path.home() / ".cache") / "intaglio" / "kernels"
    if (cache / name).exists():
        return cache / name
    try:
        cache.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True)
    except OSError:
        # No home to write to: a folder that lives as long as this process.
        return _in_own_folder(compiler, name)
    with scratch as place:
        # Moved when it is whole: two processes may compile at once.
        build(compiler, Path(place) / name, Path(place))
        return (Path(place) / name).replace(cache / name)


def _in_own_folder(compiler: tuple[str, ...], name: str) -> Path:
    folder = tempfile.TemporaryDirectory(prefix="intaglio-", ignore_cleanup_errors=True)
    _OWN_FOLDERS.append(folder)
    build(compiler, Path(folder.name) / name, Path(folder.name))
    return Path(folder.name) / name


#: Removed when the process ends.
_OWN_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []


def _processor() -> str:
    """What ``-march=native`` depends on: a home folder may be shared by several machines."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {flags}"
