"""How fast can this machine look up tables at all? The ceiling that networks are measured by."""

from __future__ import annotations

import ctypes
import tempfile
import time
from pathlib import Path

import numpy as np
from intaglio.targets.c.compiler import compile_files, require_compiler
from intaglio.targets.c.library import library_name, load_library
from intaglio.targets.c.variants import Variant
from intaglio.timing import Contestant, Sample
from numpy.typing import NDArray

SOURCE = Path(__file__).with_name("roofline.c")
CHANNELS, OUTPUTS, POSITIONS, ROWS = 24, 16, 64, 16
#: Table entries that a run looks up.
LOOKUPS = CHANNELS * OUTPUTS * POSITIONS
# Runs that count as one inference of a contestant: about that many microseconds.
_RUNS = 1000


class Roofline(Contestant):
    """Looks up random rows of random tables, from L1.

    Args:
        variant: Processor to compile for; this machine must run it.

    Attributes:
        kernel: What the inner loop consists of.

    Raises:
        ToolError: There is no compiler, or it failed.
    """

    how = "a loop in C"

    def __init__(self, variant: Variant) -> None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            target = Path(place) / library_name("roofline")
            command = [*require_compiler(), "-std=gnu99", "-O3", "-shared", "-fPIC", *variant.flags]
            compile_files([*command, str(SOURCE), "-o", str(target)], Path(place))
            self._library = load_library(target)
        self._library.roofline_kernel.restype = ctypes.c_char_p
        self.kernel: str = self._library.roofline_kernel().decode()
        generator = np.random.default_rng(0)
        self.tables = generator.integers(-128, 128, (CHANNELS, ROWS, OUTPUTS), np.int8)
        self.rows = generator.integers(0, ROWS, (POSITIONS, CHANNELS), np.uint8)
        self._library.roofline_prepare(_pointer(self.tables), _pointer(self.rows))

    def batch(self, count: int) -> Sample:
        """Runs ``count`` times a thousand; the mean of the thousands."""
        wall, processor = time.perf_counter(), time.process_time()
        self._library.roofline_run(ctypes.c_int64(count * _RUNS))
        return Sample(
            (time.perf_counter() - wall) / count, (time.process_time() - processor) / count
        )

    def sums(self) -> NDArray[np.int32]:
        """What the last run found, int32[positions, outputs]."""
        found = np.empty((POSITIONS, OUTPUTS), np.int32)
        self._library.roofline_result(_pointer(found))
        return found


def rate(seconds: float) -> float:
    """Look-ups a second, of the seconds that a batch of one takes."""
    return LOOKUPS * _RUNS / seconds


def _pointer(array: NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
