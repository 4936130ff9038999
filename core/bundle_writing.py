"""Writes what a conversion made into a bundle's folder: artifacts, models, samples, manifest."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

import intaglio
from intaglio.border import border_quantization, border_specs
from intaglio.bundle import (
    MANIFEST,
    ORIGINAL_TARGET,
    PLAN,
    QUANTIZED,
    REFERENCE_ROLE,
    REPORT_JSON,
    SAMPLES,
    SCHEMA,
    SOURCE_TARGET,
    UNLISTED,
)
from intaglio.bundle_files import file_sha256, list_files, write_json, write_samples
from intaglio.passes.marks import PROFILE_KEY
from intaglio.pipeline import StepRecord
from intaglio.preparing import INFER, MODEL, Preparation, form_of, profile_of
from intaglio.recipe import Recipe
from intaglio.split_parts import UNSPLIT, Split, keep_split
from intaglio.targets.base import SOURCE_ARITHMETIC, TABLES, Artifact, Target, TensorSpec
from intaglio.targets.reading import is_tflite
from intaglio.targets.training_files import write_training

if TYPE_CHECKING:
    from intaglio.fitting.data import CalibrationData


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a bundle is to hold.

    Attributes:
        model: The model that the recipe made.
        reference: The float model that accuracy is measured against, None to leave it out.
        original: The source's own file where it is no ONNX file, else None.
        source: Name, hash and size of the source, for the manifest.
        inputs: Inputs of the source.
        outputs: Its outputs.
        warnings: For the manifest.
        recipe: The recipe with all options set.
        targets: The targets.
        preparation: What the targets emit.
        records: Evidence of all steps.
        facts: Facts by step.
        calibration: Where the calibration samples came from.
        samples: Samples to keep by name, or None.
        plan: The quantization plan, or None.
        kept: Models after each step, with their file name stems.
        more: Further entries of the manifest.
        files: Further files by name.
        split: What to keep of a cut, or None.
    """

    model: ir.Model
    reference: ir.Model | None
    original: Path | None
    source: Mapping[str, Any]
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    warnings: Sequence[str]
    recipe: Recipe
    targets: Sequence[Target]
    preparation: Preparation
    records: Sequence[StepRecord]
    facts: Mapping[str, Any]
    calibration: Mapping[str, Any]
    samples: Mapping[str, NDArray[Any]] | None = None
    plan: Mapping[str, Any] | None = None
    kept: Sequence[tuple[str, ir.Model]] = ()
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    split: Split | None = None


def write_contents(work: Path, contents: Contents) -> None:
    """Writes the whole bundle into ``work``."""
    pairs = contents.preparation.targets
    artifacts = [artifact for target, ready in pairs for artifact in target.emit(ready, work)]
    if contents.split is not None:
        profile = profile_of(contents.recipe, contents.targets)
        artifacts.append(keep_split(work, contents.split, profile))
    if contents.reference is not None:
        exact = form_of(contents.model) == TABLES
        artifacts.append(_write_reference(work, contents.reference, exact))
        artifacts += _keep_original(work, contents)
    if contents.samples is not None:
        write_samples(work / SAMPLES, contents.samples)
    if contents.plan is not None:
        write_json(work / PLAN, contents.plan)
    if contents.preparation.training is not None:
        write_training(work, contents.preparation.training)
        ir.save(contents.model, work / QUANTIZED)
    for file, data in contents.files.items():
        (work / file).write_bytes(data)
    for stem, model in contents.kept:
        (work / "steps").mkdir(exist_ok=True)
        ir.save(model, work / "steps" / f"{stem}.onnx")
    _write_manifest(work, contents, artifacts)


def facts_of(records: Sequence[StepRecord]) -> dict[str, Any]:
    """Facts by step name; those of preparing for a target carry its name."""
    return {
        r.name if r.phase == "recipe" else f"{r.phase}: {r.name}": r.facts
        for r in records
        if r.facts
    }


def warnings_of(records: Sequence[StepRecord]) -> list[str]:
    """What the steps have to tell the user."""
    return [str(text) for record in records for text in record.facts.get("warnings", ())]


