"""What does Vela make of our TFLite files, beside the published int8 files of the same networks?

    python -m benchmarks.ethos_u.run [--accelerator NAME] [--shared DIR]

Each network of the zoo is compiled as published, as read from the published file and emitted anew,
and as converted from its float ONNX file where there is one. The figures are Vela's estimates; no
NPU is run. Calibration is on random numbers, without rounding the weights to them: ranges have no
part in cycles or memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import intaglio
from intaglio.errors import IntaglioError
from intaglio.targets.ethos_u.compiler import compile_tflite
from intaglio.targets.ethos_u.options import EthosUConfig
from intaglio.targets.ethos_u.target import EthosU

from benchmarks.common import (
    MissingDataError,
    default_shared,
    environment,
    existing,
    markdown_table,
    write_json,
)

RESULTS = Path(__file__).resolve().parent / "results"

PUBLISHED, READ, CONVERTED = "published", "read and emitted", "from float ONNX"

# The published int8 file of a network, and its float ONNX file.
NETWORKS = {
    "ResNet8 (image classification)": ("ic_resnet8_int8.tflite", "ic_resnet8_float.onnx"),
    "DS-CNN (keyword spotting)": ("kws_ref_model_int8.tflite", None),
    "MobileNetV1-0.25 (visual wake words)": ("vww_96_int8.tflite", "vww_96_float.onnx"),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """Vela's figures for one file.

    Attributes:
        network: What it computes.
        file: Which file: published, read and emitted, or from float ONNX.
        tflite_bytes: Size of the file that Vela was given.
        vela_bytes: Size of what it made.
        cycles: Cycles of one inference.
        inferences_per_second: At the clock of the system configuration.
        sram_bytes: SRAM used.
        flash_bytes: Off-chip flash used.
        npu_operators: Operators of the file that run on the NPU.
        cpu_operators: Those that do not.
        reasons: Why they do not.
    """

    network: str
    file: str
    tflite_bytes: int
    vela_bytes: int
    cycles: int
    inferences_per_second: float | None
    sram_bytes: int
    flash_bytes: int
    npu_operators: int
    cpu_operators: int
    reasons: tuple[str, ...]


def published_row(network: str, path: Path, accelerator: Any) -> tuple[Row, str]:
    """Compiles a file as it is; gives its row, and the configuration in words."""
    made = compile_tflite(path.read_bytes(), EthosUConfig(accelerator=accelerator))
    summary = made.report.summary
    configuration = (
        f"Vela {made.report.vela}, {accelerator}, {summary.system_config}, "
        f"{summary.memory_mode}, {summary.clock_hz / 1e6:g} MHz"
    )
    size = path.stat().st_size
    return _row(network, PUBLISHED, size, len(made.data), made.report.to_dict()), configuration


def converted_row(network: str, file: str, path: Path, accelerator: str, folder: Path) -> Row:
    """Converts a model, and takes the figures from the bundle."""
    random = path.suffix == ".onnx"
    sets = [f"{EthosU.name}.accelerator={accelerator}"]
    if random:
        sets.append("calibrate.round_weights.enabled=false")
    bundle = intaglio.convert(
        path,
        targets=["tflite", EthosU.name],
        random_calibration=random,
        out=folder / path.name,
        sets=sets,
    )
    artifact = bundle.artifact(EthosU.name)
    report = EthosU().report(artifact, bundle.folder)
    return _row(network, file, bundle.artifact("tflite").bytes, artifact.bytes, report)


def _row(network: str, file: str, before: int, after: int, report: Any) -> Row:
    memory = report["memory_bytes"]
    return Row(
        network=network,
        file=file,
        tflite_bytes=before,
        vela_bytes=after,
        cycles=report["cycles"]["total"],
        inferences_per_second=report["inferences_per_second"],
        sram_bytes=memory.get("sram", 0),
        flash_bytes=memory.get("off_chip_flash", 0),
        npu_operators=report["npu_operators"],
        cpu_operators=report["cpu_operators"],
        reasons=tuple(
            f"{each['operator']} '{each['tensor']}': {each['reason']}"
            for each in report["operators"]
            if each["on"] == "CPU"
        ),
    )


def measure(shared: Path, accelerator: str) -> tuple[list[Row], dict[str, str], str]:
    """All rows, what was left out and why, and the configuration in words."""
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    configuration = ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for network, (int8, onnx) in NETWORKS.items():
            try:
                path = existing(shared / "zoo" / int8)
                row, configuration = published_row(network, path, accelerator)
                rows.append(row)
                rows.append(converted_row(network, READ, path, accelerator, folder))
                if onnx is not None:
                    source = existing(shared / "zoo" / onnx)
                    rows.append(converted_row(network, CONVERTED, source, accelerator, folder))
            except (MissingDataError, IntaglioError) as error:
                left_out[network] = str(error).splitlines()[0]
            print(f"done: {network}", flush=True)
    return rows, left_out, configuration


def table(data: dict[str, Any]) -> str:
    """The results in Markdown."""
    before = {row["network"]: row for row in data["rows"] if row["file"] == PUBLISHED}
    rows = [
        [
            row["network"] if row["file"] == PUBLISHED else "",
            row["file"],
            f"{row['cycles']:,}",
            _change(row["cycles"], before[row["network"]]["cycles"]),
            f"{row['inferences_per_second'] or 0:,.0f}",
            f"{row['sram_bytes'] / 1024:,.1f}",
            f"{row['flash_bytes'] / 1024:,.1f}",
            f"{row['npu_operators']} of {row['npu_operators'] + row['cpu_operators']}",
            f"{row['tflite_bytes']:,}",
        ]
        for row in data["rows"]
    ]
    head = ["network", "file", "cycles", "change", "inferences/s", "SRAM KiB", "flash KiB"]
    parts = [markdown_table([*head, "on the NPU", ".tflite bytes"], rows)]
    parts += [
        f"On the CPU in {row['network']}, {row['file']}: {reason}"
        for row in data["rows"]
        for reason in row["reasons"]
    ]
    parts.append(f"{data['configuration']}. {data['environment']['date']}.")
    parts += [f"Left out: {name}: {reason}" for name, reason in data["left_out"].items()]
    return "\n\n".join(parts) + "\n"


def _change(value: int, before: int) -> str:
    if value == before:
        return "0"
    return f"{100 * (value - before) / before:+.2f} %".replace("-", "−")


def main() -> None:
    """Measures, writes the results, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accelerator", default=EthosUConfig().accelerator)
    parser.add_argument("--shared", type=Path, default=default_shared())
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows, left_out, configuration = measure(args.shared, args.accelerator)
    data = {
        "rows": [dataclasses.asdict(row) for row in rows],
        "configuration": configuration,
        "left_out": left_out,
        "environment": environment(),
    }
    write_json(args.out / "ethos_u.json", data)
    text = table(data)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
