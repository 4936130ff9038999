"""Target ``tflite``: int8 and int16x8 files for LiteRT, TFLite Micro and what compiles from them.

The file computes the bits of the integer form: every kernel's multipliers are derived from the
scales as the runtime will derive them and compared with the graph's, and what has no TFLite
operator with the same result is refused. Beside each file stands a C++ header that registers its
operators in TFLite Micro and states the size of its tensor arena.
"""

from __future__ import annotations

import hashlib
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
from intaglio.targets.tflite.arena import Arena, latency, measure_arena
from intaglio.targets.tflite.capabilities import CAPABILITIES
from intaglio.targets.tflite.emit import Emitted, emit
from intaglio.targets.tflite.flatfile import read_file, read_flatfile
from intaglio.targets.tflite.resolver import resolver_header
from intaglio.targets.tflite.runtimes import get_runtime, installed_runtimes, runtimes_for
from intaglio.targets.tflite.sessions import TfliteSession

_MICRO = "tflm"


class Tflite(Target):
    """TFLite files of integers."""

    name = "tflite"
    needs = "ai-edge-litert or tflite-micro"
    prepare = ("lower.shift_unsigned", "lower.to_integer", "layout.to_channels_last")
    form = "integer"
    exact = True

    def capabilities(self) -> Sequence[Capability]:
        """The operators of the quantized form that TFLite has an exact kernel for."""
        return CAPABILITIES

    def check(self, prepared: Prepared) -> list[Refusal]:
        """Every node without a TFLite operator that computes the same bits."""
        return [
            refusal
            for role in sorted(prepared.models)
            for refusal in emit(prepared.models[role], prepared.profile).refusals
        ]

    def emit(self, prepared: Prepared, out: Path) -> list[Artifact]:
        """Writes ``tflite/<role>.tflite`` and ``tflite/<role>_ops.h``."""
        folder = out / self.name
        folder.mkdir(parents=True, exist_ok=True)
        artifacts = []
        for role in sorted(prepared.models):
            model = prepared.models[role]
            emitted = emit(model, prepared.profile)
            if emitted.refusals:
                raise InternalError(f"'{role}' was not checked: {emitted.refusals[0].reason}")
            path = folder / f"{role}.tflite"
            path.write_bytes(emitted.data)
            arena = _arena(path)
            smallest = None if arena is None else arena.minimum_bytes
            header = resolver_header(role, emitted.operators, smallest)
            (folder / f"{role}_ops.h").write_text(header, encoding="utf-8")
            artifacts.append(self._artifact(role, prepared, emitted))
        return artifacts

    def _artifact(self, role: str, prepared: Prepared, emitted: Emitted) -> Artifact:
        return Artifact(
            role=role,
            target=self.name,
            path=f"{self.name}/{role}.tflite",
            arithmetic=prepared.profile,
            sha256=hashlib.sha256(emitted.data).hexdigest(),
            bytes=len(emitted.data),
            inputs=static_specs(prepared.inputs[role]),
            outputs=static_specs(prepared.outputs[role]),
        )

    def runtimes(self, artifact: Artifact) -> Sequence[Runtime]:
        """TFLite Micro and LiteRT, where they are installed; a float model is float in all."""
        arithmetic = artifact.arithmetic
        return tuple(
            Runtime(name, arithmetic if arithmetic == "float" else own)
            for name, own in runtimes_for(arithmetic)
        )

    def open(self, artifact: Artifact, folder: Path, runtime: str | None = None) -> Session:
        """Opens the file in a runtime, in a child process."""
        self.check_runtime(artifact, runtime)
        return TfliteSession(folder / artifact.path, runtime or self._preferred(artifact))

    def _preferred(self, artifact: Artifact) -> str:
        found = self.runtimes(artifact)
        if not found:
            missing = get_runtime(_MICRO)
            raise ToolError(
                f"nothing installed here runs {artifact.path}",
                command=("tflite",),
                remedy="pip install ai-edge-litert" if missing is None else missing.install,
            )
        return found[0].name

    def measure(self, artifact: Artifact, folder: Path) -> list[Measurement]:
        """Bytes, the arena of TFLite Micro, and latency in the first runtime."""
        path = folder / artifact.path
        found = [Measurement("file_bytes", float(artifact.bytes), "bytes", "size of the file")]
        arena = _arena(path)
        found += [] if arena is None else arena.measurements()
        if self.runtimes(artifact):
            found.append(latency(path, self._preferred(artifact)))
        return found

    def report(self, artifact: Artifact, folder: Path) -> Mapping[str, Any]:
        """Operators of the file by name, and the results that are looked up in a table.

        These are functions that no TFLite operator computes alone (CAST, ADD, GATHER).
        """
        if artifact.target != self.name:
            return {}
        path = folder / artifact.path
        graph = read_flatfile(read_file(path), str(path)).graph
        counts = Counter(operator.kind.name for operator in graph.operators)
        looked_up = [
            graph.tensors[operator.outputs[0]].name
            for operator in graph.operators
            if operator.kind.name == "GATHER" and len(graph.tensors[operator.inputs[0]].data)
        ]
        return {"operators": dict(sorted(counts.items())), "looked_up": looked_up}


def _arena(path: Path) -> Arena | None:
    """The arena that the file needs in TFLite Micro; None where that cannot be measured."""
    if _MICRO not in installed_runtimes():
        return None
    try:
        return measure_arena(path)
    except (InputError, ToolError):
        return None  # TFLite Micro lacks an operator or fails on it: `verify` says so.
