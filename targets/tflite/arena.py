"""Memory and time of a TFLite file, measured: the arena of TFLite Micro, and latency.

The arena is measured twice. TFLite Micro reports what it took (``RecordingMicroAllocator``); and
bisection finds the smallest arena with which it initializes and computes the same outputs. The
second is what a device must provide, and may exceed the first: planning takes memory for a while.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
import statistics
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import ToolError
from intaglio.targets.base import Measurement
from intaglio.targets.tflite.sessions import DEFAULT_TIMEOUT_S, TfliteSession

#: Alignment of arenas in TFLite Micro, hence the step of the search.
_ALIGNMENT = 16
_LARGEST = 1 << 30

_PART = re.compile(r"\[RecordingMicroAllocator\] Arena allocation (\w+) (\d+) bytes")
_KIND = re.compile(r"\[RecordingMicroAllocator\] '([^']+)' used (\d+) bytes")


@dataclasses.dataclass(frozen=True)
class Arena:
    """Bytes of TFLite Micro's arena for one file, on this machine.

    Attributes:
        used_bytes: Bytes in use after a run, by TFLite Micro's own report.
        head_bytes: Part of them that holds activations and scratch buffers, planned to overlap.
        tail_bytes: Part of them that stays: structures, per-channel multipliers.
        minimum_bytes: Smallest arena that works, a multiple of 16.
        allocations: Bytes by kind of what is in the tail, as reported.
    """

    used_bytes: int
    head_bytes: int
    tail_bytes: int
    minimum_bytes: int
    allocations: Mapping[str, int]

    def measurements(self) -> list[Measurement]:
        """The figures with how they were got."""
        where = f"TFLite Micro {_version()} on a {struct.calcsize('P') * 8}-bit host"
        report = f"own report of {where} after one run"
        return [
            Measurement("arena_used_bytes", self.used_bytes, "bytes", report),
            Measurement("arena_activation_bytes", self.head_bytes, "bytes", report),
            Measurement("arena_structure_bytes", self.tail_bytes, "bytes", report),
            Measurement(
                "arena_minimum_bytes",
                self.minimum_bytes,
                "bytes",
                f"bisection: smallest that initializes and gives the same outputs, {where}",
            ),
        ]


def measure_arena(path: Path, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Arena:
    """Measures the arena that a file needs in TFLite Micro.

    Figures of a 64-bit host; pointers of a 32-bit device make the structures smaller.

    Args:
        path: The file.
        timeout_s: Seconds that one run may take.

    Returns:
        The figures.

    Raises:
        InputError: The file is missing or damaged, or TFLite Micro refuses it.
        ToolError: TFLite Micro is not installed, crashed, or gave no answer in time.
    """
    with TfliteSession(path, "tflm", timeout_s=timeout_s) as session:
        sample = [array[None] for array in session.sample().values()]
        _, due = session.child.call("run", sample, inner=[])
        parts, kinds = _report(session)
        used = parts["total"]
        smallest = _bisect(session, sample, [array[0] for array in due], used)
    return Arena(used, parts["head"], parts["tail"], smallest, kinds)


def latency(
    path: Path,
    runtime: str,
    *,
    runs: int = 50,
    seconds: float = 2.0,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Measurement:
    """Median time of a run, without the way to the child process and back.

    Args:
        path: The file.
        runtime: Name of an installed runtime.
        runs: Runs at most, after one that is not counted.
        seconds: Begin no further run after so many seconds.
        timeout_s: Seconds that all of it may take.

    Raises:
        InputError: The file is missing or damaged, or the runtime refuses it.
        ToolError: The runtime is not installed, crashed, or gave no answer in time.
    """
    with TfliteSession(path, runtime, timeout_s=timeout_s) as session:
        sample = [array[None] for array in session.sample().values()]
        reply, _ = session.child.call("time", sample, runs=runs, seconds=seconds)
    took = reply["took"]
    how = f"median of {len(took)} runs on random input in {runtime}, one thread, this machine"
    return Measurement("latency_ms", statistics.median(took) * 1e3, "ms", how)


def _report(session: TfliteSession) -> tuple[dict[str, int], dict[str, int]]:
    session.child.call("print_allocations")
    said = session.child.said()
    parts = {name: int(size) for name, size in _PART.findall(said)}
    if not {"total", "head", "tail"} <= set(parts):
        raise ToolError(
            f"cannot read TFLite Micro's report of its arena: {said[:200]!r}",
            command=("tflite_micro", _version()),
            remedy="install the tested version of the wheel: pip install 'intaglio[tflm]'",
        )
    return parts, {name: int(size) for name, size in _KIND.findall(said)}


def _bisect(
    session: TfliteSession,
    sample: Sequence[NDArray[Any]],
    due: Sequence[NDArray[Any]],
    used: int,
) -> int:
    """Smallest multiple of the alignment that works: one step above one that does not."""
    fails, works = 0, _round_up(used)
    while not _works(session, sample, due, works):
        if works >= _LARGEST:
            raise ToolError(
                f"TFLite Micro gives the same outputs with no arena up to {_LARGEST} bytes",
                command=("tflite_micro", _version()),
                remedy="run the file in another runtime; its arena cannot be measured",
            )
        fails, works = works, works * 2
    while works - fails > _ALIGNMENT:
        middle = _round_up((fails + works) // 2)
        if middle >= works:
            middle -= _ALIGNMENT
        if _works(session, sample, due, middle):
            works = middle
        else:
            fails = middle
    return works


def _works(
    session: TfliteSession,
    sample: Sequence[NDArray[Any]],
    due: Sequence[NDArray[Any]],
    size: int,
) -> bool:
    try:
        reply, outputs = session.child.call("try_arena", sample, size=size)
    except ToolError:
        # It crashed where it should have said that the arena is too small; the next try has a
        # new child.
        return False
    return bool(reply["fits"]) and all(
        np.array_equal(have.view(np.uint8), want.view(np.uint8))
        for have, want in zip(_solid(outputs), _solid(due), strict=True)
    )


def _solid(arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Arrays whose bytes can be compared: floats that are not numbers are equal to themselves."""
    return [np.ascontiguousarray(array).reshape(-1) for array in arrays]


def _round_up(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _version() -> str:
    try:
        return importlib.metadata.version("tflite_micro")
    except importlib.metadata.PackageNotFoundError:
        return "(version unknown)"
