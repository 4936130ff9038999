"""Emitted C on emulated processors, beside the integer graph in onnxruntime.

AArch64 programs run in QEMU's user mode, images for Cortex-M on whole boards. What does not fit an
emulated memory, or takes too long, gives a row with the reason.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import intaglio
import numpy as np
from intaglio.bundle import Bundle
from intaglio.errors import IntaglioError
from intaglio.targets.base import TensorSpec
from intaglio.targets.c import boards
from intaglio.targets.c.emulated import FLAGS, Emulated
from intaglio.targets.c.library import Port
from numpy.typing import NDArray

from benchmarks.common import MissingDataError, existing
from benchmarks.exactness.c_code import PROFILES, TARGETS, inner_names, turned
from benchmarks.exactness.compare import Tally, compare
from benchmarks.exactness.inputs import PUBLISHED, quantized, random_integers
from benchmarks.quantization.cases import Case

Arrays = Mapping[str, NDArray[Any]]
#: Outputs and inner tensors of one inference, by name.
Found = tuple[Arrays, Arrays]
Inputs = NDArray[Any]

#: Variant to the board that has its processor; None where QEMU's user mode runs it.
VARIANTS: Mapping[str, str | None] = {
    "neon": None,
    "dotprod": None,
    "dsp": "cortex-m4",
    "mve": "cortex-m55",
}
INPUTS = 5
#: Time that a board may take for all inputs of a model.
SECONDS = 180.0
#: Programs that are compiled and emulated at once.
AT_ONCE = 2


def published(
    name: str, shared: Path, count: int, folder: Path, profiles: Sequence[str] = PROFILES
) -> Iterator[dict[str, Any]]:
    """Compares what is emitted from a published int8 file; a row a profile and variant."""

    def converted(profile: str) -> tuple[Bundle, Inputs]:
        bundle = intaglio.convert(
            existing(shared / "zoo" / f"{name}.tflite"),
            targets=TARGETS,
            out=folder / f"{name}-{profile}",
            sets=[f"lower.profile={profile}"],
        )
        spec = bundle.artifact("onnx-integer").inputs[0]
        shape = tuple(d if isinstance(d, int) else 1 for d in spec.shape)
        real = quantized(PUBLISHED[name](shared / "data", shape, count // 2), spec)
        return bundle, np.concatenate([real, random_integers(spec, count - len(real))])

    return _by_profile(name, profiles, converted)


def emitted(
    name: str,
    case: Callable[[], Case],
    count: int,
    folder: Path,
    profiles: Sequence[str] = PROFILES,
) -> Iterator[dict[str, Any]]:
    """Compares what is emitted from a float model; a row a profile and variant."""

    def converted(profile: str) -> tuple[Bundle, Inputs]:
        model = case()
        drawn = model.draw(0)
        shape = [1, *drawn.shape[1:]]
        own = _input_name(model)
        bundle = intaglio.convert(
            model.model,
            targets=TARGETS,
            calibration={own: drawn[:100]},
            shapes={own: shape},
            out=folder / f"{name}-{profile}",
            sets=[f"lower.profile={profile}"],
        )
        spec = bundle.artifact("onnx-integer").inputs[0]
        real = quantized(model.draw(1)[: count // 2, None].reshape(-1, *shape), spec)
        return bundle, np.concatenate([real, random_integers(spec, count - len(real))])

    return _by_profile(name, profiles, converted)


def _input_name(case: Case) -> str:
    """Name of the model's input: a case of a ``.tflite`` file has the name in a signature."""
    if case.model.suffix != ".tflite":
        return case.input
    from ai_edge_litert.interpreter import Interpreter

    return str(Interpreter(str(case.model)).get_input_details()[0]["name"])


def _by_profile(
    name: str, profiles: Sequence[str], converted: Callable[[str], tuple[Bundle, Inputs]]
) -> Iterator[dict[str, Any]]:
    for profile in profiles:
        try:
            bundle, inputs = converted(profile)
        except (MissingDataError, IntaglioError) as error:
            yield from (_not_run(name, profile, variant, error) for variant in VARIANTS)
        else:
            yield from _rows(name, profile, bundle, inputs)


