"""How much working memory each model needs as C, beside its bound and TensorFlow Lite Micro.

    python -m benchmarks.microcontrollers.arenas [--model NAME ...] [--shared DIR]

Every model is converted to `c`, with arenas of at most 1.05 times the tensors that live at once
(``c.memory=small``) and with the default, and to `tflite`, whose arena TensorFlow Lite Micro
measures. Inputs and outputs lie outside the arena of C, and inside that of TensorFlow Lite Micro.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import intaglio
from intaglio.errors import IntaglioError
from intaglio.targets.reading import read_model
from intaglio.targets.tflite.arena import measure_arena

from benchmarks.common import (
    MissingDataError,
    default_shared,
    environment,
    existing,
    markdown_table,
    write_json,
)
from benchmarks.exactness.inputs import PUBLISHED
from benchmarks.quantization.cases import Case, all_cases

RESULTS = Path(__file__).resolve().parent / "results"
MODES = ("small", "balanced")
VARIANTS = ("portable", "dsp", "mve", "neon", "dotprod", "avx2", "vnni")


def measured(model: Path, folder: Path, **options: Any) -> dict[str, Any]:
    """Arenas of one model in every mode."""
    found: dict[str, Any] = {"modes": {}}
    for mode in MODES:
        targets = ["c"] if mode != MODES[0] else ["c", "tflite"]
        bundle = _convert(model, targets, folder / mode, mode, options)
        artifact = bundle.artifact("c")
        report = bundle.opener(artifact).report(artifact, bundle.folder)
        found["live"] = report["live_peak_bytes"]
        found["modes"][mode] = {
            name: variant["arena_bytes"] for name, variant in report["variants"].items()
        }
        if mode == MODES[0]:
            found["micro"] = _micro(bundle)
    return found


def _convert(model: Path, targets: list[str], out: Path, mode: str, options: Any) -> Any:
    sets = [f"c.memory={mode}"]
    try:
        return intaglio.convert(model, targets=targets, out=out, sets=sets, **options)
    except IntaglioError:
        # TFLite lacks an operator, or its rounding: C is measured alone.
        return intaglio.convert(model, targets=["c"], out=out, sets=sets, **options)


def _micro(bundle: Any) -> int | None:
    """Bytes that TensorFlow Lite Micro needs; None where it does not run the model."""
    try:
        return measure_arena(bundle.folder / bundle.artifact("tflite").path).minimum_bytes
    except IntaglioError:
        return None


def of_case(case: Case, folder: Path) -> dict[str, Any]:
    """A float model, calibrated."""
    drawn = case.draw(0)
    name = str(read_model(case.model).graph.inputs[0].name)
    return measured(
        case.model, folder, calibration={name: drawn[:50]}, shapes={name: [1, *drawn.shape[1:]]}
    )


def table(rows: list[dict[str, Any]]) -> str:
    """The results in Markdown."""
    head = ["model", "live at the peak", "C, small: largest", "of live", "C, default, Cortex-M4"]
    head += ["of live", "TensorFlow Lite Micro"]
    lines = []
    for row in rows:
        small, usual = max(row["modes"]["small"].values()), row["modes"]["balanced"]["dsp"]
        micro = "" if row["micro"] is None else f"{row['micro']:,}"
        live = row["live"]
        lines.append(
            [row["model"], f"{live:,}", f"{small:,}", _share(small, live), f"{usual:,}",
             _share(usual, live), micro]
        )  # fmt: skip
    return markdown_table(head, lines)


def _share(size: int, live: int) -> str:
    return f"{size / live:.3f}" if live else ""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", help="only these")
    parser.add_argument("--shared", type=Path, default=default_shared())
    options = parser.parse_args()
    path = RESULTS / "arenas.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    cases = all_cases(options.shared)
    for name in [*PUBLISHED, *cases]:
        if options.model and name not in options.model:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                if name in PUBLISHED:
                    file = existing(options.shared / "zoo" / f"{name}.tflite")
                    found = measured(file, Path(folder))
                else:
                    found = of_case(cases[name](), Path(folder))
            except (MissingDataError, IntaglioError) as error:
                print(f"{name}: {error}")
                continue
        rows = [row for row in rows if row["model"] != name] + [{"model": name, **found}]
        print(table(rows[-1:]), flush=True)
        rows.sort(key=lambda row: str(row["model"]))
        write_json(path, {"environment": environment(), "rows": rows})
        (RESULTS / "arenas.md").write_text(table(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
