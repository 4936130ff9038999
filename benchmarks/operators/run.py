"""Are the bits of each operator those of TFLite Micro and of LiteRT's reference kernels?

    python -m benchmarks.operators.run [--cases N] [--operator NAME ...]

Draws random cases of one TFLite operator (``tests/property/tflite_operators.py``), runs the file in
the runtime and the same operator, lowered from its quantized ONNX form, in onnxruntime, and counts
the values that differ. Functions of one tensor are compared at every input.
"""

from __future__ import annotations

import argparse
import dataclasses
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import environment, markdown_table, write_json
from tests.property.tflite_case import Case
from tests.property.tflite_operators import (
    BROKEN,
    BUILTIN,
    EXCEPTIONS,
    MISSING,
    OPERATORS,
    cases,
    judge,
)
from tests.property.tflite_runtimes import Runtimes, has_micro

RESULTS = Path(__file__).resolve().parent / "results"
PROFILES = ("tflm", "litert")
#: Cases of functions of 16-bit tensors have 65,536 values each: fewer of them are enough.
_LARGE, _FEWER = 60_000, 10


@dataclasses.dataclass
class Row:
    """What was found for one operator, type and profile."""

    operator: str
    dtype: str
    profile: str
    cases: int = 0
    values: int = 0
    differing: int = 0
    largest: int = 0


def measure(operator: str, dtype: str, profile: str, count: int, runtimes: Runtimes) -> Row:
    """Compares ``count`` random cases.

    Raises:
        RuntimeFailureError: The runtime does not take one.
        UnsupportedError: The lowering refuses one.
    """
    row = Row(operator, dtype, profile)
    seed = 0
    while seed < count:
        case = Case(seed, dtype)
        OPERATORS[operator][0](case)
        found = case.compare(profile, runtimes, judge(operator, profile))
        row.cases += 1
        row.values += found.values
        row.differing += found.differing
        row.largest = max(row.largest, found.largest)
        large = int(np.prod(case.tensors[case.output].shape)) > _LARGE
        seed += _FEWER if large else 1
    return row


def table(data: dict[str, Any]) -> str:
    """The results in Markdown."""
    found = {(r["operator"], r["dtype"], r["profile"]): r for r in data["rows"]}
    keys = dict.fromkeys((r["operator"], r["dtype"]) for r in data["rows"])
    rows = []
    for operator, dtype in keys:
        cells = [_cells(operator, dtype, profile, found) for profile in PROFILES]
        rows.append([f"{operator}, {dtype}", *cells[0], *cells[1]])
    head = ["operator", "values", "TFLite Micro", "values", "LiteRT reference"]
    versions = ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    notes = [
        f"- {name}, {dtype}, {profile}: at most {most} LSB: {why}."
        for (name, dtype, profile), (most, _, why) in EXCEPTIONS.items()
        if (name, dtype, profile) in found
    ]
    parts = [
        markdown_table(head, rows),
        "Values that differ, of all that were compared; in brackets the largest difference in LSB. "
        "A dash: the runtime has no such kernel.",
        "\n".join(notes),
        f"{', '.join(sorted(BUILTIN))} of LiteRT are its built-in kernels: what the reference "
        "kernel of SUM gives has no relation to its input, and ELU has none.",
        f"{data['environment']['date']}, {versions}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cells(
    operator: str, dtype: str, profile: str, found: dict[tuple[str, str, str], dict[str, Any]]
) -> tuple[str, str]:
    key = (operator, dtype, profile)
    if key in MISSING | BROKEN:
        return "", "—"
    if key not in found:
        return "", ""
    row = found[key]
    differing = f"**{row['differing']:,}**"
    if row["differing"]:
        differing += f" ({row['largest']})"
    return f"{row['values']:,}", differing


def main() -> None:
    """Measures, writes the results, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200, help="random cases of each operator")
    parser.add_argument("--operator", action="append", choices=sorted(OPERATORS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    runtimes = Runtimes()
    rows = []
    for operator, dtype, profile in cases():
        if args.operator and operator not in args.operator:
            continue
        if profile == "tflm" and not has_micro():
            continue
        row = measure(operator, dtype, profile, args.cases, runtimes)
        rows.append(dataclasses.asdict(row))
        print(f"{operator}, {dtype}, {profile}: {row.differing:,} of {row.values:,}", flush=True)
    runtimes.close()
    names = ["ai-edge-litert", *(["tflite-micro"] if has_micro() else [])]
    data = {
        "rows": rows,
        "versions": {name: version(name) for name in names},
        "environment": environment(),
    }
    write_json(args.out / "operators.json", data)
    text = table(data)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
