"""Provokes typical errors, so that the manual shows the messages as they are.

Everything happens in a temporary folder with the sample model ``digits`` in it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import intaglio
from intaglio.bundle_files import write_json
from intaglio.errors import IntaglioError, UnsupportedError, VerificationError
from intaglio.running import open_runnable, read_inputs

_DIGITS = Path(__file__).resolve().parents[1] / "sample_models" / "digits"

_MODEL = "digits.onnx"
_DATA = "calibration.npz"


@dataclass(frozen=True)
class Provoked:
    """One error as a user meets it.

    Attributes:
        group: What it is about: heading of the manual.
        situation: What was done, the beginning of a sentence.
        kind: Class of the error in backquotes, or the command that fails.
        exit_code: Exit code of the command line.
        prefix: How the command line begins the message: ``error`` or ``failed``.
        message: What is wrong.
        remedy: What to do, or None.
        refusals: Nodes that are not supported.
        advice: More than the remedy says, for the manual; may be empty.
    """

    group: str
    situation: str
    kind: str
    exit_code: int
    prefix: str
    message: str
    remedy: str | None
    refusals: tuple[str, ...]
    advice: str


@dataclass(frozen=True)
class _Case:
    group: str
    situation: str
    provoke: Callable[[], Any]
    advice: str = ""


def provoked() -> list[Provoked]:
    """All errors, in the order of the manual.

    Raises:
        SystemExit: A case raised nothing.
    """
    found = []
    with _workplace():
        intaglio.convert(_MODEL, targets=["onnx-integer"], calibration=_DATA, out="bundle")
        for case in _CASES:
            found.append(_run(case))
    return found


@contextlib.contextmanager
def _workplace() -> Iterator[None]:
    """A temporary working folder with the model and its data."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for name in (_MODEL, _DATA):
            shutil.copy(_DIGITS / name, folder)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _run(case: _Case) -> Provoked:
    shown = {"group": case.group, "situation": case.situation, "advice": case.advice}
    try:
        result = case.provoke()
    except IntaglioError as error:
        refusals = error.refusals if isinstance(error, UnsupportedError) else ()
        return Provoked(
            **shown,
            kind=f"`{type(error).__name__}`",
            exit_code=error.exit_code,
            prefix="error",
            message=error.message,
            remedy=error.remedy,
            refusals=tuple(str(refusal) for refusal in refusals),
        )
    if not isinstance(result, intaglio.VerifyReport) or result.ok:
        raise SystemExit(f"docs/provoke.py: '{case.situation}' raised nothing")
    return Provoked(
        **shown,
        kind="`verify` fails",
        exit_code=VerificationError.exit_code,
        prefix="failed",
        message=result.failures[0],
        remedy=None,
        refusals=(),
    )


def _convert(model: str = _MODEL, calibration: Any = _DATA, **options: Any) -> Any:
    return intaglio.convert(model, calibration=calibration, **{"out": "out", **options})


def _samples() -> np.ndarray[Any, Any]:
    return np.load(_DATA)["image"][:8]


def _written(name: str, data: bytes) -> str:
    Path(name).write_bytes(data)
    return name


