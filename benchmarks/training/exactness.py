"""Do all runtimes train to the same bits?

    python -m benchmarks.training.exactness [--steps 10000] [--case digits/all ...]

Real samples, labels and seeds; onnxruntime and every variant of the C that this machine runs. All
losses and signs of every step are compared, and the digest of all weights after 1, 100 and all
steps. The transcript of the run is replayed in numpy, which must come to the same digest.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from intaglio.fitting.training.data import Samples, read_samples
from intaglio.fitting.training.order import Order
from intaglio.targets.training import Stepper
from intaglio.targets.training_files import Training
from intaglio.training_files import load_training, open_stepper, stepper_runtimes
from intaglio.transforms.forward_gradient.step import digest, update
from intaglio.transforms.forward_gradient.transcript import Transcript, decode, encode

from benchmarks.common import environment, markdown_table, write_json
from benchmarks.training.cases import CASES, SAMPLE_MODELS, Case

RESULTS = Path(__file__).resolve().parent / "results"
BATCH = 1
SEED = 2024


@dataclasses.dataclass
class Contestant:
    """A runtime and what it found.

    Attributes:
        name: What it is called.
        stepper: The training step.
        digests: Of the weights, by the number of steps done.
        seconds: Time of its steps.
    """

    name: str
    stepper: Stepper
    digests: dict[int, str] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


def measure(case: Case, folder: Path, steps: int) -> dict[str, Any]:
    """Trains with all runtimes in step."""
    bundle = case.convert(folder / f"{case.model}-{case.layers}")
    training = load_training(bundle)
    samples = read_samples(SAMPLE_MODELS / case.model / "test.npz", training, "test data")
    contestants = [Contestant("onnxruntime", open_stepper(bundle, "onnx-integer"))]
    contestants += [
        Contestant(f"c, {runtime.name}", open_stepper(bundle, "c", runtime.name))
        for runtime in stepper_runtimes(bundle, "c")
    ]
    points = sorted({1, min(100, steps), steps})
    signs, differing = _train(contestants, training, samples, points)
    replayed = _replay(training, signs)
    return {
        "model": case.model,
        "layers": case.layers,
        "steps": steps,
        "parameters": sum(p.size for p in training.specification.parameters),
        "ties": float((signs == 0).mean()),
        "differing_steps": differing,
        "digests": {c.name: {str(k): v for k, v in c.digests.items()} for c in contestants},
        "replayed": replayed,
        "transcript_bytes": len(encode(_transcript(training, signs))),
        "equal": len({*(c.digests[steps] for c in contestants), replayed}) == 1 and not differing,
        "ms_per_step": {c.name: 1000 * c.seconds / steps for c in contestants},
    }


def _train(
    contestants: list[Contestant], training: Training, samples: Samples, points: list[int]
) -> tuple[np.ndarray[Any, np.dtype[np.int8]], int]:
    order = Order(len(samples), BATCH, SEED)
    signs, differing = [], 0
    for step in range(points[-1]):
        chosen = order.batch(step)
        seed = training.specification.step_seed(SEED, step)
        found = []
        for contestant in contestants:
            start = time.perf_counter()
            result = contestant.stepper.step(samples.x[chosen], samples.targets[chosen], seed)
            contestant.seconds += time.perf_counter() - start
            found.append(result)
            if step + 1 in points:
                weights = contestant.stepper.weights()
                contestant.digests[step + 1] = digest(training.specification, weights)
        differing += any(other != found[0] for other in found[1:])
        signs.append(found[0].signs)
    return np.array(signs, np.int8), differing


def _transcript(training: Training, signs: np.ndarray[Any, np.dtype[np.int8]]) -> Transcript:
    probes = training.specification.probes
    return Transcript("00" * 32, "00" * 32, SEED, probes, (), signs)


def _replay(training: Training, signs: np.ndarray[Any, np.dtype[np.int8]]) -> str:
    """Digest of the weights that the encoded and decoded transcript gives."""
    specification, weights = training.specification, dict(training.weights)
    transcript = decode(encode(_transcript(training, signs)))
    for step in range(transcript.steps):
        seed = specification.step_seed(SEED, step)
        weights = update(specification, weights, seed, tuple(transcript.signs[step]))
    return digest(specification, weights)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--case", action="append", help="such as digits/all; else every one")
    arguments = parser.parse_args()
    path = RESULTS / "exactness.json"
    known = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    rows = {(row["model"], row["layers"]): row for row in known}
    for case in CASES:
        if arguments.case and f"{case.model}/{case.layers}" not in arguments.case:
            continue
        with tempfile.TemporaryDirectory() as folder:
            row = measure(case, Path(folder), arguments.steps)
        rows[case.model, case.layers] = row
        print(case.model, case.layers, "equal" if row["equal"] else "DIFFERENT", flush=True)
        write_json(path, {"environment": environment(), "rows": list(rows.values())})
    head = ["model", "trains", "weights", "steps", "runtimes", "steps that differ", "weights equal"]
    head += ["replayed", "transcript, bytes"]
    lines = [
        [
            row["model"],
            row["layers"],
            f"{row['parameters']:,}",
            f"{row['steps']:,}",
            ", ".join(row["digests"]),
            str(row["differing_steps"]),
            "yes" if row["equal"] else "no",
            "equal" if row["replayed"] in next(iter(row["digests"].values())).values() else "no",
            f"{row['transcript_bytes']:,}",
        ]
        for row in rows.values()
    ]
    text = markdown_table(head, lines)
    print(text)
    (RESULTS / "exactness.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
