"""How well do table networks restore pictures, beside other networks and published figures?

    python -m benchmarks.restoration.quality MODEL.onnx [NAME=MODEL.onnx ...] [--draws 1]
        [--orientations 1] [--add] [--shared DIR] [--out DIR]
    python -m benchmarks.restoration.quality --tables

Models take and give one 8-bit plane; R, G and B go through apart. Whether one enlarges or denoises
is seen from its output. Enlarging: Set5 and Set14, PSNR and SSIM of BT.601's luma (studio range, in
floating point from the 8-bit R, G and B that come out), without a border of as many pixels as the
factor. Denoising: Set12 with noise of fixed seeds, rounded and clamped to 8 bits. Everything is run
in onnxruntime in one run; rows marked "published" are copied. With ``--add`` only the models given
are run, and their rows are put to those that the results hold. With ``--orientations 4`` a result
is the mean of those of four rotations of the picture; look-ups and products count all four.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from intaglio.transforms.images.color import luma
from intaglio.transforms.images.orientations import COUNTS
from intaglio.transforms.images.quality import psnr, ssim

from benchmarks.common import MissingDataError, default_shared, environment, write_json
from benchmarks.restoration import published, report
from benchmarks.restoration.data import (
    NOISY_SET,
    SETS,
    SIGMAS,
    Pair,
    enlarging_pairs,
    noisy_pairs,
)
from benchmarks.restoration.methods import Method, PlaneNetwork, Untouched
from benchmarks.restoration.peers import enlarging_peers

RESULTS = Path(__file__).resolve().parent / "results"
FACTORS = (4, 2)


@dataclasses.dataclass(frozen=True)
class Row:
    """A method in a task.

    Attributes:
        task: ``x4``, ``x2`` or ``denoise``.
        name: The method.
        kind: ``ours``, ``peer`` or ``published``.
        bytes: Of tables or weights.
        lookups: Table entries read for a cell of the input.
        products: Multiplications for a cell.
        psnr: dB, mean over the pictures, by set or sigma.
        ssim: The same of SSIM.
        luma_psnr: PSNR where the network is given luma alone; empty where it always is.
    """

    task: str
    name: str
    kind: str
    bytes: int | None
    lookups: int | None
    products: int | None
    psnr: dict[str, float]
    ssim: dict[str, float]
    luma_psnr: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Score:
    """Means over the pictures of a set; ``luma_psnr`` as of :class:`Row`, None where it is not."""

    psnr: float
    ssim: float
    luma_psnr: float | None


def score(method: Method, pairs: Iterable[Pair], crop: int) -> Score:
    """Restores all pictures and compares."""
    ratios, likeness, alone = [], [], []
    for pair in pairs:
        true = luma(pair.true) if pair.true.ndim == 3 else pair.true.astype(float)
        found = method.luma(pair.degraded)
        ratios.append(psnr(found, true, crop))
        likeness.append(ssim(found, true, crop))
        from_luma = method.luma_alone(pair.degraded)
        if from_luma is not None:
            alone.append(psnr(from_luma, true, crop))
    mean = statistics.fmean
    return Score(mean(ratios), mean(likeness), mean(alone) if alone else None)


def enlarging_rows(
    models: Sequence[PlaneNetwork],
    factor: int,
    shared: Path,
    folder: Path | None,
    left_out: dict[str, str],
) -> list[Row]:
    """Models and peers on Set5 and Set14.

    Args:
        models: Those of another factor are passed over.
        factor: 2 or 4.
        shared: The folder with models and data.
        folder: Where to convert peers; None leaves them out.
        left_out: Gets the reason for each peer that is missing.

    Raises:
        MissingDataError: A set is not there.
    """
    sets = {name: enlarging_pairs(shared / "data" / "sr" / name, factor) for name in SETS}
    peers = enlarging_peers(factor, shared, folder, left_out) if folder else []
    rows = []
    for method in (*(m for m in models if m.factor == factor), *peers):
        scores = {name: score(method, pairs, factor) for name, pairs in sets.items()}
        rows.append(_row(f"x{factor}", method, scores))
    return rows + _published(f"x{factor}", published.ENLARGING.get(factor, ()))


def denoising_rows(models: Sequence[PlaneNetwork], draws: int, shared: Path) -> list[Row]:
    """Models on Set12 with noise; one that says which noise it removes is tried on that alone.

    Models of one name (one for each sigma) make one row; their largest cost is given.

    Raises:
        MissingDataError: Data is not there.
    """
    rows: dict[str, Row] = {}
    for method in (*(m for m in models if m.factor == 1), Untouched()):
        of_one = method.sigma if isinstance(method, PlaneNetwork) else None
        scores = {}
        for sigma in SIGMAS if of_one is None else (of_one,):
            pairs = [
                pair
                for draw in range(draws)
                for pair in noisy_pairs(shared / "data" / "denoise" / NOISY_SET, sigma, draw)
            ]
            scores[str(sigma)] = score(method, pairs, 0)
        row = _row("denoise", method, scores)
        rows[row.name] = _merged(rows[row.name], row) if row.name in rows else row
    return [*rows.values(), *_published("denoise", published.DENOISING)]


def _row(task: str, method: Method, scores: dict[str, Score]) -> Row:
    return Row(
        task,
        method.name,
        method.kind,
        method.cost.bytes,
        method.cost.lookups,
        method.cost.products,
        {name: found.psnr for name, found in scores.items()},
        {name: found.ssim for name, found in scores.items()},
        {name: s.luma_psnr for name, s in scores.items() if s.luma_psnr is not None},
    )


def _merged(first: Row, second: Row) -> Row:
    return dataclasses.replace(
        first,
        bytes=max(first.bytes or 0, second.bytes or 0) or None,
        lookups=max(first.lookups or 0, second.lookups or 0) or None,
        products=max(first.products or 0, second.products or 0) or None,
        psnr={**first.psnr, **second.psnr},
        ssim={**first.ssim, **second.ssim},
    )


def _published(task: str, methods: Iterable[published.Published]) -> list[Row]:
    return [
        Row(task, m.name, "published", m.bytes, m.lookups, None, dict(m.psnr), dict(m.ssim))
        for m in methods
    ]


def open_model(text: str, orientations: int = 1) -> PlaneNetwork:
    """A model of the command line: ``FILE`` or ``NAME=FILE``."""
    name, equals, path = text.partition("=")
    return PlaneNetwork(Path(path if equals else text), name if equals else "", orientations)


def main() -> None:
    """Measures, writes the results, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="FILE or NAME=FILE")
    parser.add_argument("--draws", type=int, default=1, help="of noise, for each picture")
    parser.add_argument("--orientations", type=int, default=1, choices=COUNTS)
    parser.add_argument("--add", action="store_true", help="run the models only; keep other rows")
    parser.add_argument("--shared", type=Path, default=default_shared())
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--tables", action="store_true", help="draw again what is in the results")
    args = parser.parse_args()
    if args.tables:
        data = json.loads((args.out / "quality.json").read_text(encoding="utf-8"))
    else:
        data = _measure_all(args)
        if args.add:
            earlier = json.loads((args.out / "quality.json").read_text(encoding="utf-8"))
            data = add_rows(earlier, [row for row in data["rows"] if row["kind"] == "ours"])
        write_json(args.out / "quality.json", data)
    text = report.tables(data, report.read_times(args.out))
    (args.out / "quality.md").write_text(text, encoding="utf-8")
    report.draw(data, args.out / "quality.png", report.read_times(args.out))
    print(text)


