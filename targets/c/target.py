"""Target ``c``: portable C99 with kernels for many processors, and a static memory plan.

The code computes the bits of the integer form in any arithmetic profile. ``verify`` compiles it for
every variant that this machine runs, and compares the outputs. A training step is emitted from the
forward form (:mod:`intaglio.passes.train.build_forward`), see :mod:`intaglio.targets.c.training`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import onnx_ir as ir

from intaglio.errors import InternalError, RecipeError, Refusal, ToolError
from intaglio.passes.split.marks import read_codec
from intaglio.passes.table_networks.read import read_network as read_table_network
from intaglio.passes.train.build_forward import read_specification
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
from intaglio.targets.c.build_files import cmake_lists, makefile, readme
from intaglio.targets.c.compiler import require_compiler
from intaglio.targets.c.grouping import Grouped, read_network
from intaglio.targets.c.host import host_variants
from intaglio.targets.c.images.emitting import emit_images, latency, refusals
from intaglio.targets.c.images.session import ImageSession
from intaglio.targets.c.images.writing import RECORD_KIND, TableNetwork
from intaglio.targets.c.naming import identifier
from intaglio.targets.c.options import CConfig
from intaglio.targets.c.records import record
from intaglio.targets.c.sending import sending_readme, sending_sources, sending_stems
from intaglio.targets.c.session import CSession, read_report
from intaglio.targets.c.source import write_sources
from intaglio.targets.c.stepper import CStepper
from intaglio.targets.c.training.emitting import Emitted, emit_training
from intaglio.targets.onnx.integer import OnnxInteger
from intaglio.targets.training import Stepper
from intaglio.transforms.split.specification import CodecSpecification

#: Inferences that one measurement of the latency takes the mean of, and how many there are.
_INFERENCES = 20
_ROUNDS = 7

_TRAIN_STEP = "train_step"
_DEVICE = "device"
#: What the names of a role's files end in, where a bundle has several.
_ENDS = {"infer": "", _TRAIN_STEP: "train"}


class C(Target):
    """C99 sources."""

    name = "c"
    needs = "a C compiler (cc, gcc or clang, or what CC names)"
    prepare = ("lower.shift_unsigned", "lower.to_integer", "layout.to_channels_last")
    form = "integer"
    exact = True
    trains = True
    Config: ClassVar[type[TargetConfig]] = CConfig

    def capabilities(self) -> Sequence[Capability]:
        """Those of the integer form: every one has a kernel."""
        return OnnxInteger().capabilities()

    def check(self, prepared: Prepared) -> list[Refusal]:
        """Every node that no layer computes, and a training step on several samples at once."""
        found: list[Refusal] = []
        for role in sorted(prepared.models):
            images = read_table_network(prepared.models[role])
            if images is not None:
                found += refusals(images, role)
            else:
                found += self._grouped(prepared, role).refusals
        return found + _batched(prepared.models.get(_TRAIN_STEP))

    def emit(self, prepared: Prepared, out: Path) -> list[Artifact]:
        """Writes ``c/<prefix>.c``, ``.h``, ``_weights.c`` and ``.json``, and what builds them."""
        folder = out / self.name
        folder.mkdir(parents=True, exist_ok=True)
        artifacts, names, texts = [], [], []
        further: list[str] = []
        for role in sorted(prepared.models):
            prefix = self._prefix(prepared, role)
            written, is_open = self._written(prepared, role, prefix)
            for name, text in written.files.items():
                (folder / name).write_text(text, encoding="utf-8", newline="\n")
            data = json.dumps(written.record, indent=1)
            (folder / f"{prefix}.json").write_text(data + "\n")
            names.append(prefix)
            further += sending_stems(written.files, prefix) if role == _DEVICE else []
            texts.append(written.readme)
            artifacts.append(self._artifact(role, prepared, written.files, prefix, is_open))
        (folder / "Makefile").write_text(makefile(names, further), encoding="utf-8")
        (folder / "CMakeLists.txt").write_text(cmake_lists(names, further), encoding="utf-8")
        (folder / "README.md").write_text("\n".join(texts), encoding="utf-8")
        return artifacts

    def _written(self, prepared: Prepared, role: str, prefix: str) -> tuple[Emitted, bool]:
        """What becomes of a model, and whether it takes images of any size."""
        variants, memory = self._options.variants, self._options.memory
        model = prepared.models[role]
        images: TableNetwork | None = read_table_network(model)
        if images is not None:
            return emit_images(images, prefix, variants), True
        network = self._grouped(prepared, role).network
        if network is None:
            raise InternalError(f"'{role}' was not checked")
        if role == _TRAIN_STEP:
            return emit_training(model, network, prepared.parameters, variants, memory), False
        made = write_sources(network, variants, memory)
        data = record(network, made.layouts, made.constant_bytes)
        text = readme(network, made.layouts, made.constant_bytes)
        codec = _codec(model, role)
        if codec is None:
            return Emitted(made.files, data, text), False
        files = {**made.files, **sending_sources(network, codec)}
        return Emitted(files, data, f"{text}\n{sending_readme(network, codec)}"), False

    @property
    def _options(self) -> CConfig:
        return cast(CConfig, self.config)

    def _prefix(self, prepared: Prepared, role: str) -> str:
        part = _ENDS.get(role, role) if len(prepared.models) > 1 else ""
        name = identifier(self._options.prefix or prepared.name, part)
        # The files of a model called so would be those of the codec.
        return f"m_{name}" if name == "split" and role == _DEVICE else name

    def _grouped(self, prepared: Prepared, role: str) -> Grouped:
        prefix = self._prefix(prepared, role)
        return read_network(prepared.models[role], prepared.profile, prefix)

    def _artifact(
        self,
        role: str,
        prepared: Prepared,
        files: Mapping[str, str],
        name: str,
        is_open: bool,
    ) -> Artifact:
        data = files[f"{name}.c"].encode()
        inputs, outputs = tuple(prepared.inputs[role]), tuple(prepared.outputs[role])
        return Artifact(
            role=role,
            target=self.name,
            path=f"{self.name}/{name}.c",
            arithmetic=prepared.profile,
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            inputs=inputs if is_open else static_specs(inputs),
            outputs=outputs if is_open else static_specs(outputs),
        )

    def runtimes(self, artifact: Artifact) -> Sequence[Runtime]:
        """One for each variant that this machine runs and the sources were written for."""
        return tuple(
            Runtime(variant.name, artifact.arithmetic)
            for variant in host_variants()
            if variant.name in {*self._options.variants, "portable"}
        )

    def open(self, artifact: Artifact, folder: Path, runtime: str | None = None) -> Session:
        """Compiles the sources and loads them."""
        if artifact.role == _TRAIN_STEP:
            raise RecipeError("a training step is no inference", remedy="open it as a stepper")
        require_compiler()
        self.check_runtime(artifact, runtime)
        variant = runtime or self.runtimes(artifact)[0].name
        if _takes_images(artifact, folder):
            return ImageSession(artifact, folder, variant)
        return CSession(artifact, folder, variant)

    def open_stepper(self, artifact: Artifact, folder: Path, runtime: str | None = None) -> Stepper:
        """Compiles the training step and loads it."""
        require_compiler()
        self.check_runtime(artifact, runtime)
        return CStepper(artifact, folder, runtime or self.runtimes(artifact)[0].name)

    def measure(self, artifact: Artifact, folder: Path) -> list[Measurement]:
        """Size of the file, arena, constants, and latency on this machine."""
        found = [Measurement("file_bytes", float(artifact.bytes), "bytes", "size of the .c file")]
        data = read_report(artifact, folder)
        for name, processor in data.get("processors", {}).items():
            size, how = float(processor["scratch_bytes"]), f"of wide images, {name}"
            found.append(Measurement("scratch_bytes", size, "bytes", how))
        for name, variant in data.get("variants", {}).items():
            how = f"memory plan, {name}; lower bound {variant['bound_bytes']}"
            found.append(Measurement("arena_bytes", float(variant["arena_bytes"]), "bytes", how))
        try:
            if self.runtimes(artifact):
                is_step = artifact.role == _TRAIN_STEP
                found.append((self._step_time if is_step else self._latency)(artifact, folder))
        except ToolError:
            pass  # Whoever runs the artifact hears what the compiler says.
        return found

    def _latency(self, artifact: Artifact, folder: Path) -> Measurement:
        variant = self.runtimes(artifact)[0].name
        if _takes_images(artifact, folder):
            return latency(artifact, folder, variant)
        library = CSession(artifact, folder, variant).library
        zeros = {port.name: port.empty() for port in library.inputs}
        library.seconds(zeros, 1)
        times = sorted(library.seconds(zeros, _INFERENCES) for _ in range(_ROUNDS))
        how = f"{variant}, processor time, one thread, median of {_ROUNDS} times {_INFERENCES}"
        return Measurement("latency_ms", 1000 * times[_ROUNDS // 2], "ms", how)

    def _step_time(self, artifact: Artifact, folder: Path) -> Measurement:
        variant = self.runtimes(artifact)[0].name
        milliseconds = 1000 * CStepper(artifact, folder, variant).seconds(_INFERENCES, _ROUNDS)
        how = f"{variant}, batch of one, one thread, median of {_ROUNDS} times {_INFERENCES}"
        return Measurement("step_ms", milliseconds, "ms", how)

    def inner_tensors(self, artifact: Artifact, folder: Path) -> Mapping[str, str]:
        """The output of each layer that stands for a source value."""
        layers = read_report(artifact, folder)["layers"]
        return {layer["output"]: layer["source"] for layer in layers if layer["source"]}

    def report(self, artifact: Artifact, folder: Path) -> Mapping[str, Any]:
        """Layers and memory plans; see :func:`intaglio.targets.c.records.record`."""
        return read_report(artifact, folder)


def _takes_images(artifact: Artifact, folder: Path) -> bool:
    """Whether an artifact is a table network, which runs on images of any size."""
    return read_report(artifact, folder).get("kind") == RECORD_KIND


def _codec(model: ir.Model, role: str) -> CodecSpecification | None:
    """The codec whose frames a device sends, None for all other models."""
    return read_codec(model) if role == _DEVICE else None


def _batched(model: ir.Model | None) -> list[Refusal]:
    """Refuses inputs of more than one sample: a step takes samples one by one, as many as come."""
    if model is None:
        return []
    specification = read_specification(model)
    weights = set() if specification is None else {p.name for p in specification.parameters}
    return [
        Refusal(
            str(value.name),
            "input",
            f"its batch is fixed to {value.shape[0]} samples, and a step takes them one by one",
            "export the model with an open batch axis, or one of 1",
        )
        for value in model.graph.inputs
        if value.name not in weights
        and value.shape is not None
        and len(value.shape) > 0
        and isinstance(value.shape[0], int)
        and value.shape[0] > 1
    ]
