"""The emitted C of a table network as a shared library of this machine, called through ctypes."""

from __future__ import annotations

import concurrent.futures
import ctypes
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.compiler import compile_files, require_compiler
from intaglio.targets.c.library import library_name, load_library

_TIMER = """\
/* Compiles {name}, and takes the time of it. */
#define _POSIX_C_SOURCE 199309L
#include <time.h>
#include "{name}.c"

int timer_sizes(int what)
{{
    return what == 0 ? {upper}_STRIDE : {upper}_UPSCALE;
}}

/* Nanoseconds of processor time that so many runs take. */
int64_t timer_time(const uint8_t *in, ptrdiff_t in_stride, int width, int height, uint8_t *out,
                   ptrdiff_t out_stride, void *scratch, int count)
{{
    struct timespec before, after;
    int i;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    for (i = 0; i < count; i++) {{
        {name}_run(in, in_stride, width, height, out, out_stride, scratch);
    }}
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    return (int64_t)(after.tv_sec - before.tv_sec) * 1000000000 + (after.tv_nsec - before.tv_nsec);
}}
"""

Plane = NDArray[np.uint8]


class ImageLibrary:
    """A compiled table network; calls from several threads do not wait for each other.

    Args:
        sources: Folder of the emitted files.
        name: Their prefix.
        build: Folder to compile in; it is not needed afterwards.
        flags: Arguments for the compiler.
        compiler: The compiler; None for the system's.

    Attributes:
        stride: Pixels a cell has on each side.
        upscale: Pixels of the result a cell has on each side.

    Raises:
        ToolError: There is no compiler, or it failed.
    """

    def __init__(
        self,
        sources: Path,
        name: str,
        build: Path,
        flags: Sequence[str],
        compiler: str | None = None,
    ) -> None:
        sources = sources.resolve()
        text = _TIMER.format(name=name, upper=name.upper())
        (build / "emitted__timer.c").write_text(text, encoding="utf-8")
        target = build / library_name("timer")
        command = [
            *((compiler,) if compiler else require_compiler()), "-std=c99", "-shared", "-fPIC",
            *flags, f"-I{sources}", "emitted__timer.c", str(sources / f"{name}_weights.c"),
            "-o", str(target),
        ]  # fmt: skip
        compile_files(command, build)
        library = load_library(target)
        self._scratch_bytes = getattr(library, f"{name}_scratch_bytes")
        self._scratch_bytes.restype = ctypes.c_size_t
        self._band = getattr(library, f"{name}_run_band")
        self._band.restype = None
        self._time = library.timer_time
        self._time.restype = ctypes.c_int64
        self.stride = int(library.timer_sizes(0))
        self.upscale = int(library.timer_sizes(1))

    def scratch_bytes(self, width: int) -> int:
        """Bytes of working memory for images of a width."""
        return int(self._scratch_bytes(width))

    def run(self, plane: Plane, bands: int = 1) -> Plane:
        """The result for a plane.

        Args:
            plane: uint8 (height, width), not empty, with rows of neighbouring bytes.
            bands: Bands of rows, each computed on a thread of its own; at most one a row of cells.
        """
        height, width = plane.shape
        result = self._empty(height, width)
        rows = -(-height // self.stride)
        bands = max(1, min(bands, rows))
        if bands == 1:
            self.run_band(plane, result, 0, rows)
            return result
        edges = [rows * band // bands for band in range(bands + 1)]
        with concurrent.futures.ThreadPoolExecutor(bands) as pool:
            done = [
                pool.submit(self.run_band, plane, result, first, end)
                for first, end in itertools.pairwise(edges)
            ]
            for band in done:
                band.result()
        return result

    def run_band(self, plane: Plane, result: Plane, first: int, end: int) -> None:
        """Writes rows of cells of a result; see the emitted header.

        Args:
            plane: uint8 (height, width) with rows of neighbouring bytes.
            result: Where to, of the whole result's size.
            first: First row of cells.
            end: One behind the last.
        """
        scratch = self._scratch(plane)
        self._band(*_image(plane, result), first, end, ctypes.c_void_p(scratch.ctypes.data))

    def seconds(self, plane: Plane, count: int) -> float:
        """Processor time of one run on one thread, averaged over ``count`` of them."""
        result, scratch = self._empty(*plane.shape), self._scratch(plane)
        memory = ctypes.c_void_p(scratch.ctypes.data)
        return int(self._time(*_image(plane, result), memory, count)) / count / 1e9

    def _empty(self, height: int, width: int) -> Plane:
        return np.zeros([size * self.upscale // self.stride for size in (height, width)], np.uint8)

    def _scratch(self, plane: Plane) -> NDArray[np.uint8]:
        """Working memory that is not zero: nothing may lean on zeros there."""
        return np.full(self.scratch_bytes(plane.shape[1]), 0xA5, np.uint8)


def _image(plane: Plane, result: Plane) -> tuple[Any, ...]:
    """Arguments of the emitted functions for an image and its result."""
    height, width = plane.shape
    return (
        ctypes.c_void_p(plane.ctypes.data),
        ctypes.c_ssize_t(plane.strides[0]),
        ctypes.c_int(width),
        ctypes.c_int(height),
        ctypes.c_void_p(result.ctypes.data),
        ctypes.c_ssize_t(result.strides[0]),
    )
