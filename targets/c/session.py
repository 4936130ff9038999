"""A C artifact of a bundle, compiled for this machine and run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from intaglio.errors import InputError
from intaglio.targets.base import Artifact, RunResult, Session, Tensors, TensorSpec
from intaglio.targets.c.library import Library, Port
from intaglio.targets.c.variants import BY_NAME

_AGAIN = "convert the model again"


def report_path(artifact: Artifact) -> Path:
    """Path of an artifact's report in the bundle."""
    return Path(artifact.path).with_suffix(".json")


def read_report(artifact: Artifact, folder: Path) -> dict[str, Any]:
    """What the target wrote about an artifact: layers, memory plan, sizes.

    Raises:
        InputError: It is missing or damaged.
    """
    path = folder / report_path(artifact)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", remedy=_AGAIN) from error
    if not isinstance(data, dict) or not isinstance(data.get("layers"), list):
        raise InputError(f"{path} is damaged", remedy=_AGAIN)
    return data


class CSession(Session):
    """The model as a shared library.

    Args:
        artifact: The artifact.
        folder: The bundle's folder.
        variant: Name of the processor to compile for; this machine must run it.

    Attributes:
        library: The compiled model.

    Raises:
        InputError: A file is missing or damaged.
        ToolError: There is no compiler, or it failed.
    """

    def __init__(self, artifact: Artifact, folder: Path, variant: str) -> None:
        self._inputs = artifact.inputs
        source = folder / artifact.path
        if not source.is_file():
            raise InputError(f"{source} is missing from the bundle", remedy=_AGAIN)
        layers = read_report(artifact, folder)["layers"]
        name = source.stem
        forced = [f"-D{name.upper()}_PORTABLE"] if variant == "portable" else []
        with tempfile.TemporaryDirectory(prefix="intaglio-", ignore_cleanup_errors=True) as build:
            self.library = Library(
                source.parent,
                name,
                _ports(artifact.inputs),
                _ports(artifact.outputs),
                [Port(layer["output"], layer["shape"], layer["dtype"]) for layer in layers],
                Path(build),
                flags=("-O3", *BY_NAME[variant].flags, *forced),
            )

    def run(self, inputs: Tensors, *, inner: Sequence[str] = ()) -> RunResult:
        """Runs one inference."""
        _check(inputs, self._inputs)
        outputs, found = self.library.run(inputs, inner)
        return RunResult(outputs, found)


def _ports(specs: Sequence[TensorSpec]) -> list[Port]:
    return [Port(spec.name, [int(d) for d in spec.shape], spec.dtype) for spec in specs]


def _check(inputs: Mapping[str, Any], specs: Sequence[TensorSpec]) -> None:
    """Refuses arrays that do not fit: C would read past their end."""
    unknown = sorted(set(inputs) - {spec.name for spec in specs})
    if unknown:
        known = ", ".join(spec.name for spec in specs)
        raise InputError(f"there is no input '{unknown[0]}'", remedy=f"inputs: {known}")
    for spec in specs:
        if spec.name not in inputs:
            raise InputError(f"input '{spec.name}' is missing", remedy=f"give {spec.name}")
        array = np.asarray(inputs[spec.name])
        if array.shape != spec.shape or array.dtype.name != spec.dtype:
            raise InputError(
                f"input '{spec.name}' is {array.dtype} {list(array.shape)}, not {spec.dtype} "
                f"{list(spec.shape)}",
                remedy="give it in that type and shape",
            )
