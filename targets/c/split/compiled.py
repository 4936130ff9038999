"""The C codec as a shared library of this machine, compiled once and kept."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

from intaglio.errors import ToolError
from intaglio.targets.c.compiler import compile_files, require_compiler
from intaglio.targets.c.kept import kept_library
from intaglio.targets.c.library import load_library

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


def build(compiler: tuple[str, ...], target: Path) -> None:
    """Compiles the library.

    Args:
        compiler: The compiler with its arguments.
        target: The library's file; the compiler runs in its folder.

    Raises:
        ToolError: The compiler failed.
    """
    for place, extra in enumerate(_PROCESSOR_FLAGS):
        command = [*compiler, *FLAGS, *extra, *map(str, SOURCES), "-o", str(target)]
        try:
            compile_files(command, target.parent)
        except ToolError:
            if place == len(_PROCESSOR_FLAGS) - 1:
                raise
        else:
            return


def _compiled(compiler: tuple[str, ...]) -> Path:
    text = b"".join(path.read_bytes() for path in (*SOURCES, *HEADERS))
    text += repr((compiler, FLAGS, _PROCESSOR_FLAGS)).encode()
    return kept_library("split_codec", text, lambda target: build(compiler, target))
