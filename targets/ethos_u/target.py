"""Target ``ethos-u``: a TFLite or TOSA file, compiled for Arm's Ethos-U NPUs by Vela.

Vela (the extra ``ethos-u``, 4.2 to 5.x) turns what the NPU can do into one custom operator and
leaves the rest to the CPU. What went where, why, and Vela's estimate of cycles and memory stand in
``<role>_report.json`` beside the compiled file. The file is that of target ``tflite``, except that
blocks of depth and space are moved by TRANSPOSE, which NPUs have. The arithmetic is the same; a
computer without the NPU cannot run it, so ``verify`` checks the artifact of target ``tflite``.

With ``via=tosa`` (Vela 5) the file that Vela is given is that of target ``tosa``. There is no CPU
then: an operator that the NPU lacks is refused, with the node that it belongs to.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from intaglio.errors import (
    InputError,
    IntaglioError,
    InternalError,
    RecipeError,
    Refusal,
    ToolError,
    UnsupportedError,
)
from intaglio.passes.table_networks.read import is_table_network
from intaglio.targets.base import (
    Artifact,
    Capability,
    Measurement,
    Prepared,
    Runtime,
    Session,
    Target,
    TargetConfig,
    static_specs,
)
from intaglio.targets.ethos_u.compiled import measurements
from intaglio.targets.ethos_u.compiler import Compiled, compile_tflite, compile_tosa
from intaglio.targets.ethos_u.host import described, without_softmax
from intaglio.targets.ethos_u.lacking import lacking, refusal_of
from intaglio.targets.ethos_u.layers import source_nodes
from intaglio.targets.ethos_u.options import EthosUConfig
from intaglio.targets.ethos_u.vela import OLDEST, OLDEST_OF_TOSA, vela_version
from intaglio.targets.tflite.emit import emit as emit_tflite
from intaglio.targets.tflite.target import Tflite
from intaglio.targets.tosa.emit import emit as emit_tosa

_AGAIN = "convert the model again"

_NO_TABLES = Refusal(
    "",
    "table network",
    "TFLite has no operators for its tables",
    "compile via tosa, for an NPU with GATHER: --via tosa --set ethos-u.accelerator=ethos-u85-256",
)


class EthosU(Target):
    """Vela's output for an Ethos-U NPU, with a report of what runs where."""

    name = "ethos-u"
    prepare = Tflite.prepare
    form = Tflite.form
    exact = Tflite.exact
    infers = True
    Config: ClassVar[type[TargetConfig]] = EthosUConfig

    def capabilities(self) -> Sequence[Capability]:
        """Those of target ``tflite``: what the NPU lacks runs on the CPU beside it."""
        return Tflite().capabilities()

    def check(self, prepared: Prepared) -> list[Refusal]:
        """What target ``tflite`` or ``tosa`` refuses."""
        return [
            refusal
            for role in sorted(prepared.models)
            for refusal in _emitted(prepared, role, self._options).refusals
        ]

    def require_tools(self) -> None:
        """Looks for Vela.

        Raises:
            ToolError: It is missing or too old.
        """
        vela_version(OLDEST_OF_TOSA if self._options.via == "tosa" else OLDEST)

    def emit(self, prepared: Prepared, out: Path) -> list[Artifact]:
        """Writes ``ethos-u/<role>_vela.tflite`` and ``ethos-u/<role>_report.json``.

        Raises:
            UnsupportedError: The NPU lacks an operator of a TOSA file.
            ToolError: Vela fails; its log is kept.
        """
        (out / self.name).mkdir(parents=True, exist_ok=True)
        return [self._compile(prepared, role, out) for role in sorted(prepared.models)]

    def why_not_run(self) -> str:
        """See :meth:`Target.why_not_run`."""
        return "it runs on an Ethos-U NPU; targets tflite and tosa compute the same bits here"

    def runtimes(self, artifact: Artifact) -> Sequence[Runtime]:
        """None: it takes the NPU."""
        return ()

    def open(self, artifact: Artifact, folder: Path, runtime: str | None = None) -> Session:
        """Refuses: there is no NPU here.

        Raises:
            RecipeError: Always.
        """
        raise RecipeError(
            f"{artifact.path} runs on an Ethos-U NPU, not here",
            remedy="run the artifact of target tflite, which computes the same bits",
        )

    def measure(self, artifact: Artifact, folder: Path) -> list[Measurement]:
        """Size of the file, and Vela's figures: cycles, memory, operators on NPU and CPU."""
        size = Measurement("file_bytes", float(artifact.bytes), "bytes", "size of the file")
        try:
            return [size, *measurements(self.report(artifact, folder))]
        except (KeyError, TypeError, ValueError) as error:
            path = _report_path(artifact)
            raise InputError(f"{path} is damaged: {error!r}", remedy=_AGAIN) from error

    def report(self, artifact: Artifact, folder: Path) -> Mapping[str, Any]:
        """What became of every operator; see :class:`.compiled.CompileReport`.

        Raises:
            InputError: The report is missing or damaged.
        """
        path = folder / _report_path(artifact)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}", remedy=_AGAIN) from error
        if not isinstance(data, dict):
            raise InputError(f"{path} is damaged", remedy=_AGAIN)
        return data

    @property
    def _options(self) -> EthosUConfig:
        if not isinstance(self.config, EthosUConfig):
            raise RecipeError(f"{type(self.config).__name__} is not for target {self.name}")
        return self.config

    def _compile(self, prepared: Prepared, role: str, out: Path) -> Artifact:
        """Emits one model and compiles it."""
        config = self._options
        made = _compiled(prepared, role, config)
        outputs = static_specs(prepared.outputs[role])
        if config.via == "tosa":
            model, host = without_softmax(prepared.models[role], config)
            outputs = described(outputs, model, host)
            made = dataclasses.replace(made, report=dataclasses.replace(made.report, host=host))
        if config.compare:
            made = _with_other(made, prepared, role, config)
        artifact = Artifact(
            role=role,
            target=self.name,
            path=f"{self.name}/{role}_vela.tflite",
            arithmetic=prepared.profile,
            sha256=hashlib.sha256(made.data).hexdigest(),
            bytes=len(made.data),
            inputs=static_specs(prepared.inputs[role]),
            outputs=outputs,
        )
        (out / artifact.path).write_bytes(made.data)
        _write_json(out / _report_path(artifact), made.report.to_dict())
        return artifact