def _measure_all(args: argparse.Namespace) -> dict[str, Any]:
    models = [open_model(text, args.orientations) for text in args.models]
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = None if args.add else Path(place)
        for factor in FACTORS:
            try:
                rows += enlarging_rows(models, factor, args.shared, folder, left_out)
            except MissingDataError as error:
                left_out[f"x{factor}"] = str(error)
    try:
        rows += denoising_rows(models, args.draws, args.shared)
    except MissingDataError as error:
        left_out["denoise"] = str(error)
    return {
        "rows": [dataclasses.asdict(row) for row in rows],
        "draws": args.draws,
        "left_out": left_out,
        "environment": environment(),
    }


def add_rows(data: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, Any]:
    """Results with rows put in: over one of the same name, else behind our others."""
    rows: list[dict[str, Any]] = list(data["rows"])
    for row in found:
        ours = [
            n for n, old in enumerate(rows) if (old["task"], old["kind"]) == (row["task"], "ours")
        ]
        same = [n for n in ours if rows[n]["name"] == row["name"]]
        if same:
            # One model for each sigma makes one row.
            old = rows[same[0]]
            scores = {key: {**old[key], **row[key]} for key in ("psnr", "ssim", "luma_psnr")}
            rows[same[0]] = {**row, **scores}
        else:
            rows.insert(ours[-1] + 1 if ours else 0, row)
    return {**data, "rows": rows}


if __name__ == "__main__":
    main()