def _truncated() -> Any:
    data = Path(_MODEL).read_bytes()
    return _convert(_written("cut.onnx", data[: len(data) // 2]))


def _with_nan() -> Any:
    model = onnx.load(_MODEL)
    tensor = next(t for t in model.graph.initializer if t.name == "conv1.weight")
    array = numpy_helper.to_array(tensor).copy()
    array[0, 0, 0, 0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, "diverged.onnx")
    return _convert("diverged.onnx")


def _one_node(operator: str, domain: str = "", **attributes: Any) -> str:
    """Saves a model that is Relu and then ``operator``."""
    shape = ["N", 1, 8, 8]
    nodes = [
        helper.make_node("Relu", ["image"], ["hidden"], name="relu"),
        helper.make_node(
            operator, ["hidden"], ["result"], name="special", domain=domain, **attributes
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "example",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("result", onnx.TensorProto.FLOAT, shape)],
    )
    imports = [helper.make_opsetid("", 17)]
    if domain:
        imports.append(helper.make_opsetid(domain, 1))
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), "special.onnx")
    return "special.onnx"


def _folder(name: str, file: str) -> str:
    Path(name).mkdir(exist_ok=True)
    (Path(name) / file).write_text("notes\n", encoding="utf-8")
    return name


def _foreign_plan() -> Any:
    plan = intaglio.load("bundle").plan() or {}
    plan["tensors"]["conv9.out"] = plan["tensors"].pop("conv1.out")
    write_json(Path("plan.json"), plan)
    return _convert(calibration=None, plan="plan.json")


def _changed_bundle() -> Any:
    shutil.copytree("bundle", "changed", dirs_exist_ok=True)
    with Path("changed/onnx-integer/model.onnx").open("ab") as stream:
        stream.write(b"\0")
    return intaglio.verify(intaglio.load("changed"))


def _run_real_values() -> Any:
    session = open_runnable("bundle", "onnx-integer")
    return session.run(read_inputs(_DATA, session.artifact.inputs))


def _nan_sample() -> Any:
    samples = _samples().copy()
    samples[3, 0, 0, 0] = np.nan
    return _convert(calibration={"image": samples})


_FILES = "The model file"
_SUPPORT = "What the model contains"
_CALIBRATION = "Calibration data"
_OPTIONS = "Options, recipes and plans"
_OUTPUT = "Where to write"
_CHECKS = "Running and verifying"

_CASES = (
    _Case(_FILES, "The file is not there", lambda: _convert("digit.onnx")),
    _Case(
        _FILES,
        "The file is of another format",
        lambda: _convert(_written("tflite.onnx", b"\x1c\0\0\0TFL3" + bytes(64))),
        "Files that are often passed by mistake are recognized by their first bytes.",
    ),
    _Case(_FILES, "The file is truncated", _truncated),
    _Case(_FILES, "A weight is NaN", _with_nan),
    _Case(
        _SUPPORT,
        "A node is of a custom domain",
        lambda: _convert(_one_node("FancyNorm", "com.example")),
        "See [bring your own model](bring-your-own-model.md#what-is-refused-and-what-to-do).",
    ),
    _Case(
        _SUPPORT,
        "An operator has no integer definition",
        lambda: _convert(_one_node("LpNormalization", axis=1)),
        "Without `onnx-integer` among the targets the node stays in float in the `onnx-qdq` file.",
    ),
    _Case(
        _SUPPORT,
        "Random calibration of a model with an open height and width",
        lambda: _convert(
            str(_DIGITS.parent / "superres" / "superres.onnx"),
            calibration=None,
            random_calibration=True,
        ),
    ),
    _Case(_CALIBRATION, "None is given", lambda: _convert(calibration=None)),
    _Case(
        _CALIBRATION,
        "Channels last, where the model has channels first",
        lambda: _convert(calibration={"image": _samples().transpose(0, 2, 3, 1)}),
    ),
    _Case(
        _CALIBRATION,
        "One sample without the sample axis",
        lambda: _convert(calibration={"image": _samples()[0]}),
    ),
    _Case(
        _CALIBRATION,
        "Keys that are no inputs",
        lambda: _convert(calibration={"image": _samples(), "weights": _samples()}),
    ),
    _Case(_CALIBRATION, "No samples", lambda: _convert(calibration={"image": _samples()[:0]})),
    _Case(
        _CALIBRATION,
        "Numbers of a wrong type",
        lambda: _convert(calibration={"image": _samples().astype(np.complex64)}),
    ),
    _Case(_CALIBRATION, "A sample with NaN", _nan_sample),
    _Case(
        _CALIBRATION,
        "A folder without images or wav files",
        lambda: _convert(calibration=_folder("photos", "notes.txt")),
    ),
    _Case(_OPTIONS, "A misspelt recipe", lambda: _convert(recipe="int9")),
    _Case(_OPTIONS, "A misspelt target", lambda: _convert(targets=["onnx_integer"])),
    _Case(
        _OPTIONS,
        "A misspelt option",
        lambda: _convert(sets=["quantize.activation=int16"]),
        "No option is ever ignored.",
    ),
    _Case(
        _OPTIONS,
        "A value that an option does not have",
        lambda: _convert(sets=["calibrate.observer=average"]),
    ),
    _Case(
        _OPTIONS,
        "A selector that matches nothing",
        lambda: _convert(sets=['quantize.sixteen_bit=["conv7"]']),
    ),
    _Case(_OPTIONS, "A plan of another model", _foreign_plan),
    _Case(_OUTPUT, "The output is a file", lambda: _convert(out=_MODEL)),
    _Case(
        _OUTPUT,
        "The output folder holds other things",
        lambda: _convert(out=_folder("project", "notes.txt")),
        "A bundle replaces an earlier bundle as a whole, and nothing else.",
    ),
    _Case(_CHECKS, "The folder is no bundle", lambda: intaglio.load(_folder("other", "a.txt"))),
    _Case(
        _CHECKS,
        "A file of the bundle was changed",
        _changed_bundle,
        "It still writes its reports.",
    ),
    _Case(
        _CHECKS,
        "A requirement is not met",
        lambda: intaglio.verify(intaglio.load("bundle"), require="sqnr=90"),
        "It still writes its reports.",
    ),
    _Case(_CHECKS, "Real values for an integer input", _run_real_values),
)
