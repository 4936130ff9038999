"""What each step of the recipe brings: the basis on which the default recipe was chosen.

    python -m benchmarks.quantization.ablation [--model NAME]... [--draws 3]

Judged by the signal-to-noise ratio of the outputs (logits, before a Softmax) against the float
model, on samples of the calibration source that were not drawn for calibration. No test sample and
no label has a part in it.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import (
    MissingDataError,
    default_shared,
    environment,
    markdown_table,
    write_json,
)
from benchmarks.quantization import ours, scoring
from benchmarks.quantization.cases import Case, TestSet, all_cases
from benchmarks.quantization.litert_runner import LiteRtRunner
from benchmarks.quantization.ours import Variant
from benchmarks.quantization.prepare import prepare
from benchmarks.quantization.runners import Runner
from benchmarks.quantization.tflite_files import is_tflite

RESULTS = Path(__file__).resolve().parent / "results" / "ablation"

# Of another seed than any calibration draw.
_HELD_OUT_SEED = 1000

_PLAIN = (
    "quantize.equalize_layers.enabled=false",
    "calibrate.equalize_channels.enabled=false",
    "calibrate.fit_channels.enabled=false",
    "calibrate.reuse_channels.enabled=false",
    "calibrate.round_weights.enabled=false",
    "calibrate.correct_bias.enabled=false",
)


def _variant(name: str, observer: str, *enabled: str) -> Variant:
    off = [option for option in _PLAIN if option.removesuffix(".enabled=false") not in enabled]
    on = [f"{step}.enabled=true" for step in enabled]
    return Variant(name, sets=(*off, *on, f"calibrate.observe_ranges.observer={observer}"))


VARIANTS = (
    _variant("min-max", "minmax"),
    _variant("percentile", "percentile"),
    _variant("entropy", "entropy"),
    _variant("mse", "mse"),
    _variant("mse, equalize layers", "mse", "quantize.equalize_layers"),
    _variant("mse, equalize channels", "mse", "calibrate.equalize_channels"),
    _variant("mse, round", "mse", "calibrate.round_weights"),
    _variant("mse, correct bias", "mse", "calibrate.correct_bias"),
    _variant(
        "mse, equalize layers, round", "mse", "quantize.equalize_layers", "calibrate.round_weights"
    ),
    _variant(
        "mse, equalize channels, round",
        "mse",
        "calibrate.equalize_channels",
        "calibrate.round_weights",
    ),
    _variant(
        "mse, equalize channels, round, correct bias",
        "mse",
        "calibrate.equalize_channels",
        "calibrate.round_weights",
        "calibrate.correct_bias",
    ),
    Variant("default without fit", sets=("calibrate.fit_channels.enabled=false",)),
    Variant("default without reuse", sets=("calibrate.reuse_channels.enabled=false",)),
    Variant("default recipe"),
)


@dataclasses.dataclass(frozen=True)
class _Reference:
    """The float model and its outputs on the held-out samples."""

    case: Case
    model: Path
    batched: bool
    runner: Runner


def measure(case: Case, variants: list[Variant], seeds: list[int]) -> dict[str, Any]:
    """Measures all variants on one case.

    Args:
        case: The model and its data.
        variants: Recipes to try.
        seeds: Of the calibration draws.

    Returns:
        JSON-friendly results.
    """
    pool = case.draw(_HELD_OUT_SEED)
    found: dict[str, dict[str, list[float]]] = {}
    errors: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        reference = _reference(case, pool[:4], work)
        model, free = reference.model, reference.batched
        for seed in seeds:
            drawn = case.draw(seed)
            test = TestSet("held out", without(pool, drawn), "sqnr")
            expected = scoring.run(reference.runner, case, test, free)
            for variant in variants:
                start = time.perf_counter()
                try:
                    bundle = ours.convert(variant, model, case.input, drawn, work / "bundle")
                except Exception as error:  # a variant that fails is a result
                    errors[variant.name] = f"{type(error).__name__}: {error}".splitlines()[0]
                    continue
                seconds = time.perf_counter() - start
                artifact = bundle.artifact("onnx-qdq")
                runner = Runner(bundle.folder / artifact.path, artifact.inputs[0].name)
                result = scoring.run(runner, case, test, free)
                columns = found.setdefault(variant.name, {"sqnr_db": [], "seconds": []})
                columns["sqnr_db"].append(round(scoring.sqnr_db(expected, result) or 0.0, 3))
                columns["seconds"].append(round(seconds, 2))
                print(
                    f"{case.name}, draw {seed}, {variant.name}: {columns['sqnr_db'][-1]:.2f} dB "
                    f"({seconds:.1f} s)",
                    flush=True,
                )
    return {
        "case": case.name,
        "title": case.title,
        "draws": len(seeds),
        "variants": {v.name: {"recipe": v.recipe, "sets": list(v.sets)} for v in variants},
        "results": found,
        "errors": errors,
        "environment": environment(),
    }


def _reference(case: Case, samples: NDArray[np.float32], work: Path) -> _Reference:
    if is_tflite(case.model):
        return _Reference(case, case.model, False, LiteRtRunner(case.model))
    model, free = prepare(case.model, work / "float.onnx", samples, free_batch=True)
    return _Reference(case, model, free, Runner(model, case.input))


def without(pool: NDArray[np.float32], drawn: NDArray[np.float32]) -> NDArray[np.float32]:
    """The samples of ``pool`` that are not in ``drawn``."""
    known = {sample.tobytes() for sample in drawn}
    keep = [i for i, sample in enumerate(pool) if sample.tobytes() not in known]
    return pool[keep]


def table(results: list[dict[str, Any]]) -> str:
    """All results in one table: dB, mean over the draws; the first variant in full, then gains."""
    known = [variant.name for variant in VARIANTS]
    found = list(dict.fromkeys(name for data in results for name in data["variants"]))
    names = sorted(found, key=lambda name: known.index(name) if name in known else len(known))
    rows = []
    for data in results:
        means = {n: float(np.mean(c["sqnr_db"])) for n, c in data["results"].items()}
        first = means.get(names[0])
        row = [data["title"]]
        for name in names:
            if name not in means or first is None:
                row.append("fails" if name in data["errors"] else "")
            elif name == names[0]:
                row.append(f"{first:.1f}")
            else:
                row.append(f"{means[name] - first:+.1f}")
        rows.append(row)
    average = ["**mean**", ""]
    for name in names[1:]:
        gains = [
            float(np.mean(d["results"][name]["sqnr_db"]))
            - float(np.mean(d["results"][names[0]]["sqnr_db"]))
            for d in results
            if name in d["results"] and names[0] in d["results"]
        ]
        # A mean over a few of the models would not compare with the others.
        average.append(f"**{np.mean(gains):+.1f}**" if 2 * len(gains) > len(results) else "")
    return (
        f"SQNR with {names[0]}, dB; for the others the gain over it.\n\n"
        + markdown_table(["model", *names], [*rows, average])
        + "\n"
    )


def main() -> None:
    """Measures, writes the results, prints the table."""
    import json

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help="a case (repeatable); the default is all")
    parser.add_argument("--shared", type=Path, default=default_shared())
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="variants whose name is one of these")
    parser.add_argument(
        "--variant", action="append", default=[], help="'name: key=value; key=value' (repeatable)"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--tables", action="store_true", help="only the table, from --out")
    args = parser.parse_args()

    if not args.tables:
        variants = [v for v in VARIANTS if args.only is None or v.name in args.only]
        variants += [Variant.parse(text) for text in args.variant]
        cases = all_cases(args.shared)
        for name in args.model or cases:
            try:
                data = measure(cases[name](), variants, list(range(args.draws)))
            except MissingDataError as error:
                print(f"{name}: left out, {error}")
                continue
            write_json(args.out / f"{name}.json", data)
    results = [json.loads(path.read_text("utf-8")) for path in sorted(args.out.glob("*.json"))]
    text = table(results)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
