"""Emitted C beside the integer graph in onnxruntime: every variant that this machine runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import intaglio
import numpy as np
from intaglio.bundle import Bundle
from intaglio.targets.base import TensorSpec
from intaglio.targets.reading import read_model
from intaglio.verification.inner_tensors import inner_tensors, load_graph
from numpy.typing import NDArray

from benchmarks.common import existing
from benchmarks.exactness.compare import Tally, compare
from benchmarks.exactness.inputs import PUBLISHED, quantized, random_integers
from benchmarks.quantization.cases import Case

PROFILES = ("tflm", "litert", "tosa-single")
TARGETS = ("onnx-integer", "c")


def published(
    name: str, shared: Path, count: int, folder: Path, profiles: Sequence[str] = PROFILES
) -> Iterator[dict[str, Any]]:
    """Compares what is emitted from a published int8 file; a row a profile and variant.

    Raises:
        MissingDataError: The file or its data is not there.
    """
    path = existing(shared / "zoo" / f"{name}.tflite")
    for profile in profiles:
        bundle = intaglio.convert(
            path,
            targets=TARGETS,
            out=folder / f"{name}-{profile}",
            sets=[f"lower.profile={profile}"],
        )
        spec = bundle.artifact("onnx-integer").inputs[0]
        shape = tuple(d if isinstance(d, int) else 1 for d in spec.shape)
        real = PUBLISHED[name](shared / "data", shape, count // 2)
        drawn = random_integers(spec, count - len(real))
        yield from _rows(name, profile, bundle, np.concatenate([quantized(real, spec), drawn]))


def emitted(
    case: Case,
    count: int,
    folder: Path,
    profiles: Sequence[str] = PROFILES,
    sets: Sequence[str] = (),
) -> Iterator[dict[str, Any]]:
    """Compares what is emitted from a float model; a row a profile and variant."""
    drawn = case.draw(0)
    shape = [1, *drawn.shape[1:]]
    [source] = read_model(case.model).graph.inputs
    for profile in profiles:
        bundle = intaglio.convert(
            case.model,
            targets=TARGETS,
            calibration={str(source.name): drawn[:100]},
            shapes={str(source.name): shape},
            out=folder / f"{case.name}-{profile}",
            sets=[f"lower.profile={profile}", *sets],
        )
        spec = bundle.artifact("onnx-integer").inputs[0]
        fresh = case.draw(1)[: count // 2, None]
        real = quantized(fresh.reshape(-1, *shape), spec)
        inputs = np.concatenate([real, random_integers(spec, count - len(real))])
        yield from _rows(case.name, profile, bundle, inputs)


def _rows(
    name: str, profile: str, bundle: Bundle, inputs: NDArray[Any]
) -> Iterator[dict[str, Any]]:
    """Runs everything on all inputs and counts what differs, a row a variant."""
    start = time.perf_counter()
    artifact, twin = bundle.artifact("c"), bundle.artifact("onnx-integer")
    spec, own = twin.inputs[0], artifact.inputs[0]
    golden = bundle.session("onnx-integer")
    variants = [runtime.name for runtime in bundle.opener(artifact).runtimes(artifact)]
    sessions = {variant: bundle.session("c", runtime=variant) for variant in variants}
    tallies = {variant: (Tally(), Tally()) for variant in variants}
    names = inner_names(bundle)
    outputs = {output.name: output.name for output in twin.outputs}
    for sample in inputs:
        expected = golden.run_inner({spec.name: sample}, list(names.values()))
        for variant, session in sessions.items():
            found = session.run_inner({own.name: turned(sample, spec, own)}, list(names))
            compare(found.outputs, expected.outputs, outputs, tallies[variant][0])
            compare(found.inner, expected.inner, names, tallies[variant][1])
    seconds = round(time.perf_counter() - start, 1)
    for variant, (last, inner) in tallies.items():
        yield {
            "model": name,
            "profile": profile,
            "runtime": f"c@{variant}",
            "inputs": len(inputs),
            "outputs": last.to_dict(),
            "inner": inner.to_dict(),
            "seconds": seconds,
        }


def inner_names(bundle: Bundle) -> dict[str, str]:
    """Names of the layers' outputs in C to those of the same tensors in the integer graph."""
    artifact = bundle.artifact("c")
    layers = bundle.opener(artifact).report(artifact, bundle.folder)["layers"]
    graph = load_graph(bundle.folder / bundle.artifact("onnx-integer").path)
    by_source = {t.source: t.name for t in inner_tensors(graph) if t.is_integer}
    made = {str(value.name) for node in graph.graph for value in node.outputs}
    found = {}
    for layer in layers:
        name = layer["output"]
        if name in made:
            found[name] = name
        elif layer["source"] in by_source:
            found[name] = by_source[layer["source"]]
    return found


def turned(sample: NDArray[Any], spec: TensorSpec, own: TensorSpec) -> NDArray[Any]:
    """A sample of the integer graph in the layout that the C code takes."""
    if spec.layout == own.layout:
        return sample
    return np.ascontiguousarray(sample.transpose(0, 2, 3, 1))
