"""Emitted C on emulated processors, beside the integer graph in onnxruntime.

AArch64 programs run in QEMU's user mode, images for Cortex-M on whole boards. What does not fit an
emulated memory, or takes too long, gives a row with the reason.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from intaglio.bundle import Bundle
from intaglio.errors import IntaglioError
from intaglio.targets.base import TensorSpec
from intaglio.targets.c import boards
from intaglio.targets.c.emulated import FLAGS, Emulated
from intaglio.targets.c.library import Port
from numpy.typing import NDArray

from benchmarks.exactness import c_code
from benchmarks.exactness.compare import Tally, compare
from benchmarks.quantization.cases import Case

Arrays = Mapping[str, NDArray[Any]]
#: Outputs and inner tensors of one inference, by name.
Found = tuple[Arrays, Arrays]

#: Variant to the board that has its processor; None where QEMU's user mode runs it.
VARIANTS: Mapping[str, str | None] = {
    "neon": None,
    "dotprod": None,
    "dsp": "cortex-m4",
    "mve": "cortex-m55",
}
#: Time that a board may take for all inputs of a model.
SECONDS = 180.0
#: Programs that are compiled and emulated at once.
AT_ONCE = 2


def published(
    name: str, shared: Path, count: int, folder: Path, profiles: Sequence[str] = c_code.PROFILES
) -> Iterator[dict[str, Any]]:
    """As :func:`benchmarks.exactness.c_code.published`; a row a profile and emulated variant."""
    return c_code.published(name, shared, count, folder, profiles, rows)


def emitted(
    case: Case, count: int, folder: Path, profiles: Sequence[str] = c_code.PROFILES
) -> Iterator[dict[str, Any]]:
    """As :func:`benchmarks.exactness.c_code.emitted`; a row a profile and emulated variant."""
    return c_code.emitted(case, count, folder, profiles, rows=rows)
