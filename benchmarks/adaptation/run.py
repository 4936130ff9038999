"""How much of what backpropagation gains does training in integers gain?

    python -m benchmarks.adaptation.run [--task speaker ...] [--method NAME ...] [--seeds 5]
    python -m benchmarks.adaptation.run --tables

Six networks that never heard one of six speakers adapt to that speaker, with five takes of each
digit; one network that was trained on upright clothes adapts to pictures turned by 30 and 45
degrees, with 1,024 of them. Every run is kept as it ends, so that a stopped measurement goes on;
``--tables`` draws tables and figure from what there is.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.adaptation import report
from benchmarks.adaptation.data import ANGLES, SPEAKERS, Task, rotation_task, speaker_task
from benchmarks.adaptation.methods import METHODS, facts_of
from benchmarks.common import default_shared, environment, write_json

RESULTS = Path(__file__).resolve().parent / "results"


#: Names of the tasks: of a speaker, or a rotation.
TASKS = (*(f"speaker {name}" for name in SPEAKERS), *(f"rotation {angle}" for angle in ANGLES))


def task(name: str, seed: int, shared: Path) -> Task:
    """A task by name; the seed draws the samples to adapt with."""
    kind, _, which = name.partition(" ")
    if kind == "speaker":
        return speaker_task(shared, which, seed)
    return rotation_task(shared, int(which), seed)


def measure(name: str, of: str, seeds: int, shared: Path) -> None:
    """Runs what is missing of one method on one task."""
    method = METHODS[name]
    if of.partition(" ")[0] not in method.kinds:
        return
    path = RESULTS / "runs" / f"{of.replace(' ', '-')}-{name}.json"
    known = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    runs: list[dict[str, Any]] = known
    for seed in range(len(runs), seeds):
        start = time.process_time()
        curve = method.run(task(of, seed, shared), shared, seed)
        seconds = round(time.process_time() - start, 2)
        runs.append({"seed": seed, "cpu_seconds": seconds, **facts_of(curve)})
        print(f"{name} {of} {seed}: {curve.first:.2f} -> {curve.last:.2f}", flush=True)
        write_json(path, {"environment": environment(), "runs": runs})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", action="append", help="speaker, rotation, or such as rotation-30")
    parser.add_argument("--method", choices=list(METHODS), action="append")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", action="store_true", help="draw again, measure nothing")
    parser.add_argument("--shared", type=Path, default=default_shared())
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [
        name
        for name in TASKS
        if not arguments.task
        or any(name.replace(" ", "-").startswith(prefix) for prefix in arguments.task)
    ]
    if not arguments.tables:
        for method in arguments.method or METHODS:
            for name in wanted:
                measure(method, name, arguments.seeds, arguments.shared)
    report.write(RESULTS)


if __name__ == "__main__":
    main()
