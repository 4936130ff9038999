"""Post-training quantization, side by side: the quantizer of the model's format and intaglio.

Of ONNX models that is onnxruntime's, of ``.tflite`` models AI Edge Quantizer.

    python -m benchmarks.quantization.run [--model NAME]... [--shared DIR] [--draws 3]

Every method gets the same float model and the same calibration samples, in one run. Results go to
``results/NAME.json``; the tables and the plot are made from these files.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from intaglio.transforms.metrics import wilson_interval
from numpy.typing import NDArray

from benchmarks.common import MissingDataError, default_shared, environment, write_json
from benchmarks.quantization import litert_peers, ours, peers, plot, scoring, tables
from benchmarks.quantization.cases import Case, TestSet, all_cases
from benchmarks.quantization.litert_runner import LiteRtRunner
from benchmarks.quantization.ours import Variant
from benchmarks.quantization.prepare import prepare
from benchmarks.quantization.runners import IntegerRunner, Runner
from benchmarks.quantization.tflite_files import is_tflite

RESULTS = Path(__file__).resolve().parent / "results"

Progress = Callable[[str], None]


@dataclasses.dataclass
class _Collected:
    """What the draws of one method gave."""

    bytes: list[int] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    sets: dict[str, dict[str, list[Any]]] = dataclasses.field(default_factory=dict)
    error: str | None = None

    def add(self, test: str, key: str, value: Any) -> None:
        self.sets.setdefault(test, {}).setdefault(key, []).append(value)


@dataclasses.dataclass(frozen=True)
class _Float:
    """The float model of a case, its results, and how to make runners."""

    case: Case
    model: Path
    batched: bool
    tests: list[TestSet]
    results: dict[str, scoring.Result]


def measure(
    case: Case,
    methods: list[str],
    variants: list[Variant],
    seeds: list[int],
    samples: int | None,
    say: Progress,
) -> dict[str, Any]:
    """Measures all methods on one case.

    Args:
        case: The model and its data.
        methods: Peers to run: names of :func:`peer_names`.
        variants: intaglio recipes to run.
        seeds: Seeds of the calibration draws.
        samples: Score on the first so many samples; None for all.
        say: Called with a line when something is done.

    Returns:
        JSON-friendly results.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        reference = _float(case, samples, work)
        say(f"{case.name}: float done")
        found: dict[str, _Collected] = {}
        for seed in seeds:
            drawn = case.draw(seed)
            for method in methods:
                _peer(reference, method, drawn, seed, work, found)
                say(f"{case.name}: {method}, draw {seed} done")
            for variant in variants:
                _ours(reference, variant, drawn, seed, work, found)
                say(f"{case.name}: intaglio {variant.name}, draw {seed} done")
    return {
        "case": case.name,
        "title": case.title,
        "model": case.model.name,
        "bytes": case.model.stat().st_size,
        "calibration": case.calibration,
        "calibration_samples": len(drawn),
        "draws": len(seeds),
        "sets": {test.name: _describe(test, reference) for test in reference.tests},
        "variants": {v.name: {"recipe": v.recipe, "sets": list(v.sets)} for v in variants},
        "methods": {name: _summary(collected, reference) for name, collected in found.items()},
        "environment": {**environment(), **litert_peers.versions(case.model)},
    }


def _float(case: Case, samples: int | None, work: Path) -> _Float:
    tests = [test.head(samples) for test in case.tests()]
    if is_tflite(case.model):
        runner: Runner = LiteRtRunner(case.model)
        return _Float(
            case, case.model, False, tests, _reference_results(runner, case, tests, False)
        )
    samples_in = tests[0].samples
    many = isinstance(samples_in, np.ndarray)
    some = samples_in[:4] if isinstance(samples_in, np.ndarray) else samples_in[0]
    model, free = prepare(case.model, work / "float.onnx", some, free_batch=many)
    batched = many and free
    runner = Runner(model, case.input)
    return _Float(case, model, batched, tests, _reference_results(runner, case, tests, batched))


