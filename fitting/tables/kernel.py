"""Compile and load ``kernel.c``: the table layers and their gradients in fast C.

The file is compiled at first use by the system's ``cc`` for this very processor and kept in the
user's cache folder under a name made of everything that decides the result. Without a compiler
there is no kernel, and the operators fall back to PyTorch.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC")
_SOURCE = Path(__file__).with_name("kernel.c")
_INT = ctypes.c_int
_POINTER = ctypes.c_void_p


def cache_folder() -> Path:
    """Where the compiled kernels are kept (``XDG_CACHE_HOME`` or ``~/.cache``)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "intaglio" / "kernels"


def _processor() -> str:
    """What ``-march=native`` depends on: a home folder may be shared by several machines."""
    info = Path("/proc/cpuinfo")
    flags = ""
    if info.exists():
        lines = info.read_text(errors="replace").splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {flags}"


def compile_kernel(
    folder: Path, flags: tuple[str, ...] = FLAGS, source: Path = _SOURCE
) -> Path | None:
    """Compile ``kernel.c`` or another file into ``folder`` unless it is there.

    Args:
        folder: Where the shared library goes; made if needed.
        flags: Flags for the compiler.
        source: The C file.

    Returns:
        The library, or None without a compiler that can make it.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    text = source.read_bytes() + repr((compiler, flags, _processor())).encode()
    library = folder / f"{source.stem}-{hashlib.sha256(text).hexdigest()[:20]}.so"
    if library.exists():
        return library
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A private file that is renamed at the end: two processes may compile at once.
        handle, name = tempfile.mkstemp(suffix=".so", dir=folder)
        os.close(handle)
        partial = Path(name)
        command = [compiler, *flags, "-o", str(partial), str(source)]
        try:
            if subprocess.run(command, capture_output=True, check=False).returncode != 0:
                return None
            partial.replace(library)
        finally:
            partial.unlink(missing_ok=True)
    except OSError:
        return None
    return library


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
    path = compiled()
    return None if path is None else load_library(path)


def compiled(source: Path = _SOURCE) -> Path | None:
    """The library of a C file of this package for this machine, or None without a compiler."""
    path = compile_kernel(cache_folder(), source=source)
    if path is not None:
        return path
    # A folder of our own in this process: one with a fixed name could be somebody else's.
    folder = tempfile.TemporaryDirectory(prefix="intaglio-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return compile_kernel(Path(folder.name), source=source)


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
