"""How long does it take to enlarge 320×180 to 1280×720, with a table network and with FSRCNN?

    python -m benchmarks.restoration.latency MODEL.onnx [NAME=MODEL.onnx ...] [--samples 40]
        [--seconds 4] [--shared DIR] [--out DIR]

Table networks run as emitted C, in every kind of kernel that the processor has. FSRCNN ×4 of the
zoo runs in onnxruntime (float, our QDQ form, and quantized by onnxruntime itself), in LiteRT, and
as C emitted from our int8 form. With one thread and with two, for one plane (luma) and for three
(R, G and B, one after the other). All take turns in one run; times are by the clock on the wall,
the tenth percentile. What the emitted C of table networks computes is compared with onnxruntime
first, every pixel. The roofline is how many look-ups a second a loop reaches that does nothing
else. Repeat it on an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import intaglio
from intaglio.errors import IntaglioError
from intaglio.targets.c.host import host_variants
from intaglio.targets.c.session import CSession
from intaglio.timing import Contestant, Sample, time_in_turns
from intaglio.timing_contestants import (
    LibraryContestant,
    LitertContestant,
    OnnxContestant,
    random_inputs,
)

from benchmarks.common import MissingDataError, default_shared, environment, write_json
from benchmarks.host_speed.networks import NETWORKS, make_files
from benchmarks.restoration import latency_report
from benchmarks.restoration.emitted import HEIGHT, WIDTH, emitted_contestants
from benchmarks.restoration.quality import RESULTS
from benchmarks.restoration.roofline import Roofline, rate

THREADS = (1, 2)
PLANES = (1, 3)
_FLOAT, _INT8 = "FSRCNN, float", "FSRCNN, int8"
_QUICK = ("calibrate.round_weights.enabled=false", "calibrate.correct_bias.enabled=false")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A contestant and what it is.

    Attributes:
        method: As the table of quality calls it.
        runtime: What runs it.
        planes: Planes that it enlarges.
        contestant: Takes the time.
        lookups: Table entries that it reads for a plane; None for other networks.
        working_set: Bytes of tables and working memory; None where it is not known.
    """

    method: str
    runtime: str
    planes: int
    contestant: Contestant
    lookups: int | None = None
    working_set: int | None = None

    @property
    def key(self) -> str:
        """Its name among the others."""
        threads = self.contestant.threads
        return f"{self.method} | {self.runtime} | {self.planes} planes | {threads} threads"


class Planes(Contestant):
    """Several planes, one after the other.

    Args:
        contestant: Does one.
        count: How many.
    """

    def __init__(self, contestant: Contestant, count: int) -> None:
        self._inner, self._count = contestant, count
        self.threads, self.how = contestant.threads, contestant.how

    def batch(self, count: int) -> Sample:
        """Runs ``count`` inferences; the mean of them."""
        one = self._inner.batch(count * self._count)
        return Sample(one.wall * self._count, one.processor * self._count)


def fsrcnn(shared: Path, folder: Path, stack: contextlib.ExitStack) -> Iterator[Entry]:
    """FSRCNN in all runtimes, one plane.

    Raises:
        MissingDataError: The model is not there.
        IntaglioError: It does not convert, or a runtime refuses it.
    """
    files = make_files(NETWORKS["fsrcnn_x4"], shared / "zoo", folder / "files")
    made = intaglio.convert(
        files.float,
        targets=["onnx-qdq"],
        out=folder / "qdq",
        random_calibration=True,
        sets=list(_QUICK),
    )
    artifact = made.artifact("onnx-qdq")
    inputs = random_inputs(artifact.inputs)
    graphs = {
        ("onnxruntime", _FLOAT): files.float,
        ("onnxruntime, our QDQ", _INT8): made.folder / artifact.path,
        ("onnxruntime, its own U8S8", _INT8): files.static,
    }
    for (runtime, method), path in graphs.items():
        for threads in THREADS:
            yield Entry(method, runtime, 1, OnnxContestant(path, inputs, threads))
    for threads in THREADS:
        contestant = LitertContestant(files.tflite, "xnnpack", threads)
        stack.callback(contestant.close)
        yield Entry(_INT8, "LiteRT, XNNPACK", 1, contestant)
    artifact = files.bundle.artifact("c")
    for runtime_info in files.bundle.opener(artifact).runtimes(artifact):
        session = CSession(artifact, files.bundle.folder, runtime_info.name)
        library = LibraryContestant(session.library, random_inputs(artifact.inputs))
        yield Entry(_INT8, f"our C, {runtime_info.name}", 1, library)