def _reference_results(
    runner: Runner, case: Case, tests: list[TestSet], batched: bool
) -> dict[str, scoring.Result]:
    whole = [test for test in tests if test.drop is None]
    return {test.name: scoring.run(runner, case, test, batched) for test in whole}


def peer_names(case: Case) -> list[str]:
    """The peers that take the format of a case's model."""
    return list(litert_peers.PEERS if is_tflite(case.model) else peers.PEERS)


def _peer(
    reference: _Float,
    method: str,
    drawn: NDArray[np.float32],
    seed: int,
    work: Path,
    found: dict[str, _Collected],
) -> None:
    collected = found.setdefault(method, _Collected())
    if collected.error is not None:
        return
    out = work / f"{method}{reference.model.suffix}"
    start = time.perf_counter()
    try:
        if is_tflite(reference.model):
            litert_peers.quantize(method, reference.model, drawn, out)
        else:
            peers.quantize(method, reference.model, reference.case.input, drawn, out)
        seconds = time.perf_counter() - start
        runner: Runner
        runner = LiteRtRunner(out) if is_tflite(out) else Runner(out, reference.case.input)
        _score(reference, runner, seed, collected)
    except Exception as error:  # a peer that fails is a result
        collected.error = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        return
    collected.seconds.append(seconds)
    collected.bytes.append(out.stat().st_size)


def _ours(
    reference: _Float,
    variant: Variant,
    drawn: NDArray[np.float32],
    seed: int,
    work: Path,
    found: dict[str, _Collected],
) -> None:
    # Of .tflite models the integer artifact alone: it has the bits of the file that is emitted.
    kinds = ("onnx-integer",) if is_tflite(reference.model) else tables.OURS
    targets = {t: found.setdefault(f"{t} {variant.name}", _Collected()) for t in kinds}
    if any(collected.error is not None for collected in targets.values()):
        return
    start = time.perf_counter()
    try:
        bundle = ours.convert(
            variant, reference.model, reference.case.input, drawn, work / variant.name
        )
    except Exception as error:  # as a peer would be
        for collected in targets.values():
            collected.error = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        return
    seconds = time.perf_counter() - start
    for target, collected in targets.items():
        artifact = bundle.artifact(target)
        runner: Runner
        if target == "onnx-integer":
            runner = IntegerRunner(bundle)
        else:
            runner = Runner(bundle.folder / artifact.path, reference.case.input)
        _score(reference, runner, seed, collected)
        collected.seconds.append(seconds)
        collected.bytes.append(artifact.bytes)


def _score(reference: _Float, runner: Runner, seed: int, collected: _Collected) -> None:
    case = reference.case
    results: dict[str, scoring.Result] = {}
    whole: str = reference.tests[0].name
    for test in reference.tests:
        if test.drop is None:
            whole = test.name
            results[whole] = scoring.run(runner, case, test, reference.batched)
        expected, result = reference.results[whole], results[whole]
        keep = np.ones(len(test.samples), bool)
        if test.drop is not None:
            dropped = test.drop(seed)
            keep[dropped[dropped < len(keep)]] = False
        if result.values.size:
            collected.add(test.name, "value", float(result.values[keep].mean()))
            collected.add(test.name, "difference", (expected.values - result.values)[keep])
        if case.classes:
            same = (expected.decisions == result.decisions)[keep]
            collected.add(test.name, "agreement", float(same.mean()))
        ratio = None if test.drop is not None else scoring.sqnr_db(expected, result)
        if ratio is not None:
            collected.add(test.name, "sqnr_db", ratio)


def _describe(test: TestSet, reference: _Float) -> dict[str, Any]:
    described: dict[str, Any] = {
        "samples": len(test.samples) - (0 if test.drop is None else len(test.drop(0))),
        "metric": test.metric,
        "limit": test.limit,
    }
    if test.drop is None and test.metric != "sqnr":
        values = reference.results[test.name].values
        described["float"] = _unit(float(values.mean()), test.metric)
        if test.metric == "top1":
            interval = wilson_interval(int(values.sum()), len(values))
            described["float_interval"] = [_unit(bound, test.metric) for bound in interval]
    return described


