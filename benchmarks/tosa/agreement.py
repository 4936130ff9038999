"""Does the TOSA reference model give the bits of the integer graph?

    python -m benchmarks.tosa.agreement [--model NAME ...] [--inputs 200] [--shared DIR]

Published int8 files of the zoo are read, float models of the zoo and the sample models quantized
on their calibration data (without the steps that only choose better numbers); each is converted to
``onnx-integer`` and ``tosa`` in profiles ``tflm`` and ``tosa-single``. Both run on the same inputs,
half of them real and half random integers, and every output value is compared. What TOSA cannot
take is listed with the reason. Beside these: the device's part of a split model, the inference of
bundles of which all layers train, and the table networks of the sample models on cut pictures.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import intaglio
import numpy as np
import onnx_ir as ir
from intaglio.bundle import Bundle
from intaglio.errors import UnsupportedError
from intaglio.fitting.picture_files import find_pictures, read_picture
from intaglio.passes.table_networks.read import read_network
from intaglio.targets.reading import read_model
from intaglio.targets.tosa.session import TosaSession
from numpy.typing import NDArray

from benchmarks.common import (
    MissingDataError,
    default_shared,
    environment,
    existing,
    markdown_table,
    write_json,
)
from benchmarks.exactness.c_code import turned
from benchmarks.exactness.inputs import PUBLISHED, centered_pictures, quantized, random_integers
from benchmarks.quantization.cases import Case, all_cases

RESULTS = Path(__file__).resolve().parent / "results"
SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
PROFILES = ("tflm", "tosa-single")
TARGETS = ("onnx-integer", "tosa")
#: Published quantized files, and what real inputs of each are; the last is of uint8.
FILES = {**PUBLISHED, "coral_mobilenet_v1_0.25_128_quant": centered_pictures}
#: Steps that choose among numbers: whichever they choose, the bits must agree.
PLAIN = {
    "calibrate.equalize_channels.enabled": False,
    "calibrate.fit_channels.enabled": False,
    "calibrate.reuse_channels.enabled": False,
    "calibrate.round_weights.enabled": False,
}


def published(name: str, shared: Path, count: int, folder: Path) -> Iterator[dict[str, Any]]:
    """A published int8 file; a row a profile."""
    path = existing(shared / "zoo" / f"{name}.tflite")
    for profile in PROFILES:
        convert = partial(intaglio.convert, path, out=folder / f"{name}-{profile}")

        def real(shape: tuple[int, ...]) -> NDArray[Any]:
            return FILES[name](shared / "data", shape, count // 2)

        yield _row(name, profile, convert, {"lower.profile": profile}, real, count)


def emitted(
    case: Case,
    count: int,
    folder: Path,
    *,
    recipe: str = "int8",
    role: str = "model",
    sets: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[dict[str, Any]]:
    """A float model; a row a profile."""
    drawn, fresh = case.draw(0)[:100], case.draw(1)[: count // 2]
    shape = [1, *drawn.shape[1:]]
    # The input's own name: cases of TFLite files have another.
    [source] = read_model(case.model).graph.inputs
    for profile in PROFILES:
        convert = partial(
            intaglio.convert,
            case.model,
            recipe,
            calibration={str(source.name): drawn},
            shapes={str(source.name): shape},
            out=folder / f"{case.name}-{profile}",
        )
        own = {**sets, "lower.profile": profile}
        name = case.name if recipe == "int8" else f"{case.name}, {recipe}"
        yield _row(name, profile, convert, own, lambda s: fresh.reshape(-1, *s), count, role)


def _row(
    name: str,
    profile: str,
    convert: Callable[..., Bundle],
    sets: Mapping[str, Any],
    real: Callable[[tuple[int, ...]], NDArray[Any]],
    count: int,
    role: str = "model",
) -> dict[str, Any]:
    """Converts, runs both on all inputs and counts what differs."""
    start = time.perf_counter()
    row: dict[str, Any] = {"model": name, "profile": profile}
    try:
        bundle = convert(targets=TARGETS, sets=dict(sets))
    except UnsupportedError as error:
        return {**row, "refused": sorted({refusal.reason for refusal in error.refusals})}
    artifact, twin = bundle.artifact("tosa", role), bundle.artifact("onnx-integer", role)
    [spec], [own] = twin.inputs, artifact.inputs
    shape = tuple(d if isinstance(d, int) else 1 for d in spec.shape)
    taken = quantized(real(shape), spec)
    inputs = np.concatenate([taken, random_integers(spec, count - len(taken))])
    given = np.stack([turned(sample, spec, own) for sample in inputs])
    golden = bundle.opener(twin).open(twin, bundle.folder)
    path = bundle.folder / artifact.path
    with TosaSession(path, artifact.inputs, artifact.outputs) as session:
        found = session.run_many({own.name: given}).outputs
    values = differing = 0
    for index, sample in enumerate(inputs):
        expected = golden.run({spec.name: sample}).outputs
        for mine, theirs in zip(artifact.outputs, twin.outputs, strict=True):
            wanted = turned(expected[theirs.name], theirs, mine)
            values += wanted.size
            differing += int((found[mine.name][index].reshape(wanted.shape) != wanted).sum())
    return {
        **row,
        "inputs": len(inputs),
        "real": len(taken),
        "values": values,
        "differing": differing,
        "seconds": round(time.perf_counter() - start, 1),
    }


def table_network(name: str, count: int, folder: Path) -> Iterator[dict[str, Any]]:
    """A table network on squares cut out of the sample's pictures; its definition is the judge."""
    start, side = time.perf_counter(), 32
    sample = SAMPLES / name
    bundle = intaglio.convert(
        sample / f"{name}.onnx", "lut", TARGETS, out=folder / name,
        shapes={"image": [1, 1, side, side]},
    )  # fmt: skip
    artifact, twin = bundle.artifact("tosa"), bundle.artifact("onnx-integer")
    network = read_network(ir.load(bundle.folder / twin.path))
    if network is None:
        raise RuntimeError(f"{name} is no table network")
    random = np.random.default_rng(0)
    pictures = [plane for file in find_pictures(sample) for plane in read_picture(file).planes]
    planes = [
        plane[top : top + side, left : left + side]
        for plane in (pictures[index % len(pictures)] for index in range(count // 2))
        for top, left in [random.integers(0, np.array(plane.shape) - side + 1)]
    ]
    real = len(planes)
    planes += list(random.integers(0, 256, (count - real, side, side)).astype(np.uint8))
    path, given = bundle.folder / artifact.path, np.stack(planes)[:, None, None]
    with TosaSession(path, artifact.inputs, artifact.outputs) as session:
        found = session.run_many({"image": given}).outputs["result"][:, 0, 0]
    wanted = np.stack([network.apply(np.ascontiguousarray(plane)) for plane in planes])
    yield {
        "model": name,
        "profile": "its own",
        "inputs": len(planes),
        "real": real,
        "values": wanted.size,
        "differing": int((found != wanted).sum()),
        "seconds": round(time.perf_counter() - start, 1),
    }


def jobs(shared: Path, count: int, folder: Path) -> dict[str, Callable[[], Iterator[Any]]]:
    """What there is to compare, by name."""
    found: dict[str, Callable[[], Iterator[Any]]] = {
        name: partial(published, name, shared, count, folder) for name in FILES
    }

    def run_case(open_case: Callable[[], Case], **options: Any) -> Iterator[Any]:
        yield from emitted(open_case(), count, folder, **{"sets": PLAIN, **options})

    cases = all_cases(shared)
    for name, open_case in cases.items():
        found[name] = partial(run_case, open_case)
    for name in ("digits", "spoken_digits"):
        found[f"{name}, forward-gradient"] = partial(
            run_case, cases[name], recipe="forward-gradient",
            sets={"train.select_layers.layers": "all"},
        )  # fmt: skip
    for name in ("digits", "fashion"):
        found[f"{name}, split"] = partial(
            run_case, cases[name], recipe="split", role="device", sets={}
        )
    for name in ("superres_lut", "denoise_lut"):
        found[name] = partial(table_network, name, count, folder)
    return found


def report(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    head = ["model", "profile", "inputs", "output values", "differ"]
    cells = [
        [row["model"], row["profile"], "refused: " + "; ".join(row["refused"]), "", ""]
        if "refused" in row
        else [
            row["model"],
            row["profile"],
            f"{row['inputs']} ({row['real']} real)",
            f"{row['values']:,}",
            str(row["differing"]),
        ]
        for row in rows
    ]
    return f"# TOSA reference model and integer graph\n\n{markdown_table(head, cells)}\n"


def main() -> None:
    """Compares, and writes ``results/agreement.*``; rows of other models stay."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", nargs="*")
    parser.add_argument("--inputs", type=int, default=200)
    parser.add_argument("--shared", type=Path, default=default_shared())
    given = parser.parse_args()
    path = RESULTS / "agreement.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        known = jobs(given.shared, given.inputs, Path(folder))
        for name in given.model or known:
            try:
                made = list(known[name]())
            except MissingDataError as error:
                print(f"{name}: left out: {error}")
                continue
            rows = [row for row in rows if row["model"] != made[0]["model"]] + made
            write_json(path, {"environment": environment(), "rows": rows})
            (RESULTS / "agreement.md").write_text(report(rows), encoding="utf-8")
            for row in made:
                print(row, flush=True)


if __name__ == "__main__":
    main()
