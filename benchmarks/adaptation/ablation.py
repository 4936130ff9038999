"""What does each choice of the fixed-point step matter?

    python -m benchmarks.adaptation.ablation [--seeds 1]

The six speakers, all layers, the settings of the main measurement with one thing changed at a time.
Every row is kept as it ends.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.adaptation import ours
from benchmarks.adaptation.data import SPEAKERS, speaker_task
from benchmarks.adaptation.methods import SCHEDULES
from benchmarks.adaptation.ours import Format
from benchmarks.adaptation.schedule import Schedule
from benchmarks.common import default_shared, environment, markdown_table, write_json

RESULTS = Path(__file__).resolve().parent / "results"
BASE = SCHEDULES["speaker", "all"]


def _with(**options: Any) -> Format:
    return Format(options=tuple((f"train.plan_step.{k}", v) for k, v in options.items()))


#: Name of a row to its schedule and format.
ROWS: dict[str, tuple[Schedule, Format]] = {
    "as in the main measurement": (BASE, Format()),
    "epsilon 1 LSB": (BASE, Format(epsilon_lsb=1)),
    "epsilon 8 LSB": (BASE, Format(epsilon_lsb=8)),
    "epsilon 32 LSB": (BASE, Format(epsilon_lsb=32)),
    "epsilon 512 LSB": (BASE, Format(epsilon_lsb=512)),
    "update rounded down (floor)": (BASE, _with(rounding="floor")),
    "update rounded stochastically": (BASE, _with(rounding="stochastic")),
    "loss with 0 fractional bits": (BASE, _with(loss_bits=0)),
    "loss with 4 fractional bits": (BASE, _with(loss_bits=4)),
    "binomial z": (BASE, _with(law="binomial")),
    "3 probes a step, as many forwards": (
        dataclasses.replace(BASE, steps=BASE.steps // 3, probes=3),
        Format(),
    ),
    "8 probes a step, as many forwards": (
        dataclasses.replace(BASE, steps=BASE.steps // 8, probes=8),
        Format(),
    ),
    "8 probes a step, 8 times the forwards": (dataclasses.replace(BASE, probes=8), Format()),
    "a tenth of the weights, by magnitude": (BASE, _with(sparsity="magnitude")),
    "a tenth of the weights, at random": (BASE, _with(sparsity="random")),
    "probes about a point uphill": (BASE, _with(sharpness="true")),
    "one distance for all layers": (BASE, _with(normalize="false")),
}


def measure(name: str, seeds: int, shared: Path) -> dict[str, Any]:
    """Accuracy and ties of one row, a mean over the speakers for each seed."""
    schedule, form = ROWS[name]
    after, ties = [], []
    for seed in range(seeds):
        curves = [
            ours.adapt(task.name, shared, "all", schedule, form, task.adapt, task.test, seed)
            for task in (speaker_task(shared, speaker, seed) for speaker in SPEAKERS)
        ]
        after.append(statistics.fmean(curve.last for curve in curves))
        ties.append(statistics.fmean(curve.facts["ties"] for curve in curves))
    return {"name": name, "after": after, "ties": statistics.fmean(ties)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--shared", type=Path, default=default_shared())
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "ablation.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    known = {row["name"] for row in rows if len(row["after"]) >= arguments.seeds}
    for name in ROWS:
        if name not in known:
            rows = [row for row in rows if row["name"] != name]
            rows.append(measure(name, arguments.seeds, arguments.shared))
            print(rows[-1], flush=True)
            write_json(path, {"environment": environment(), "rows": rows})
    by_name = {row["name"]: row for row in rows}
    reference = statistics.fmean(rows[0]["after"])
    lines = [
        [
            name,
            f"{statistics.fmean(by_name[name]['after']):.2f}",
            f"{statistics.fmean(by_name[name]['after']) - reference:+.2f}",
            f"{100 * by_name[name]['ties']:.1f} %",
            str(len(by_name[name]["after"])),
        ]
        for name in ROWS
        if name in by_name
    ]
    text = markdown_table(
        ["speakers, all layers", "after, %", "change", "probes without a difference", "seeds"],
        lines,
    )
    print(text)
    (RESULTS / "ablation.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