def _rows(name: str, profile: str, bundle: Bundle, inputs: Inputs) -> list[dict[str, Any]]:
    """Runs every variant on all inputs and counts what differs, a row a variant."""
    names = inner_names(bundle)
    spec, golden = bundle.artifact("onnx-integer").inputs[0], bundle.session("onnx-integer")
    expected = [golden.run_inner({spec.name: x}, list(names.values())) for x in inputs]
    outputs = {output.name: output.name for output in bundle.artifact("onnx-integer").outputs}

    def row(variant: str) -> dict[str, Any]:
        start = time.perf_counter()
        try:
            found = run(bundle, variant, inputs, list(names))
        except IntaglioError as error:
            return _not_run(name, profile, variant, error)
        last, inner = Tally(), Tally()
        for (have, inside), wanted in zip(found, expected, strict=True):
            compare(have, wanted.outputs, outputs, last)
            compare(inside, wanted.inner, names, inner)
        return {
            **_labels(name, profile, variant),
            "inputs": len(inputs),
            "outputs": last.to_dict(),
            "inner": inner.to_dict(),
            "seconds": round(time.perf_counter() - start, 1),
        }

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(row, VARIANTS))


def run(bundle: Bundle, variant: str, inputs: Inputs, inner: Sequence[str]) -> list[Found]:
    """Compiles the emitted C for a variant and runs it where it is emulated.

    Args:
        bundle: With targets ``onnx-integer`` and ``c``.
        variant: One of :data:`VARIANTS`.
        inputs: Samples as the integer graph takes them.
        inner: Names of the layers' outputs that are wanted.

    Raises:
        ToolError: A tool is missing or failed, or the model does not fit.
    """
    artifact = bundle.artifact("c")
    own, spec = artifact.inputs[0], bundle.artifact("onnx-integer").inputs[0]
    layers = [
        Port(layer["output"], layer["shape"], layer["dtype"])
        for layer in bundle.opener(artifact).report(artifact, bundle.folder)["layers"]
    ]
    fed = [turned(sample, spec, own) for sample in inputs]
    source = bundle.folder / artifact.path
    board = VARIANTS[variant]
    if board is None:
        with tempfile.TemporaryDirectory(prefix="intaglio-") as build:
            program = Emulated(
                source.parent.resolve(),
                source.stem,
                _ports(artifact.inputs),
                _ports(artifact.outputs),
                Path(build),
                layers=layers,
                inner=inner,
                flags=FLAGS[variant],
            )
            return list(program.run([{own.name: sample} for sample in fed]))
    results = boards.run(
        boards.BOARDS[board],
        source.parent,
        source.stem,
        [[sample] for sample in fed],
        artifact.outputs,
        layers=layers,
        inner=[place for place, port in enumerate(layers) if port.name in inner],
        seconds=SECONDS,
    )
    ends = [output.name for output in artifact.outputs]
    return [
        (
            dict(zip(ends, result.outputs, strict=True)),
            {layers[place].name: array for place, array in result.inner.items()},
        )
        for result in results
    ]


def _ports(specs: Sequence[TensorSpec]) -> list[Port]:
    return [Port(spec.name, [int(d) for d in spec.shape], spec.dtype) for spec in specs]


def _labels(name: str, profile: str, variant: str) -> dict[str, Any]:
    where = VARIANTS[variant] or "aarch64"
    return {"model": name, "profile": profile, "runtime": f"c@{variant} ({where})"}


def _not_run(name: str, profile: str, variant: str, error: Exception) -> dict[str, Any]:
    """The row of what could not be compared."""
    reason = str(error).splitlines()[0]
    return {**_labels(name, profile, variant), "inputs": 0, "not_run": reason}


def measurements(
    shared: Path,
    files: Sequence[str],
    cases: Mapping[str, Callable[[], Case]],
    count: int,
    folder: Path,
    profiles: Sequence[str],
) -> dict[str, Callable[[], Iterator[dict[str, Any]]]]:
    """What gives the rows of each model."""
    return {
        **{n: partial(published, n, shared, count, folder, profiles) for n in files},
        **{n: partial(emitted, n, case, count, folder, profiles) for n, case in cases.items()},
    }
