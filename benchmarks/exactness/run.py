"""One model, the same bits everywhere? Integer graphs beside TFLite Micro and LiteRT.

    python -m benchmarks.exactness.run [published] [emitted] [c] [emulated] [--model NAME ...]
                                       [--inputs N] [--profile NAME ...] [--shared DIR]

``published``: each int8 .tflite file of the zoo is read and converted; ``onnx-integer`` in
onnxruntime is compared with the file itself in TFLite Micro (profile ``tflm``) and in LiteRT's
reference kernels (profile ``litert``), outputs and inner tensors, on random and real inputs.

``emitted``: each float model is calibrated and converted to ``onnx-integer`` and ``tflite``;
the two artifacts are compared in the same way.

``c``: both kinds of models are converted to ``onnx-integer`` and ``c``; the C is compiled for every
variant that this machine runs, in every profile, and compared with outputs and inner tensors.

``emulated``: the same on AArch64 and on Cortex-M boards, all emulated; see ``emulated.py``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import intaglio
import numpy as np
from intaglio.bundle import Bundle
from intaglio.errors import IntaglioError
from intaglio.targets.base import TensorSpec
from intaglio.targets.tflite.sessions import TfliteSession
from intaglio.verification.inner_tensors import inner_tensors, load_graph
from numpy.typing import NDArray

from benchmarks.common import (
    MissingDataError,
    default_shared,
    environment,
    existing,
    markdown_table,
    write_json,
)
from benchmarks.exactness import c_code, emulated
from benchmarks.exactness.compare import Tally, compare
from benchmarks.exactness.inputs import PUBLISHED, quantized, random_integers
from benchmarks.quantization.cases import Case, all_cases

RESULTS = Path(__file__).resolve().parent / "results"

#: Profile to the runtime that computes it.
RUNTIMES = {"tflm": "tflm", "litert": "litert-reference"}
RANDOM, REAL = 200, 100
PARTS = ("published", "emitted", "c", "emulated")
C_INPUTS = 200
#: Inner tensors of emitted models are compared on so many of the inputs.
INNER = 20


def published(name: str, shared: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Compares a published int8 file with what is read from it; a row a profile.

    Raises:
        MissingDataError: The file or its data is not there.
    """
    path = existing(shared / "zoo" / f"{name}.tflite")
    for profile, runtime in RUNTIMES.items():
        bundle = intaglio.convert(
            path,
            targets=["onnx-integer"],
            out=folder / f"{name}-{profile}",
            sets=[f"lower.profile={profile}"],
        )
        spec = bundle.artifact("onnx-integer").inputs[0]
        shape = tuple(d if isinstance(d, int) else 1 for d in spec.shape)
        real = PUBLISHED[name](shared / "data", shape, REAL)
        inputs = np.concatenate([random_integers(spec, RANDOM), quantized(real, spec)])
        session = TfliteSession(path, runtime)
        yield _row(name, profile, bundle, session, spec, inputs, len(inputs))