@dataclasses.dataclass(frozen=True)
class _Emitted:
    """A file for Vela, or the reasons why there is none."""

    data: bytes
    refusals: tuple[Refusal, ...]


def _emitted(prepared: Prepared, role: str, config: EthosUConfig) -> _Emitted:
    """The file; in TFLite with operators that the NPU lacks written as others of the same bits."""
    model, profile = prepared.models[role], prepared.profile
    if config.via == "tosa":
        tosa = emit_tosa(without_softmax(model, config)[0], profile)
        refusals = tuple(tosa.refusals) or lacking(tosa.data, config, source_nodes(model))
        return _Emitted(tosa.data, tuple(refusals))
    if is_table_network(model):
        return _Emitted(b"", (_NO_TABLES,))
    tflite = emit_tflite(model, profile, blocks_by_transpose=True)
    return _Emitted(tflite.data, tflite.refusals)


def _compiled(prepared: Prepared, role: str, config: EthosUConfig) -> Compiled:
    """One model through Vela.

    Raises:
        UnsupportedError: The NPU lacks an operator of the TOSA file.
        ToolError: Vela fails.
    """
    emitted = _emitted(prepared, role, config)
    if emitted.refusals:
        raise InternalError(f"'{role}' was not checked: {emitted.refusals[0].reason}")
    nodes = source_nodes(prepared.models[role])
    if config.via == "tflite":
        return compile_tflite(emitted.data, config, role, nodes)
    try:
        return compile_tosa(emitted.data, config, role, nodes)
    except ToolError as error:
        refusal = refusal_of(error, emitted.data, config, nodes)
        if refusal is None:
            raise
        if error.log is not None:
            error.log.unlink(missing_ok=True)
        raise UnsupportedError(
            "one thing in the model is not supported; nothing was written", [refusal]
        ) from error


def _with_other(made: Compiled, prepared: Prepared, role: str, config: EthosUConfig) -> Compiled:
    """The same with the figures of the other path in its report."""
    via = "tflite" if config.via == "tosa" else "tosa"
    changed = config.model_copy(update={"via": via})
    try:
        refusals = _emitted(prepared, role, changed).refusals
        if refusals:
            raise UnsupportedError("not supported", refusals)
        other = _compiled(prepared, role, changed)
        compared = {**other.report.figures(), "file_bytes": len(other.data)}
    except IntaglioError as error:
        # What was asked for is there; that the other path is closed is part of the comparison.
        said = [str(refusal) for refusal in getattr(error, "refusals", ())] or [error.message]
        compared = {"via": via, "refused": said}
    return dataclasses.replace(made, report=dataclasses.replace(made.report, compared=compared))


def _report_path(artifact: Artifact) -> str:
    """Path of the report beside an artifact, relative to the bundle."""
    return artifact.path.removesuffix("_vela.tflite") + "_report.json"


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")
