"""Compile and load ``kernel.c``: the table layers and their gradients in fast C.

The file is compiled at first use by the system's C compiler for this very processor, and kept.
Without a compiler there is no kernel, and the operators fall back to PyTorch.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from intaglio.errors import ToolError
from intaglio.targets.c.compiler import compile_files, find_compiler
from intaglio.targets.c.kept import kept_library

if TYPE_CHECKING:
    from torch import Tensor

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC")
_SOURCE = Path(__file__).with_name("kernel.c")
_INT = ctypes.c_int
_POINTER = ctypes.c_void_p


def compile_kernel(
    folder: Path | None = None, flags: tuple[str, ...] = FLAGS, source: Path = _SOURCE
) -> Path | None:
    """Compile ``kernel.c`` or another file of this package unless it is compiled already.

    Args:
        folder: Where the shared library is kept; the user's cache where left out.
        flags: Flags for the compiler.
        source: The C file.

    Returns:
        The library, or None without a compiler that can make it.
    """
    try:
        compiler = find_compiler()
        if compiler is None:
            return None
        text = source.read_bytes() + repr((compiler, flags)).encode()
        command = [*compiler, *flags, str(source), "-o"]
        return kept_library(
            source.stem,
            text,
            lambda target: compile_files([*command, str(target)], target.parent),
            folder,
        )
    except ToolError:
        return None


def load_library(path: Path) -> ctypes.CDLL | None:
    """Load a compiled kernel and declare its functions; None if the system refuses it."""
    try:
        library = ctypes.CDLL(str(path))
    except OSError:
        return None
    library.intaglio_code_pitch.argtypes = [_INT, _INT]
    library.intaglio_code_pitch.restype = ctypes.c_size_t
    library.intaglio_mixing_forward.argtypes = [_POINTER] * 3 + [_INT] * 8 + [_POINTER] * 2
    library.intaglio_mixing_forward.restype = _INT
    library.intaglio_mixing_backward.argtypes = [_POINTER] * 6 + [_INT] * 8 + [_POINTER] * 3
    library.intaglio_mixing_backward.restype = _INT
    library.intaglio_stem_forward.argtypes = [_POINTER] * 3 + [_INT] * 8 + [_POINTER] * 2
    library.intaglio_stem_forward.restype = _INT
    library.intaglio_stem_backward.argtypes = [_POINTER] * 4 + [_INT] * 8 + [_POINTER] * 2
    library.intaglio_stem_backward.restype = _INT
    tail = [_INT] * 3 + [ctypes.c_float]
    library.intaglio_tables_forward.argtypes = [_POINTER] * 2 + tail + [_POINTER] * 3
    library.intaglio_tables_forward.restype = None
    library.intaglio_tables_backward.argtypes = [_POINTER] * 3 + tail + [_POINTER]
    library.intaglio_tables_backward.restype = None
    library.intaglio_finish.argtypes = [_POINTER] * 3 + [ctypes.c_size_t] + [_INT] * 2 + [_POINTER]
    library.intaglio_finish.restype = None
    return library


@functools.cache
def kernel() -> ctypes.CDLL | None:
    """The kernel of this machine, or None without a compiler."""
    path = compile_kernel()
    return None if path is None else load_library(path)


def call(
    function: Callable[..., int],
    what: str,
    inputs: Sequence[Tensor],
    sizes: Sequence[int],
    results: Sequence[Tensor],
) -> None:
    """Calls a function of the kernel: addresses of what it reads, numbers, addresses of results.

    Args:
        function: The function; it gives 0 where all went well.
        what: What it needs memory for.
        inputs: Tensors that it reads, contiguous.
        sizes: Its numbers.
        results: Tensors that it writes, contiguous.

    Raises:
        MemoryError: It found none.
    """
    read = [tensor.data_ptr() for tensor in inputs]
    written = [tensor.data_ptr() for tensor in results]
    if function(*read, *sizes, *written):
        raise MemoryError(f"no memory for {what}")


def keep_large_buffers() -> bool:
    """Let the C library keep freed memory instead of handing it back (glibc only).

    A training step allocates and frees the same maps again and again; without this every step
    takes new pages from the system, which costs about a twentieth of its time. It changes the
    whole process, so only a program that trains should call it.

    Returns:
        Whether the C library took the settings.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    return bool(mallopt(mmap_threshold, 1 << 30)) and bool(mallopt(trim_threshold, (1 << 31) - 1))