def emitted(case: Case, count: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Compares the two artifacts of a float model; a row a profile."""
    drawn = case.draw(0)
    shape = [1, *drawn.shape[1:]]
    for profile, runtime in RUNTIMES.items():
        bundle = intaglio.convert(
            case.model,
            targets=["onnx-integer", "tflite"],
            calibration={case.input: drawn[:100]},
            shapes={case.input: shape},
            out=folder / f"{case.name}-{profile}",
            sets=[f"lower.profile={profile}"],
        )
        artifact = bundle.artifact("tflite")
        spec = bundle.artifact("onnx-integer").inputs[0]
        fresh = case.draw(1)[: count // 2, None]
        real = quantized(fresh.reshape(-1, *shape), spec)
        inputs = np.concatenate([real, random_integers(spec, count - len(real))])
        session = TfliteSession(bundle.folder / artifact.path, runtime)
        row = _row(case.name, profile, bundle, session, spec, inputs, INNER, artifact.inputs[0])
        yield {**row, "bytes": artifact.bytes}


def _row(
    name: str,
    profile: str,
    bundle: Bundle,
    session: TfliteSession,
    spec: TensorSpec,
    inputs: NDArray[Any],
    with_inner: int,
    file_spec: TensorSpec | None = None,
) -> dict[str, Any]:
    """Runs both on all inputs and counts what differs."""
    start = time.perf_counter()
    artifact = bundle.artifact("onnx-integer")
    golden = bundle.session("onnx-integer")
    tensors = inner_tensors(load_graph(bundle.folder / artifact.path))
    inner_names = {t.source: t.name for t in tensors if t.is_integer}
    output_names = {o.name: o.name for o in artifact.outputs}
    outputs, inner = Tally(), Tally()
    turned = file_spec is not None and file_spec.layout != spec.layout
    for index, sample in enumerate(inputs):
        wanted = inner_names if index < with_inner else {}
        fed = np.ascontiguousarray(sample.transpose(0, 2, 3, 1)) if turned else sample
        found = session.run({spec.name: fed}, inner=list(wanted))
        expected = golden.run_inner({spec.name: sample}, list(wanted.values()))
        compare(found.outputs, expected.outputs, output_names, outputs)
        compare(found.inner, expected.inner, wanted, inner)
    return {
        "model": name,
        "profile": profile,
        "runtime": RUNTIMES[profile],
        "inputs": len(inputs),
        "outputs": outputs.to_dict(),
        "inner": inner.to_dict(),
        "seconds": round(time.perf_counter() - start, 1),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The results in Markdown."""
    head = ["model", "profile", "runtime", "inputs", "output values", "different", "inner tensors"]
    head += ["inner values", "different", "largest"]
    lines = []
    for row in rows:
        names = [row["model"], row["profile"], row["runtime"]]
        if "not_run" in row:
            lines.append([*names, "0", f"not run: {row['not_run']}", *[""] * 5])
            continue
        out, inner = row["outputs"], row["inner"]
        counts = [row["inputs"], out["values"], out["different"], inner["tensors"]]
        counts += [inner["values"], inner["different"], max(out["largest"], inner["largest"])]
        lines.append([*names, *(f"{count:,}" for count in counts)])
    return markdown_table(head, lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--model", action="append", help="only these")
    parser.add_argument("--inputs", type=int, help="inputs of emitted models (1000), C (200, 5)")
    parser.add_argument("--profile", action="append", help="arithmetic of C: only these")
    parser.add_argument("--shared", type=Path, default=default_shared())
    options = parser.parse_args()
    for part in options.parts or PARTS:
        rows = _read(part)
        with tempfile.TemporaryDirectory() as folder:
            for name, measure in _measurements(part, options, Path(folder)).items():
                try:
                    found = list(measure())
                except (MissingDataError, IntaglioError) as error:
                    print(f"{name}: {error}")
                    continue
                done = {(row["model"], row["profile"], row["runtime"]) for row in found}
                rows = [r for r in rows if (r["model"], r["profile"], r["runtime"]) not in done]
                rows = sorted([*rows, *found], key=lambda r: (r["model"], r["profile"]))
                print(table(found), flush=True)
                write_json(RESULTS / f"{part}.json", {"environment": environment(), "rows": rows})
                (RESULTS / f"{part}.md").write_text(table(rows) + "\n", encoding="utf-8")


def _measurements(
    part: str, options: argparse.Namespace, folder: Path
) -> dict[str, Callable[[], Iterator[dict[str, Any]]]]:
    """What gives the rows of each model of a part."""
    shared, cases = options.shared, all_cases(options.shared)
    files = [name for name in PUBLISHED if _wanted(name, options)]
    names = [name for name in cases if _wanted(name, options)]
    count = options.inputs
    if part == "published":
        return {name: partial(published, name, shared, folder) for name in files}
    if part == "emitted":
        return {n: lambda n=n: emitted(cases[n](), count or 1000, folder) for n in names}
    profiles = options.profile or c_code.PROFILES
    if part == "emulated":
        chosen = {name: cases[name] for name in names}
        number = count or emulated.INPUTS
        return emulated.measurements(shared, files, chosen, number, folder, profiles)
    number = count or C_INPUTS
    return {
        **{n: partial(c_code.published, n, shared, number, folder, profiles) for n in files},
        **{n: lambda n=n: c_code.emitted(cases[n](), number, folder, profiles) for n in names},
    }


def _wanted(name: str, options: argparse.Namespace) -> bool:
    return not options.model or name in options.model


def _read(part: str) -> list[dict[str, Any]]:
    """Rows of earlier runs, so that one model can be measured again alone."""
    path = RESULTS / f"{part}.json"
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


if __name__ == "__main__":
    main()
