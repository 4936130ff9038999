"""What does a training step cost on a Cortex-M4, and are its bits those of onnxruntime?

    python -m benchmarks.training.boards [--board cortex-m4] [--case digits/all ...]

The emitted C in QEMU: executed instructions are exact, cycles modelled. 100 steps of the small
model, 10 of the others; the digest of all weights is compared with that of onnxruntime after the
same steps. An inference of the same model is counted beside them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from intaglio.benchmarking_boards import bench_boards
from intaglio.fitting.training.data import read_samples
from intaglio.targets.c.boards import BOARDS, train_on_board
from intaglio.targets.c.session import read_report
from intaglio.targets.c.training.packing import unpack_weights
from intaglio.targets.c.training.records import read_training_record
from intaglio.training_files import load_training, open_stepper
from intaglio.transforms.forward_gradient.step import digest

from benchmarks.common import environment, markdown_table, write_json
from benchmarks.training.cases import CASES, SAMPLE_MODELS, Case

RESULTS = Path(__file__).resolve().parent / "results"
SEED = 7
STEPS = {"digits": 100}


def measure(case: Case, board: str, folder: Path) -> dict[str, Any]:
    """Counts the steps and compares their weights."""
    steps = STEPS.get(case.model, 10)
    bundle = case.convert(folder / f"{case.model}-{case.layers}")
    training = load_training(bundle)
    samples = read_samples(SAMPLE_MODELS / case.model / "test.npz", training, "test data")
    stepper = open_stepper(bundle, "onnx-integer")
    for step in range(steps):
        seed = training.specification.step_seed(SEED, step)
        stepper.step(samples.x[step : step + 1], samples.targets[step : step + 1], seed)
    expected = digest(training.specification, stepper.weights())
    artifact = bundle.artifact("c", "train_step")
    record = read_training_record(read_report(artifact, bundle.folder))
    # C reads channels last.
    batches = [
        (
            [np.ascontiguousarray(samples.x[step : step + 1].transpose(0, 2, 3, 1))],
            samples.targets[step : step + 1].astype(np.int32),
        )
        for step in range(steps)
    ]
    source = bundle.folder / artifact.path
    probes = training.specification.probes
    found = train_on_board(BOARDS[board], source.parent, source.stem, batches, probes, SEED)
    weights = unpack_weights(record.packed, found.weights)
    inference = bench_boards(bundle, [board], runs=1)[0]
    return {
        "model": case.model,
        "layers": case.layers,
        "board": board,
        "steps": steps,
        "instructions": found.mean_instructions,
        "cycles": found.cycles,
        "inference_instructions": inference.run.mean_instructions,
        "arena_bytes": found.arena_bytes,
        "stack_bytes": found.stack_bytes,
        "code_bytes": found.code_bytes,
        "equal": digest(training.specification, weights) == expected,
        "compiler": found.compiler,
        "emulator": found.emulator,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", default="cortex-m4", choices=list(BOARDS))
    parser.add_argument("--case", action="append", help="such as digits/all; else every one")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if not arguments.case or f"{case.model}/{case.layers}" in arguments.case:
                rows.append(measure(case, arguments.board, Path(folder)))
    head = [
        arguments.board,
        "trains",
        "steps",
        "weights as in onnxruntime",
        "instructions a step",
        "of an inference",
        "modelled cycles a step",
        "arena, bytes",
        "stack",
        "code",
    ]
    lines = [
        [
            row["model"],
            row["layers"],
            str(row["steps"]),
            "yes" if row["equal"] else "no",
            f"{row['instructions'] / 1e6:.3f} M",
            f"{row['inference_instructions'] / 1e6:.3f} M",
            "" if row["cycles"] is None else f"{row['cycles'] / 1e6:.2f} M",
            f"{row['arena_bytes']:,}",
            f"{row['stack_bytes']:,}",
            f"{row['code_bytes']:,}",
        ]
        for row in rows
    ]
    text = markdown_table(head, lines)
    print(text)
    name = f"boards-{arguments.board}"
    write_json(RESULTS / f"{name}.json", {"environment": environment(), "rows": rows})
    (RESULTS / f"{name}.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
