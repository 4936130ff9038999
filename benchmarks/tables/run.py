"""What do exact tables in the place of all products cost on a processor with a multiplier?

    python -m benchmarks.tables.run [--model NAME ...] [--samples 30]

Sample models as emitted C, once of recipe ``int8`` and once of recipe ``lut`` with ``force`` for
each split. All compute the same bits. Those of one model take turns: one thread, time of the
processor, batch 1, the tenth percentile.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import intaglio
from intaglio.bundle import Bundle
from intaglio.targets.c.session import CSession
from intaglio.timing import time_in_turns
from intaglio.timing_contestants import LibraryContestant, random_inputs

from benchmarks.common import ROOT, environment, markdown_table, write_json

RESULTS = Path(__file__).resolve().parent / "results"
MODELS = ("digits", "spoken_digits")
SPLITS = ("full", "6/2", "4/4")
_PASS = "tables.substitute_convolutions"
_PRODUCTS = "products"


@dataclasses.dataclass(frozen=True)
class Row:
    """One model, its layers as products or as tables, with one kind of kernel.

    Attributes:
        model: Name of the sample model.
        layers: ``products``, or the split of the tables.
        kernels: Kind of kernel.
        constants: Bytes of its tables, or of the weights that they stand for.
        reads: Look-ups of one inference, or products.
        microseconds: Tenth percentile.
        samples: How many there were.
    """

    model: str
    layers: str
    kernels: str
    constants: int
    reads: int
    microseconds: float
    samples: int


def convert(model: str, layers: str, out: Path) -> Bundle:
    """The bundle of a sample model with emitted C."""
    folder = ROOT / "sample_models" / model
    sets = {} if layers == _PRODUCTS else {f"{_PASS}.force": True, f"{_PASS}.split": layers}
    recipe = "int8" if layers == _PRODUCTS else "lut"
    return intaglio.convert(
        folder / f"{model}.onnx", recipe, ["c"], folder / "calibration.npz", out, sets=sets
    )


def measure(model: str, samples: int, seconds: float, place: Path) -> list[Row]:
    """All rows of one model."""
    facts: dict[str, Mapping[str, Any]] = {}
    contestants = {}
    with contextlib.ExitStack() as stack:
        for layers in (*SPLITS, _PRODUCTS):
            bundle = convert(model, layers, place / f"{model}-{layers.replace('/', '-')}")
            assert bundle.conversion is not None
            facts[layers] = bundle.conversion.facts.get(_PASS, {})
            artifact = bundle.artifact("c")
            inputs = random_inputs(artifact.inputs)
            for runtime in bundle.opener(artifact).runtimes(artifact):
                session = CSession(artifact, bundle.folder, runtime.name)
                contestant = LibraryContestant(session.library, inputs)
                stack.callback(contestant.close)
                contestants[layers, runtime.name] = contestant
        named = {"|".join(key): contestant for key, contestant in contestants.items()}
        timed = time_in_turns(named, samples, seconds)
    rows = []
    for (layers, kernels), timing in zip(contestants, timed.values(), strict=True):
        if isinstance(timing, Exception):
            raise timing
        known = facts[SPLITS[0] if layers == _PRODUCTS else layers]
        constants, reads = (
            ("weight_bytes", "products") if layers == _PRODUCTS else ("table_bytes", "lookups")
        )
        taken = 1e6 * timing.seconds("processor", 10)
        count = len(timing.samples)
        rows.append(Row(model, layers, kernels, known[constants], known[reads], taken, count))
    return rows


def table(data: Mapping[str, Any]) -> str:
    """The results as a table: one line for a model and a split, one column for a kind of kernel."""
    rows: Sequence[Mapping[str, Any]] = data["rows"]
    kinds = list(dict.fromkeys(row["kernels"] for row in rows))
    lines: dict[tuple[str, str], list[str]] = {}
    products = {
        (row["model"], row["kernels"]): row["microseconds"]
        for row in rows
        if row["layers"] == _PRODUCTS
    }
    for row in rows:
        line = lines.setdefault(
            (row["model"], row["layers"]),
            [f"{row['model']}, {row['layers']}", f"{row['constants']:,}", f"{row['reads']:,}"],
        )
        factor = row["microseconds"] / products[row["model"], row["kernels"]]
        line.append(f"{row['microseconds']:.1f} ({factor:.2g}×)")
    head = ["layers", "bytes", "look-ups or products", *(f"µs, {kind}" for kind in kinds)]
    known = data["environment"]
    return f"{markdown_table(head, lines.values())}\n\n{known['processor']}, {known['date']}.\n"


def main() -> None:
    """Measures, writes the results, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--samples", type=int, default=30, help="of each, at most")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each, about")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--tables", action="store_true", help="print again what is in the results")
    args = parser.parse_args()
    path = args.out / "tables.json"
    if args.tables:
        data = json.loads(path.read_text(encoding="utf-8"))
    else:
        rows: list[Row] = []
        with tempfile.TemporaryDirectory() as place:
            for model in args.model or MODELS:
                rows += measure(model, args.samples, args.seconds, Path(place))
        data = {"rows": [dataclasses.asdict(row) for row in rows], "environment": environment()}
        write_json(path, data)
    text = table(data)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
