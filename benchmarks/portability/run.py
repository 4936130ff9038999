"""Do integer artifacts give the same bits on another x86? Here, and on one without VNNI.

    python -m benchmarks.portability.run [--all] [--shared DIR]

Converts the digits sample (with ``--all`` every float ONNX model of the zoo too) and runs its
``onnx-integer`` artifact natively and under ``qemu-x86_64 -cpu max``; every value of every tensor
is compared. Beside it stand controls:
products of uint8 and int8, which such a processor gets wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import intaglio
import numpy as np
import onnx
from intaglio.bundle import Bundle
from intaglio.errors import IntaglioError
from intaglio.targets.onnx.session import with_outputs
from intaglio.transforms.scales import TensorQuantization
from numpy.typing import NDArray

from benchmarks.common import ROOT, default_shared, environment, markdown_table, write_json
from benchmarks.portability import emulation

RESULTS = Path(__file__).resolve().parent / "results"

# Side of the picture for models that take any size.
_FREE_SIDE = 24


@dataclasses.dataclass(frozen=True)
class Row:
    """A model's result: values that differ of all, and seconds here and there."""

    name: str
    different: int
    total: int
    native_seconds: float
    emulated_seconds: float


def digits_job(folder: Path) -> emulation.Job:
    """The integer artifact of the digits sample, on test images, random and extreme inputs."""
    sample = ROOT / "sample_models" / "digits"
    bundle = intaglio.convert(
        sample / "digits.onnx",
        targets=["onnx-qdq", "onnx-integer"],
        calibration=sample / "calibration.npz",
        out=folder / "digits",
    )
    with np.load(sample / "test.npz") as archive:
        images = archive["image"][:64]
    spec = bundle.artifact("onnx-integer").inputs[0]
    quantization = TensorQuantization(spec.dtype, (spec.scale or 1.0,), (spec.zero_point or 0,))
    return _job(bundle, quantization.quantize(images))


def zoo_job(model: Path, folder: Path) -> emulation.Job:
    """The integer artifact of a model calibrated on random numbers, on integer inputs.

    Raises:
        IntaglioError: The model cannot be converted.
    """
    shapes: dict[str, list[int]] = {}
    for name, shape in model_inputs(model).items():
        if any(not isinstance(d, int) for d in shape[1:]):
            shapes[name] = [d if isinstance(d, int) else _FREE_SIDE for d in shape]
    bundle = intaglio.convert(
        model,
        targets=["onnx-integer"],
        random_calibration=True,
        shapes=shapes or None,
        out=folder / model.stem,
        sets=["calibrate.round_weights.enabled=false"],
    )
    return _job(bundle, None)


def model_inputs(model: Path) -> dict[str, list[int | str]]:
    """Names and dimensions of the inputs of an ONNX file."""
    graph = onnx.load(str(model)).graph
    constants = {tensor.name for tensor in graph.initializer}
    return {
        value.name: [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
        for value in graph.input
        if value.name not in constants
    }


def _job(bundle: Bundle, real: NDArray[Any] | None) -> emulation.Job:
    artifact = bundle.artifact("onnx-integer")
    inputs = {}
    for spec in artifact.inputs:
        shape = [d if isinstance(d, int) else 1 for d in spec.shape[1:]]
        samples = emulation.integer_inputs(shape, spec.dtype, real=real)
        # A model with a batch of one gets one random sample.
        inputs[spec.name] = samples if isinstance(spec.shape[0], str) else samples[:1]
    path = bundle.folder / artifact.path
    # All inner tensors are compared too: ten class scores alone would hide much.
    graph = onnx.load(str(path)).graph
    inner = [name for node in graph.node for name in node.output]
    everything = path.with_name("everything.onnx")
    everything.write_bytes(with_outputs(path.read_bytes(), inner))
    return emulation.Job(everything, inputs)


def compare(names: list[str], jobs: list[emulation.Job]) -> tuple[list[Row], list[str]]:
    """Runs all jobs on both machines.

    Returns:
        A row a job, and the vector extensions of the emulated machine.
    """
    here = emulation.run_jobs(jobs, emulated=False)
    there = emulation.run_jobs(jobs, emulated=True)
    rows = []
    for i, name in enumerate(names):
        different, total = emulation.differing(here.outputs[i], there.outputs[i])
        rows.append(Row(name, different, total, here.seconds[i], there.seconds[i]))
    return rows, there.features


def compare_controls(folder: Path) -> list[dict[str, Any]]:
    """For each control, how many outputs are wrong here and there."""
    found = []
    made = [emulation.control(folder, *types) for types in emulation.CONTROLS]
    jobs = [job for job, _ in made]
    runs = {
        "native": emulation.run_jobs(jobs, emulated=False).outputs,
        "emulated": emulation.run_jobs(jobs, emulated=True).outputs,
    }
    for i, (operator, x_type, w_type) in enumerate(emulation.CONTROLS):
        exact = made[i][1]
        row: dict[str, Any] = {"operator": operator, "input": x_type, "constant": w_type}
        row["outputs"] = int(exact.size)
        for place, outputs in runs.items():
            errors = np.abs(outputs[i]["y"].astype(np.int64) - exact)
            row[place] = int(np.count_nonzero(errors))
            row[f"{place}_largest"] = int(errors.max())
        found.append(row)
    return found


def table(data: dict[str, Any]) -> str:
    """The results in Markdown."""
    rows = [
        [
            row["name"],
            f"{row['total']:,}",
            f"**{row['different']:,}**",
            f"{1000 * row['native_seconds']:,.0f}",
            f"{1000 * row['emulated_seconds']:,.0f}",
        ]
        for row in data["models"]
    ]
    controls = [
        [
            f"{each['operator']}, {each['input']} by {each['constant']}",
            f"{each['outputs']:,}",
            f"{each['native']:,}",
            f"{each['emulated']:,}",
            f"{each['emulated_largest']:,}",
        ]
        for each in data["controls"]
    ]
    env = data["environment"]
    parts = [
        markdown_table(
            ["`onnx-integer` artifact", "values", "differ", "native ms", "emulated ms"], rows
        ),
        markdown_table(
            ["control", "outputs", "wrong here", "wrong emulated", "largest error"], controls
        ),
        f"Here: {env['processor']}. Emulated: {', '.join(data['emulated_extensions'])}. "
        f"{env['date']}, onnxruntime {env['onnxruntime']}.",
    ]
    parts += [f"Left out: {name}: {reason}" for name, reason in data["left_out"].items()]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measures, writes the results, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="the models of the zoo too")
    parser.add_argument("--shared", type=Path, default=default_shared())
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if not emulation.available():
        parser.error(f"{emulation.QEMU} is missing; Debian has it in {emulation.PACKAGE}")

    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names, jobs = ["digits"], [digits_job(folder)]
        for model in sorted((args.shared / "zoo").glob("*.onnx")) if args.all else []:
            try:
                jobs.append(zoo_job(model, folder))
            except IntaglioError as error:
                left_out[model.name] = str(error).splitlines()[0]
                continue
            names.append(model.stem)
            print(f"converted {model.name}", flush=True)
        rows, extensions = compare(names, jobs)
        controls = compare_controls(folder)
    data = {
        "models": [dataclasses.asdict(row) for row in rows],
        "controls": controls,
        "emulated_extensions": extensions,
        "left_out": left_out,
        "environment": environment(),
    }
    write_json(args.out / "portability.json", data)
    text = table(data)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