def _summary(collected: _Collected, reference: _Float) -> dict[str, Any]:
    if collected.error is not None:
        return {"error": collected.error}
    summary: dict[str, Any] = {
        "bytes": round(float(np.mean(collected.bytes))),
        "convert_seconds": round(float(np.mean(collected.seconds)), 2),
        "sets": {},
    }
    for test in reference.tests:
        columns = collected.sets[test.name]
        out: dict[str, Any] = {}
        if "value" in columns:
            out["value"] = _spread([_unit(v, test.metric) for v in columns["value"]])
            differences = columns["difference"]
            losses = [_unit(float(d.mean()), test.metric) for d in differences]
            out["loss"] = _spread(losses)
            if len({len(d) for d in differences}) == 1 and test.drop is None:
                interval = scoring.bootstrap(differences)
                out["loss_interval"] = [round(_unit(v, test.metric), 4) for v in interval]
        if "agreement" in columns:
            mean = float(np.mean(columns["agreement"]))
            out["agreement"] = _spread([100 * v for v in columns["agreement"]])
            count = len(test.samples)
            interval = wilson_interval(round(mean * count), count)
            out["agreement_interval"] = [round(100 * v, 3) for v in interval]
        if "sqnr_db" in columns:
            out["sqnr_db"] = _spread(columns["sqnr_db"])
        summary["sets"][test.name] = out
    return summary


def _unit(value: float, metric: str) -> float:
    """Fractions as percent; decibels as they are."""
    return 100 * value if metric == "top1" else value


def _spread(values: list[float]) -> dict[str, Any]:
    return {
        "mean": round(float(np.mean(values)), 4),
        "sd": round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None,
        "draws": [round(float(v), 4) for v in values],
    }


def main() -> None:
    """Measures, writes the results, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help="a case (repeatable); the default is all")
    parser.add_argument("--shared", type=Path, default=default_shared())
    parser.add_argument("--draws", type=int, default=3, help="calibration draws, seeds 0, 1, ...")
    parser.add_argument("--samples", type=int, help="score on the first so many samples only")
    parser.add_argument("--methods", nargs="*", choices=[*peers.PEERS, *litert_peers.PEERS])
    parser.add_argument(
        "--variant", action="append", default=[], help="'name: key=value; key=value' (repeatable)"
    )
    parser.add_argument("--no-default", action="store_true", help="leave the plain recipe out")
    parser.add_argument(
        "--keep", action="store_true", help="keep earlier results of methods not measured now"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--tables", action="store_true", help="only tables and plot, from --out")
    args = parser.parse_args()

    if not args.tables:
        cases = all_cases(args.shared)
        unknown = sorted(set(args.model or []) - set(cases))
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(cases)}")
        variants = [] if args.no_default else [Variant("default")]
        variants += [Variant.parse(text) for text in args.variant]
        start = time.perf_counter()

        def say(line: str) -> None:
            print(f"{time.perf_counter() - start:7.1f} s  {line}", flush=True)

        for name in args.model or cases:
            try:
                case = cases[name]()
                methods = peer_names(case) if args.methods is None else args.methods
                data = measure(case, methods, variants, list(range(args.draws)), args.samples, say)
            except MissingDataError as error:
                say(f"{name}: left out, {error}")
                continue
            path = args.out / f"{name}.json"
            if args.keep and path.exists():
                earlier = json.loads(path.read_text(encoding="utf-8"))["methods"]
                data["methods"] = {**earlier, **data["methods"]}
            write_json(path, data)
    print(tables.write(args.out, args.out / "tables.md"))
    plot.write(args.out, args.out / "sqnr.png")


if __name__ == "__main__":
    main()
