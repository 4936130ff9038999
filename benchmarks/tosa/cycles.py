"""What does Vela make of our TOSA files, beside our TFLite files of the same networks?

    python -m benchmarks.tosa.cycles [--shared DIR]

Each network is converted for Ethos-U55-128 and Ethos-U85-256 via both formats; the figures are
Vela's estimates, no NPU is run. Where the NPU lacks what a Softmax needs, the TOSA file ends at the
logits. The last rows are a chain of four tables, one behind the other and folded into one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import intaglio
import numpy as np
from intaglio.errors import IntaglioError
from intaglio.targets.ethos_u.compiler import compile_tosa
from intaglio.targets.ethos_u.options import EthosUConfig
from intaglio.targets.reading import read_model
from intaglio.targets.tosa.writer import FileBuilder
from numpy.typing import NDArray

from benchmarks.common import (
    default_shared,
    environment,
    markdown_table,
    write_json,
)

RESULTS = Path(__file__).resolve().parent / "results"
ACCELERATORS = ("ethos-u55-128", "ethos-u85-256")

#: A table network of the sample models.
TABLES = Path(__file__).parents[2] / "sample_models" / "superres_lut" / "superres_lut.onnx"

#: Networks, their files, and shapes to bind.
NETWORKS: Mapping[str, tuple[str, Mapping[str, list[int]] | None]] = {
    "ResNet8": ("ic_resnet8_int8.tflite", None),
    "DS-CNN": ("kws_ref_model_int8.tflite", None),
    "VWW (MobileNetV1-0.25, 96 x 96)": ("vww_96_int8.tflite", None),
    "MobileNetV1-0.25, 224 x 224": ("mobilenet_v1_0.25_224_float.tflite", None),
    "FSRCNN x4, 32 x 32": ("FSRCNN_x4.onnx", {"IteratorGetNext:0": [1, 32, 32, 1]}),
    "superres_lut x4, 32 x 32": (str(TABLES), {"image": [1, 1, 32, 32]}),
}
_PLAIN = {"calibrate.round_weights.enabled": False}

#: Files of a network: format, and where its Softmax runs.
FILES = (("tflite", "tflite", "auto"), ("tosa", "tosa", "auto"), ("tosa, logits", "tosa", "host"))


def compiled(
    path: Path, accelerator: str, via: str, softmax: str, **options: Any
) -> dict[str, Any]:
    """Figures of one file through one format; or why there are none."""
    sets = {
        **options.pop("sets", {}),
        "ethos-u.via": via,
        "ethos-u.accelerator": accelerator,
        "ethos-u.softmax": softmax,
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            bundle = intaglio.convert(
                path, targets=["ethos-u"], out=Path(folder) / "bundle", sets=sets, **options
            )
        except IntaglioError as error:
            reasons = [each.reason for each in getattr(error, "refusals", ())]
            return {"refused": "; ".join(reasons[:2]) or error.message}
        artifact = bundle.artifact("ethos-u")
        report = bundle.opener(artifact).report(artifact, bundle.folder)
        return {
            "cycles": report["cycles"]["total"],
            "sram": report["memory_bytes"]["sram"],
            "flash": report["memory_bytes"]["off_chip_flash"] + report["memory_bytes"]["dram"],
            "npu": report["npu_operators"],
            "cpu": report["cpu_operators"],
            "host": sorted(report["host"]),
        }


def networks(shared: Path) -> list[dict[str, Any]]:
    """A row a network and accelerator."""
    rows = []
    for name, (file, shape) in NETWORKS.items():
        path = shared / "zoo" / file
        options: dict[str, Any] = {}
        if "int8" not in file and path != TABLES:
            options = {"sets": _PLAIN, "calibration": _drawn(path, shape)}
        if shape is not None:
            options["shapes"] = shape
        for accelerator in ACCELERATORS:
            made = {
                name: compiled(
                    path, accelerator, via, softmax, **{k: dict(v) for k, v in options.items()}
                )
                for name, via, softmax in FILES
            }
            rows.append({"network": name, "accelerator": accelerator, **made})
            print(rows[-1], flush=True)
    return rows


def _drawn(path: Path, shape: Mapping[str, list[int]] | None) -> dict[str, NDArray[Any]]:
    """Random samples: ranges have no part in cycles or memory."""
    [value] = read_model(path, shape).graph.inputs
    sizes = [d if isinstance(d, int) else 1 for d in value.shape or ()][1:]
    drawn = np.random.default_rng(0).random((8, *sizes), np.float32)
    return {str(value.name): drawn}


def chains() -> list[dict[str, Any]]:
    """Four tables one behind the other, and the one that they come to."""
    tables = [np.random.default_rng(seed).permutation(256) - 128 for seed in range(4)]
    whole = np.arange(-128, 128)
    for table in tables:
        whole = table[whole + 128]
    rows = []
    for accelerator in ACCELERATORS:
        row: dict[str, Any] = {"accelerator": accelerator}
        for name, chain in (("four tables", tables), ("folded into one", [whole])):
            config = EthosUConfig(accelerator=accelerator, via="tosa")
            made = compile_tosa(_chain_file(chain), config, "chain", {}).report
            row[name] = {
                "cycles": made.summary.cycles["total"],
                "sram": made.summary.memory_bytes["sram"],
            }
        rows.append(row)
        print(row, flush=True)
    return rows


def _chain_file(tables: Sequence[NDArray[Any]]) -> bytes:
    """A TOSA file of TABLEs of 16 channels of 32 by 32 places."""
    file, shape = FileBuilder(), (1, 32, 32, 16)
    names = ["x", *(f"y{place}" for place in range(len(tables)))]
    for name in names:
        file.tensor(name, shape, "int8")
    for place, table in enumerate(tables):
        file.tensor(f"table{place}", (256,), "int8", table)
        file.operator("CONST", [], [f"table{place}"])
        file.operator("TABLE", [names[place], f"table{place}"], [names[place + 1]])
    file.inputs, file.outputs = names[:1], names[-1:]
    return file.to_bytes()


def _cell(found: Mapping[str, Any]) -> list[str]:
    if "refused" in found:
        return [f"refused: {found['refused']}", "", ""]
    return [f"{found[key]:,.0f}" for key in ("cycles", "sram", "flash")]


def report(rows: list[dict[str, Any]], chain: list[dict[str, Any]]) -> str:
    """Both tables in Markdown."""
    head = ["network", "NPU", "file", "cycles", "beside TFLite", "SRAM, bytes", "flash, bytes"]
    cells = []
    for row in rows:
        base = row["tflite"].get("cycles")
        for name in ("tflite", "tosa", "tosa, logits"):
            found = row[name]
            ratio = f"{found['cycles'] / base:.3f}" if base and "cycles" in found else ""
            cycles, *memory = _cell(found)
            cells.append([row["network"], row["accelerator"], name, cycles, ratio, *memory])
    chained = [
        [row["accelerator"], name, f"{found['cycles']:,.0f}", f"{found['sram']:,.0f}"]
        for row in chain
        for name, found in row.items()
        if name != "accelerator"
    ]
    first = markdown_table(head, cells)
    second = markdown_table(["NPU", "16 x 32 x 32 values", "cycles", "SRAM, bytes"], chained)
    return f"# Ethos-U via TOSA and via TFLite\n\n{first}\n\n{second}\n"


def main() -> None:
    """Compiles everything and writes ``results/cycles.*``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=default_shared())
    given = parser.parse_args()
    chain = chains()
    rows = networks(given.shared)
    write_json(
        RESULTS / "cycles.json", {"environment": environment(), "networks": rows, "chain": chain}
    )
    (RESULTS / "cycles.md").write_text(report(rows, chain), encoding="utf-8")


if __name__ == "__main__":
    main()
