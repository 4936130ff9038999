"""What does each part of the codec give?

    python -m benchmarks.split.ablation [--model resnet8] [--cut early late] [--samples N]

Each row changes one thing of the row that its block starts with; bytes are those of whole frames
of one sample, accuracy that of the whole test set. Rows with a budget of noise show what a part
saves at equal noise; rows of fixed bits what it does to accuracy at (nearly) equal bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import default_shared, environment, markdown_table, write_json
from benchmarks.split.cutting import MODELS, NAMES, CutModel, open_cuts
from benchmarks.split.ratio_accuracy import codec_row

RESULTS = Path(__file__).resolve().parent / "results"

_FULL = {"noise": 0.01}
_PLAIN = {
    "quantizer": "uniform", "bits": 3, "clip": 1.0, "share_patch": 1, "restoration": False,
}  # fmt: skip
_SHARED = {"noise": 0.01, "share_patch": 1, "stripes": 4}

#: Block, row, options.
VARIANTS: Sequence[tuple[str, str, Mapping[str, Any]]] = (
    ("whole", "all of it", _FULL),
    ("whole", "no patches share a code", {**_FULL, "share_patch": 1}),
    ("whole", "no filter either", {**_FULL, "share_patch": 1, "restoration": False}),
    ("whole", "no contexts", {**_FULL, "share_patch": 1, "contexts": False}),
    ("whole", "packed bits", {**_FULL, "share_patch": 1, "coding": "packed"}),
    ("whole", "bytes", {**_FULL, "share_patch": 1, "coding": "raw"}),
    ("whole", "uniform quantizers", {**_FULL, "share_patch": 1, "quantizer": "uniform"}),
    ("stripes", "1", {**_SHARED, "stripes": 1}),
    ("stripes", "2", {**_SHARED, "stripes": 2}),
    ("stripes", "4", _SHARED),
    ("stripes", "8", {**_SHARED, "stripes": 8}),
    ("stripes", "one a channel", {**_SHARED, "stripes": 0}),
    ("order, 4 stripes", "none", {**_SHARED, "order": "none"}),
    ("order, 4 stripes", "range", {**_SHARED, "order": "range"}),
    ("order, 4 stripes", "similarity (Pearson)", {**_SHARED, "order": "similarity"}),
    ("order, 2 channels share a code", "none", {**_SHARED, "share_channels": 2, "order": "none"}),
    ("order, 2 channels share a code", "similarity (Pearson)", {**_SHARED, "share_channels": 2}),
    ("3 bits, 4 stripes", "uniform", {**_PLAIN, "stripes": 4}),
    ("3 bits, 4 stripes", "filtered", {**_PLAIN, "stripes": 4, "restoration": True}),
    ("3 bits, 4 stripes", "clip chosen", {**_PLAIN, "stripes": 4, "clip": None}),
    ("3 bits, 4 stripes", "clip 0.7", {**_PLAIN, "stripes": 4, "clip": 0.7}),
    (
        "3 bits, 4 stripes",
        "dynamic ranges",
        {"ranges": "dynamic", "bits": 3, "stripes": 4, "share_patch": 1},
    ),
    (
        "3 bits, 4 stripes",
        "dynamic ranges, tiles of 8",
        {"ranges": "dynamic", "bits": 3, "stripes": 4, "share_patch": 1, "tile": 8},
    ),
    ("3 bits, 4 stripes", "packed bits", {**_PLAIN, "stripes": 4, "coding": "packed"}),
)


def measure(cut: CutModel) -> list[dict[str, Any]]:
    """All variants at one cut."""
    rows = []
    for block, name, options in VARIANTS:
        row = {**codec_row(cut, name, **options), "block": block}
        rows.append(row)
        print(
            f"{row['model']} {row['cut']} | {block} | {name}: {row['bytes']:.0f} bytes, "
            f"{row['against_float']:+.2f} points, noise {row['noise']:.4f}",
            flush=True,
        )
    return rows


def report(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table a cut."""
    head = ["part", "variant", "bytes", "x fp32", "noise", "top-1", "against float", "tables, KiB"]
    parts = ["# What each part of the codec gives", ""]
    for model, cut in dict.fromkeys((row["model"], row["cut"]) for row in rows):
        own = [row for row in rows if (row["model"], row["cut"]) == (model, cut)]
        parts += [f"## {model}, {cut} cut", "", markdown_table(head, map(_cells, own)), ""]
    return "\n".join(parts)


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        row["block"],
        row["codec"],
        f"{row['bytes']:.1f}",
        f"{row['ratio_fp32']:.1f}",
        f"{row['noise']:.4f}",
        f"{row['accuracy']:.2f}",
        f"{row['against_float']:+.2f}",
        f"{row['specification_bytes'] / 1024:.1f}",
    ]


def main() -> None:
    """Measures and writes ``results/ablation.*``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="*", default=["resnet8"], choices=MODELS)
    parser.add_argument("--cut", nargs="*", default=["early", "late"], choices=NAMES)
    parser.add_argument("--samples", type=int)
    given = parser.parse_args()
    rows = [
        row
        for name in given.model
        for cut in open_cuts(name, default_shared(), given.samples)
        if cut.cut in given.cut
        for row in measure(cut)
    ]
    write_json(RESULTS / "ablation.json", {"environment": environment(), "rows": rows})
    text = report(rows)
    (RESULTS / "ablation.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
