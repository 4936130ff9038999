"""How fast is the emitted C on this machine, beside LiteRT and onnxruntime?

    python -m benchmarks.host_speed.run [--network NAME ...] [--samples 60] [--shared DIR]

Every network runs as emitted C (each kind of kernel that the processor has, and plain C), in LiteRT
with XNNPACK and with its built-in kernels, and in onnxruntime, float and quantized by its own
``quantize_static`` (U8S8). All take turns: one thread, time of the processor, batch 1, the tenth
percentile of samples of about a millisecond each. Repeat it on an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from intaglio.errors import IntaglioError
from intaglio.targets.base import TensorSpec
from intaglio.targets.c.session import CSession
from intaglio.timing import Contestant, time_in_turns
from intaglio.timing_contestants import (
    LibraryContestant,
    LitertContestant,
    OnnxContestant,
    random_inputs,
)

from benchmarks.common import MissingDataError, default_shared, environment, write_json
from benchmarks.host_speed import report
from benchmarks.host_speed.networks import NETWORKS, Files, make_files

RESULTS = Path(__file__).resolve().parent / "results"


@dataclasses.dataclass(frozen=True)
class Row:
    """One network in one runtime, in microseconds of the processor's time.

    Attributes:
        network: Key of the network.
        runtime: What ran it.
        p10_us: Tenth percentile of the samples.
        median_us: Median of the samples.
        samples: How many there were.
    """

    network: str
    runtime: str
    p10_us: float
    median_us: float
    samples: int


def open_all(files: Files) -> dict[str, Contestant]:
    """All that run a network, by name.

    Raises:
        IntaglioError: One does not run.
    """
    artifact = files.bundle.artifact("c")
    inputs = random_inputs(artifact.inputs)
    found: dict[str, Contestant] = {}
    for runtime in files.bundle.opener(artifact).runtimes(artifact):
        session = CSession(artifact, files.bundle.folder, runtime.name)
        found[f"c, {runtime.name}"] = LibraryContestant(session.library, inputs)
    for kernels, title in (("xnnpack", "XNNPACK"), ("builtin", "built-in kernels")):
        found[f"LiteRT int8, {title}"] = LitertContestant(files.tflite, kernels, 1)
    specs = _float_specs(files)
    for path, title in ((files.float, "float"), (files.static, "U8S8")):
        found[f"onnxruntime {title}"] = OnnxContestant(path, random_inputs(specs), 1)
    return found


def _float_specs(files: Files) -> list[TensorSpec]:
    import onnx

    graph = onnx.load(str(files.float), load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    return [
        TensorSpec(
            value.name, tuple(d.dim_value or 1 for d in value.type.tensor_type.shape.dim), "float32"
        )
        for value in graph.input
        if value.name not in constants
    ]


def measure(name: str, files: Files, samples: int, seconds: float) -> tuple[list[Row], list[str]]:
    """Times a network everywhere; the rows, and what failed."""
    rows, failed = [], []
    with contextlib.ExitStack() as stack:
        contestants = open_all(files)
        for contestant in contestants.values():
            stack.callback(contestant.close)
        timed = time_in_turns(contestants, samples, seconds)
    for runtime, timing in timed.items():
        if isinstance(timing, Exception):
            failed.append(f"{runtime}: {timing}")
            continue
        p10, median = (1e6 * timing.seconds("processor", p) for p in (10, 50))
        rows.append(Row(name, runtime, p10, median, len(timing.samples)))
    return rows, failed


def main() -> None:
    """Measures, writes the results, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", action="append", choices=sorted(NETWORKS))
    parser.add_argument("--samples", type=int, default=60, help="of each runtime, at most")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each runtime, about")
    parser.add_argument("--shared", type=Path, default=default_shared())
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--tables", action="store_true", help="draw again what is in the results")
    args = parser.parse_args()
    if args.tables:
        data = json.loads((args.out / "host_speed.json").read_text(encoding="utf-8"))
    else:
        data = _measure_all(args)
        write_json(args.out / "host_speed.json", data)
    text = report.table(data)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    report.draw(data, args.out / "speed.png")
    print(text)


def _measure_all(args: argparse.Namespace) -> Mapping[str, Any]:
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        for name in args.network or NETWORKS:
            try:
                files = make_files(NETWORKS[name], args.shared / "zoo", Path(place) / name)
                found, failed = measure(name, files, args.samples, args.seconds)
            except (MissingDataError, IntaglioError) as error:
                left_out[name] = str(error).splitlines()[0]
                continue
            rows += found
            left_out.update({f"{name}, {line.split(':')[0]}": line for line in failed})
            print(f"done: {name}", flush=True)
    return {
        "rows": [dataclasses.asdict(row) for row in rows],
        "versions": {name: version(name) for name in ("ai-edge-litert", "onnxruntime")},
        "left_out": left_out,
        "environment": environment(),
    }


if __name__ == "__main__":
    main()
