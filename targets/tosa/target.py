"""Target ``tosa``: TOSA 1.0 files in profile PRO-INT, run by the reference model.

TOSA is what NPUs are specified against, and its reference model says what each operator gives, bit
for bit: a judge of the integer arithmetic that shares no code with any other runtime here. It is
installed apart (``intaglio setup tosa``); files are written without it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intaglio.errors import InputError, InternalError, Refusal, ToolError
from intaglio.targets.base import (
    Artifact,
    Capability,
    Measurement,
    Prepared,
    Runtime,
    Session,
    Target,
    static_specs,
)
from intaglio.targets.tosa.capabilities import CAPABILITIES
from intaglio.targets.tosa.emit import Emitted, emit
from intaglio.targets.tosa.environment import find_environment, require_environment
from intaglio.targets.tosa.flatfile import operator_name, read_tosa, read_tosa_file
from intaglio.targets.tosa.session import TosaSession

RUNTIME = "tosa-reference"

_TENSORS = "_tensors.json"
_AGAIN = "convert the model again"

_CONSTANTS = ("CONST", "CONST_SHAPE")


class Tosa(Target):
    """TOSA files of int8."""

    name = "tosa"
    needs = "the TOSA reference model: intaglio setup tosa"
    prepare = ("lower.shift_unsigned", "lower.to_integer", "layout.to_channels_last")
    form = "integer"
    exact = True
    infers = True

    def capabilities(self) -> Sequence[Capability]:
        """The operators of the quantized form that TOSA computes with the same bits."""
        return CAPABILITIES

    def check(self, prepared: Prepared) -> list[Refusal]:
        """Every node that TOSA has no operators for."""
        return [
            refusal
            for role in sorted(prepared.models)
            for refusal in emit(prepared.models[role], prepared.profile).refusals
        ]

    def emit(self, prepared: Prepared, out: Path) -> list[Artifact]:
        """Writes ``tosa/<role>.tosa`` and, for ``verify``, what its tensors stand for."""
        folder = out / self.name
        folder.mkdir(parents=True, exist_ok=True)
        artifacts = []
        for role in sorted(prepared.models):
            emitted = emit(prepared.models[role], prepared.profile)
            if emitted.refusals:
                raise InternalError(f"'{role}' was not checked: {emitted.refusals[0].reason}")
            (folder / f"{role}.tosa").write_bytes(emitted.data)
            text = json.dumps(dict(emitted.sources), indent=2, ensure_ascii=False)
            (folder / f"{role}{_TENSORS}").write_text(text + "\n", encoding="utf-8", newline="\n")
            artifacts.append(self._artifact(role, prepared, emitted))
        return artifacts

    def _artifact(self, role: str, prepared: Prepared, emitted: Emitted) -> Artifact:
        return Artifact(
            role=role,
            target=self.name,
            path=f"{self.name}/{role}.tosa",
            arithmetic=prepared.profile,
            sha256=hashlib.sha256(emitted.data).hexdigest(),
            bytes=len(emitted.data),
            inputs=static_specs(prepared.inputs[role]),
            outputs=static_specs(prepared.outputs[role]),
        )

    def why_not_run(self) -> str:
        """An environment that is named or made but does not work is said."""
        try:
            require_environment()
        except ToolError as error:
            return str(error)
        return super().why_not_run()

    def runtimes(self, artifact: Artifact) -> Sequence[Runtime]:
        """The reference model, where it is installed."""
        return () if find_environment() is None else (Runtime(RUNTIME, artifact.arithmetic),)

    def open(self, artifact: Artifact, folder: Path, runtime: str | None = None) -> Session:
        """Opens the file in the reference model, in a process of its own environment."""
        if runtime is not None:
            self.check_runtime(artifact, runtime)
        return TosaSession(folder / artifact.path, artifact.inputs, artifact.outputs)

    def inner_tensors(self, artifact: Artifact, folder: Path) -> Mapping[str, str]:
        """The source values that tensors of the file stand for.

        Raises:
            InputError: The list of them is missing or damaged.
        """
        path = (folder / artifact.path).with_suffix("")
        path = path.with_name(path.name + _TENSORS)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}", remedy=_AGAIN) from error
        if not isinstance(found, dict) or not all(isinstance(s, str) for s in found.values()):
            raise InputError(f"{path} is damaged", remedy=_AGAIN)
        return found

    def measure(self, artifact: Artifact, folder: Path) -> list[Measurement]:
        """Bytes, and the number of operators. The reference model's time means nothing."""
        operators = sum(self.report(artifact, folder)["operators"].values())
        return [
            Measurement("file_bytes", float(artifact.bytes), "bytes", "size of the file"),
            Measurement("operators", float(operators), "", "operators that are no constants"),
        ]

    def report(self, artifact: Artifact, folder: Path) -> Mapping[str, Any]:
        """Operators of the file by name."""
        if artifact.target != self.name:
            return {}
        file = read_tosa(read_tosa_file(folder / artifact.path), artifact.path)
        names = [operator_name(operator.code) for operator in file.operators]
        return {"operators": dict(sorted(Counter(n for n in names if n not in _CONSTANTS).items()))}
