"""``bench``: how fast the artifacts of a bundle are on this machine.

Every artifact is timed in each runtime that takes it, all of them in turns. What the emitted C
takes on a microcontroller is in ``benchmarking_boards``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from intaglio.bundle import ORIGINAL_TARGET, REFERENCE_ROLE, SOURCE_TARGET
from intaglio.errors import IntaglioError
from intaglio.preparing import INFER, MODEL, TRAIN_STEP
from intaglio.progress import Progress, silent
from intaglio.table_networks import MANIFEST_KEY
from intaglio.targets.base import Artifact, Target
from intaglio.timing import Contestant, Timing, time_in_turns
from intaglio.timing_contestants import (
    LibraryContestant,
    LitertContestant,
    OnnxContestant,
    SessionContestant,
    random_inputs,
)

if TYPE_CHECKING:
    from intaglio.bundle import Bundle

_C, _QDQ, _INTEGER, _TFLITE = "c", "onnx-qdq", "onnx-integer", "tflite"
_XNNPACK, _BUILTIN, _PORTABLE = "litert", "litert-builtin", "portable"

#: What speeds are compared with, and the entries that stand for it, the first that there is.
BASELINES: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": (_QDQ, SOURCE_TARGET),
    "LiteRT XNNPACK": (f"{_TFLITE}@{_XNNPACK}", f"{ORIGINAL_TARGET}@{_XNNPACK}"),
    "LiteRT built-in": (f"{_TFLITE}@{_BUILTIN}", f"{ORIGINAL_TARGET}@{_BUILTIN}"),
}

_SECONDS = 3.0

#: What a table network is timed on, since it takes any size.
_PLANE = (1, 1, 180, 320)

_Open = Callable[[], Contestant]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One artifact in one runtime.

    Attributes:
        name: Target, and the runtime behind an @ where there are several: ``tflite@litert``.
        artifact: Path in the bundle.
        reason: Why it was not timed; None where it was.
        threads: Threads that it could use.
        median_ms: Median time of an inference.
        p10_ms: The time that a tenth of the samples stay below.
        samples: Number of samples.
        batch: Inferences that each sample is the mean of.
        how: How the time was taken.
        times_as_fast: Its speed as a multiple of each baseline's, by ``p10_ms``.
    """

    name: str
    artifact: str
    reason: str | None = None
    threads: int = 1
    median_ms: float | None = None
    p10_ms: float | None = None
    samples: int = 0
    batch: int = 0
    how: str = ""
    times_as_fast: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class HostBench:
    """Times of a bundle's artifacts on one machine.

    Attributes:
        machine: Name of the processor.
        cores: Number of its cores.
        load: How many programs wanted to run when it began; None where the system does not tell.
        threads: Threads that runtimes were allowed.
        clock: ``processor`` (time that the processor spent on it) or ``wall``.
        entries: The artifacts, in the bundle's order.
    """

    machine: str
    cores: int
    load: float | None
    threads: int
    clock: str
    entries: tuple[Entry, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON-friendly data."""
        return dataclasses.asdict(self)


def bench_bundle(
    bundle: Bundle,
    *,
    threads: int = 1,
    runs: int = 100,
    seconds: float = _SECONDS,
    progress: Progress = silent,
) -> HostBench:
    """Times all artifacts of a bundle on this machine: batch 1, random inputs.

    A table network gets one plane of 320 x 180 pixels.

    With one thread, what counts is the time that the processor spent, which other programs do not
    lengthen; with more, the time on the wall.

    Args:
        bundle: The bundle.
        threads: Threads for the runtimes that can use several.
        runs: Samples of each artifact, at most.
        seconds: Time for each artifact, about.
        progress: Told how many rounds are over.

    Returns:
        Times, and why there is none for what cannot run here.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    clock = "processor" if threads == 1 else "wall"
    entries: list[Entry] = []
    contestants: dict[str, Contestant] = {}
    with contextlib.ExitStack() as stack:
        for artifact in bundle.artifacts:
            if artifact.role == TRAIN_STEP:
                continue  # It takes weights and labels besides samples.
            for name, opened in _opened(bundle, artifact, threads):
                if isinstance(opened, Contestant):
                    contestants[name] = opened
                    stack.callback(opened.close)
                    entries.append(Entry(name, artifact.path))
                else:
                    entries.append(Entry(name, artifact.path, opened))
        timed = time_in_turns(
            contestants, runs, seconds, functools.partial(progress, "timing in turns")
        )
    filled = [
        _filled(entry, contestants[entry.name], timed[entry.name], clock)
        if entry.name in timed
        else entry
        for entry in entries
    ]
    return HostBench(
        machine=machine_name(),
        cores=os.cpu_count() or 1,
        load=load,
        threads=threads,
        clock=clock,
        entries=tuple(_compared(filled)),
    )


def machine_name() -> str:
    """Name of this machine's processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _opened(bundle: Bundle, artifact: Artifact, threads: int) -> list[tuple[str, Contestant | str]]:
    """The entries of an artifact by name: opened, or why that cannot be."""
    try:
        opener = bundle.opener(artifact)
        ways = _ways(bundle, artifact, opener, threads)
    except IntaglioError as error:
        return [(_base(artifact), str(error))]
    if not ways:
        if opener.name == _C:
            return [(_base(artifact), "there is no C compiler here")]
        return [(_base(artifact), "nothing here runs it: it is for a device")]
    found: list[tuple[str, Contestant | str]] = []
    for name, way in ways:
        try:
            found.append((name, way()))
        except IntaglioError as error:
            found.append((name, str(error)))
    return found


def _base(artifact: Artifact) -> str:
    """What to call an artifact: its target; with its role where a bundle has several."""
    plain = artifact.role in (MODEL, INFER, REFERENCE_ROLE)
    return artifact.target if plain else f"{artifact.target}/{artifact.role}"


def _ways(
    bundle: Bundle, artifact: Artifact, opener: Target, threads: int
) -> Sequence[tuple[str, _Open]]:
    """How an artifact can be run here, by name of the entry."""
    base = _base(artifact)
    path = bundle.folder / artifact.path
    specs = artifact.inputs
    takes_planes = MANIFEST_KEY in bundle.manifest
    if takes_planes:
        specs = tuple(dataclasses.replace(spec, shape=_PLANE) for spec in specs)
    inputs = random_inputs(specs)
    if opener.name in (_QDQ, _INTEGER):
        return [(base, functools.partial(OnnxContestant, path, inputs, threads))]
    if opener.name == _TFLITE:
        return [
            (f"{base}@{name}", functools.partial(LitertContestant, path, kernels, threads))
            for name, kernels in ((_XNNPACK, "xnnpack"), (_BUILTIN, "builtin"))
        ]
    runtimes = [runtime.name for runtime in opener.runtimes(artifact)]
    if opener.name == _C and not takes_planes:
        # The fastest, and plain C beside it.
        chosen = [name for name in runtimes if name in (runtimes[0], _PORTABLE)]
        return [
            (f"{base}@{name}", functools.partial(_library, bundle, artifact, name, inputs))
            for name in chosen
        ]
    return [
        (f"{base}@{name}", functools.partial(_session, bundle, artifact, opener, name, inputs))
        for name in runtimes
    ]


def _library(
    bundle: Bundle, artifact: Artifact, variant: str, inputs: Mapping[str, NDArray[Any]]
) -> Contestant:
    from intaglio.targets.c.session import CSession

    return LibraryContestant(CSession(artifact, bundle.folder, variant).library, inputs)


def _session(
    bundle: Bundle,
    artifact: Artifact,
    opener: Target,
    runtime: str,
    inputs: Mapping[str, NDArray[Any]],
) -> Contestant:
    return SessionContestant(opener.open(artifact, bundle.folder, runtime), inputs)


def _filled(entry: Entry, contestant: Contestant, timing: Timing | Exception, clock: str) -> Entry:
    if isinstance(timing, Exception):
        return dataclasses.replace(entry, reason=f"it failed: {timing}")
    return dataclasses.replace(
        entry,
        threads=contestant.threads,
        median_ms=1e3 * timing.seconds(clock, 50),
        p10_ms=1e3 * timing.seconds(clock, 10),
        samples=len(timing.samples),
        batch=timing.batch,
        how=contestant.how,
    )


def _compared(entries: Sequence[Entry]) -> list[Entry]:
    """The entries with how many times as fast they are as each baseline that was timed."""
    times = {entry.name: entry.p10_ms for entry in entries if entry.p10_ms}
    bases = {
        title: next((times[name] for name in names if name in times), None)
        for title, names in BASELINES.items()
    }
    return [
        dataclasses.replace(
            entry,
            times_as_fast={title: base / entry.p10_ms for title, base in bases.items() if base},
        )
        if entry.p10_ms
        else entry
        for entry in entries
    ]