def samples_of(data: CalibrationData, count: int) -> dict[str, NDArray[Any]]:
    """The first samples of calibration data, with labels and targets where these are known."""
    arrays: dict[str, NDArray[Any]] = dict(data.head(count))
    kept = min(len(array) for array in arrays.values())
    for name, extra in (("labels", data.labels()), ("target", data.targets())):
        if extra is not None and name not in arrays:
            arrays[name] = np.asarray(extra)[:kept]
    return arrays


def _write_manifest(work: Path, contents: Contents, artifacts: Sequence[Artifact]) -> None:
    """Writes ``report.json`` and, last, ``manifest.json``."""
    recipe = _as_run(contents.recipe, contents.records, contents.targets)
    profile = profile_of(contents.recipe, contents.targets)
    write_json(
        work / REPORT_JSON,
        {
            "schema": SCHEMA,
            "source": contents.source,
            "recipe": recipe,
            "profile": profile,
            "calibration": contents.calibration,
            "steps": [record.to_dict() for record in contents.records],
        },
    )
    listed = {artifact.path for artifact in artifacts} | UNLISTED
    write_json(
        work / MANIFEST,
        {
            "schema": SCHEMA,
            "intaglio": intaglio.__version__,
            "source": contents.source,
            "recipe": recipe,
            "profile": profile,
            "form": form_of(contents.model),
            "calibration": contents.calibration,
            "warnings": list(contents.warnings),
            "artifacts": [artifact.to_dict() for artifact in artifacts],
            "files": {
                name: file_sha256(work / name) for name in list_files(work) if name not in listed
            },
            "facts": contents.facts,
            **contents.more,
        },
    )


def _as_run(
    recipe: Recipe, records: Sequence[StepRecord], targets: Sequence[Target]
) -> dict[str, Any]:
    """The recipe with every option of every step and target that ran written out."""
    data = recipe.to_dict()
    data["target"] = {t.name: found for t in targets if (found := t.config.model_dump(mode="json"))}
    configs = {record.name: record.config for record in records if record.config}
    for step in data["step"]:
        step["options"] = configs.get(step["pass"], step["options"])
    for record in records:
        if record.phase != "recipe":
            data["prepare"][record.name] = record.config
            # ``--set lower.profile`` and ``profile`` are one option; so are the two ways to io.
            for field in ("profile", "io"):
                data[field] = record.config.get(field, data[field])
    return data


def _write_reference(work: Path, model: ir.Model, is_exact: bool) -> Artifact:
    """Writes the float model; ``is_exact`` says that the artifacts must have its very bits."""
    path = work / SOURCE_TARGET / "model.onnx"
    path.parent.mkdir()
    ir.save(model, path)
    quantization = border_quantization(model)
    return Artifact(
        role=REFERENCE_ROLE,
        target=SOURCE_TARGET,
        path=path.relative_to(work).as_posix(),
        arithmetic=SOURCE_ARITHMETIC
        if is_exact
        else model.metadata_props.get(PROFILE_KEY, "float"),
        sha256=file_sha256(path),
        bytes=path.stat().st_size,
        inputs=tuple(border_specs(model.graph.inputs, quantization)),
        outputs=tuple(border_specs(model.graph.outputs, quantization)),
    )


def _keep_original(work: Path, contents: Contents) -> list[Artifact]:
    """Keeps a source that is no ONNX file, so that ``verify`` runs what it was read from too."""
    if contents.original is None or not is_tflite(contents.original):
        return []
    path = work / SOURCE_TARGET / "original.tflite"
    shutil.copyfile(contents.original, path)
    specs = (*contents.inputs, *contents.outputs)
    kinds = {spec.dtype for spec in specs if spec.scale is not None}
    # Kernels of old uint8 files round ties of averages in another way than those of int8 files.
    exact = bool(kinds) and "uint8" not in kinds
    role = MODEL if contents.preparation.training is None else INFER
    return [
        Artifact(
            role=role if contents.split is None else UNSPLIT,
            target=ORIGINAL_TARGET,
            path=path.relative_to(work).as_posix(),
            arithmetic=profile_of(contents.recipe, contents.targets) if exact else "float",
            sha256=str(contents.source["sha256"]),
            bytes=int(contents.source["bytes"]),
            inputs=tuple(contents.inputs),
            outputs=tuple(contents.outputs),
        )
    ]