def networks(models: Sequence[str], folder: Path, left_out: dict[str, str]) -> Iterator[Entry]:
    """Table networks as emitted C, one plane.

    Args:
        models: ``FILE`` or ``NAME=FILE``.
        folder: Where to compile.
        left_out: Gets the reason for each file that is no table network that enlarges by 4.

    Raises:
        ToolError: The C does not compile.
        RuntimeError: The C computes something else than onnxruntime.
    """
    for place, text in enumerate(models):
        name, equals, path = text.partition("=")
        file = Path(path if equals else text)
        title = name if equals else file.stem
        try:
            for found in emitted_contestants(file, THREADS, folder / str(place)):
                runtime = f"our C, {found.variant}"
                yield Entry(title, runtime, 1, found.contestant, found.lookups, found.working_set)
        except MissingDataError as error:
            left_out[title] = str(error)


def measure(entries: Sequence[Entry], samples: int, seconds: float) -> dict[str, Any]:
    """Times everything, with the roofline of each kind of kernel among it.

    Args:
        entries: What runs one plane.
        samples: Of each, at most.
        seconds: For each, about.
    """
    every = [
        dataclasses.replace(entry, planes=count, contestant=Planes(entry.contestant, count))
        for entry in entries
        for count in PLANES
    ]
    roofs = {variant.name: Roofline(variant) for variant in host_variants()}
    contestants: dict[str, Contestant] = {entry.key: entry.contestant for entry in every}
    contestants.update({f"roof {name}": roof for name, roof in roofs.items()})
    timed = time_in_turns(contestants, samples, seconds)
    peaks = {}
    for name, roof in roofs.items():
        timing = timed[f"roof {name}"]
        if not isinstance(timing, Exception):
            peaks[name] = {"kernel": roof.kernel, "per_s": rate(timing.seconds("processor", 10))}
    rows, failed = [], {}
    for entry in every:
        timing = timed[entry.key]
        if isinstance(timing, Exception):
            failed[entry.key] = str(timing)
            continue
        rows.append(
            {
                "method": entry.method,
                "runtime": entry.runtime,
                "planes": entry.planes,
                "threads": entry.contestant.threads,
                "p10_ms": 1e3 * timing.seconds("wall", 10),
                "median_ms": 1e3 * timing.seconds("wall", 50),
                "processor_p10_ms": 1e3 * timing.seconds("processor", 10),
                "samples": len(timing.samples),
                "lookups": None if entry.lookups is None else entry.lookups * entry.planes,
                "working_set": entry.working_set,
            }
        )
    return {"rows": rows, "peaks": peaks, "left_out": failed}


def main() -> None:
    """Measures, writes the results, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="FILE or NAME=FILE")
    parser.add_argument("--samples", type=int, default=40, help="of each, at most")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each, about")
    parser.add_argument("--shared", type=Path, default=default_shared())
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--tables", action="store_true", help="write again what is in the results")
    args = parser.parse_args()
    if args.tables:
        data = json.loads((args.out / "latency.json").read_text(encoding="utf-8"))
    else:
        data = dict(_measure_all(args))
        write_json(args.out / "latency.json", data)
    text = latency_report.table(data)
    (args.out / "latency.md").write_text(text, encoding="utf-8")
    print(text)


def _measure_all(args: argparse.Namespace) -> Mapping[str, Any]:
    left_out: dict[str, str] = {}
    entries: list[Entry] = []
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        entries += networks(args.models, Path(place), left_out)
        try:
            entries += fsrcnn(args.shared, Path(place), stack)
        except (MissingDataError, IntaglioError) as error:
            left_out["FSRCNN"] = str(error).splitlines()[0]
        data = measure(entries, args.samples, args.seconds)
    return {
        **data,
        "left_out": {**left_out, **data["left_out"]},
        "size": [WIDTH, HEIGHT],
        "versions": {name: version(name) for name in ("ai-edge-litert", "onnxruntime")},
        "environment": environment(),
    }


if __name__ == "__main__":
    main()
