"""How long does a training step take in C, and how long as a graph in onnxruntime?

    python -m benchmarks.training.throughput [--seconds 3]

The same step with the same bits, one thread, batches of 1 and 16. Both take turns within one run;
the figure is the median of their rounds. A digest of all weights is compared at the end.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from intaglio.training_files import load_training, open_stepper
from intaglio.transforms.forward_gradient.step import digest

from benchmarks.common import environment, markdown_table, write_json
from benchmarks.training.cases import CASES, Case

RESULTS = Path(__file__).resolve().parent / "results"
BATCHES = (1, 16)


def measure(case: Case, folder: Path, seconds: float) -> list[dict[str, Any]]:
    """Medians of both runtimes at each batch size."""
    bundle = case.convert(folder / f"{case.model}-{case.layers}")
    training = load_training(bundle)
    steppers = {
        "onnxruntime": open_stepper(bundle, "onnx-integer"),
        "c": open_stepper(bundle, "c"),
    }
    generator = np.random.default_rng(0)
    shape = [int(size) for size in training.inputs[0].shape[1:]]
    rows = []
    for batch in BATCHES:
        x = generator.integers(-128, 128, (batch, *shape)).astype(np.int8)
        labels = generator.integers(0, 10, batch)
        times: dict[str, list[float]] = {name: [] for name in steppers}
        end = time.perf_counter() + seconds
        seed = 0
        while seed < 5 or time.perf_counter() < end:
            for name, stepper in steppers.items():
                start = time.perf_counter()
                stepper.step(x, labels, seed)
                times[name].append(time.perf_counter() - start)
            seed += 1
        found = {digest(training.specification, s.weights()) for s in steppers.values()}
        if len(found) != 1:
            raise SystemExit(f"{case}: the weights differ")
        medians = {name: 1000 * statistics.median(taken[1:]) for name, taken in times.items()}
        rows.append(
            {
                "model": case.model,
                "layers": case.layers,
                "batch": batch,
                "steps": seed,
                "c_runtime": steppers["c"].runtime,
                "c_ms": medians["c"],
                "onnxruntime_ms": medians["onnxruntime"],
            }
        )
    for stepper in steppers.values():
        stepper.close()
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each pair of timings")
    seconds = parser.parse_args().seconds
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            rows += measure(case, Path(folder), seconds)
    head = ["model", "trains", "batch", "C, ms", "onnxruntime, ms", "ratio"]
    lines = [
        [
            row["model"],
            row["layers"],
            str(row["batch"]),
            f"{row['c_ms']:.3f}",
            f"{row['onnxruntime_ms']:.1f}",
            f"{row['onnxruntime_ms'] / row['c_ms']:.0f}",
        ]
        for row in rows
    ]
    text = markdown_table(head, lines)
    print(text)
    write_json(RESULTS / "throughput.json", {"environment": environment(), "rows": rows})
    (RESULTS / "throughput.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
