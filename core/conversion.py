"""``convert``: a model file in, a bundle out."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
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
    REFERENCE_ROLE,
    REPORT_JSON,
    SAMPLES,
    SCHEMA,
    SOURCE_TARGET,
    UNLISTED,
    Bundle,
    Conversion,
    check_output,
    load,
)
from intaglio.bundle_files import (
    file_sha256,
    list_files,
    replacing,
    write_json,
    write_samples,
)
from intaglio.errors import InputError, RecipeError, Refusal, UnsupportedError
from intaglio.passes.marks import is_integer, is_quantized, reading_warnings
from intaglio.pipeline import (
    PipelineResult,
    StepRecord,
    prepare_for_target,
    require_no_data,
    run_recipe,
    target_options,
)
from intaglio.plan import read_plan
from intaglio.progress import Progress, silent
from intaglio.recipe import Recipe, load_recipe
from intaglio.registry import load_target, suggest
from intaglio.settings import apply_settings, build_target_config, check_options, data_options
from intaglio.targets.base import Artifact, Prepared, Target, TensorSpec
from intaglio.targets.reading import is_tflite

if TYPE_CHECKING:
    from intaglio.fitting.data import CalibrationData

DEFAULT_TARGETS = ("onnx-qdq", "onnx-integer")

_ROLE = "model"


@dataclasses.dataclass(frozen=True)
class _Job:
    """What was asked for, checked and opened.

    Attributes:
        model: The model as read.
        path: Its file.
        source: Name, hash and size of the file, for the manifest.
        inputs: Inputs of the model as read.
        outputs: Its outputs.
        warnings: What was repaired on reading, and which options have no effect.
        recipe: The recipe with all options set.
        targets: The requested targets.
        data: Calibration samples, or None.
        calibration: Where they came from, for the manifest.
        plan: Plan to replay, or None.
        plan_origin: Its file name.
    """

    model: ir.Model
    path: Path
    source: dict[str, Any]
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    warnings: Sequence[str]
    recipe: Recipe
    targets: Sequence[Target]
    data: CalibrationData | None
    calibration: dict[str, Any]
    plan: Mapping[str, Any] | None
    plan_origin: str


def convert(
    model: str | Path,
    recipe: str | Path | Recipe = "int8",
    targets: Sequence[str] = DEFAULT_TARGETS,
    calibration: str | Path | Mapping[str, NDArray[Any]] | None = None,
    out: str | Path | None = None,
    *,
    sets: Mapping[str, Any] | Sequence[str] = (),
    shapes: Mapping[str, Sequence[int]] | None = None,
    plan: str | Path | None = None,
    random_calibration: bool = False,
    keep_steps: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Converts a model and writes a bundle.

    Args:
        model: An ONNX file, float or with QuantizeLinear/DequantizeLinear, or a TFLite file,
            float or quantized.
        recipe: Name of a recipe, names joined by commas, the path of a TOML file, or a recipe.
        targets: Names of the targets.
        calibration: Samples of the model's inputs: ``.npz``, ``.npy``, a folder of images or of
            wav files, or arrays by input name whose first axis counts samples.
        out: Folder to write; an earlier bundle there is replaced at the very end. The default is
            ``build/`` and the model's name.
        sets: Options of passes, as a table or as ``pass.option=value`` texts.
        shapes: Dimensions by input name, for inputs whose shape is symbolic in the file.
        plan: A ``plan.json`` to replay instead of deciding anew.
        random_calibration: Calibrate on random numbers, for trials without data.
        keep_steps: Save the model after every step in the bundle's ``steps`` folder.
        progress: Listener, called as ``progress(stage, done, total)``.

    Returns:
        The bundle; its ``conversion`` tells time, memory and what every step did.

    Raises:
        RecipeError: The arguments make no sense, or calibration data is needed.
        InputError: A file is missing or damaged, or does not fit the model.
        UnsupportedError: The model has something that cannot be converted; nothing is written.
        OutputError: The bundle cannot be written.
    """
    # Imported here: plots take a while to load.
    from intaglio.report.html import write_report

    start = time.perf_counter()
    listen = progress or silent
    folder = Path("build") / Path(model).stem if out is None else Path(out)
    check_output(folder)
    opened = [load_target(name) for name in _names(targets)]
    chosen = _choose_recipe(recipe, sets, opened)
    opened = [_configured(target, chosen) for target in opened]
    opened_plan = None if plan is None else read_plan(Path(plan))
    listen("read", 0, None)
    job = _open(
        Path(model), chosen, opened, calibration, random_calibration, shapes, opened_plan, plan
    )
    kept: list[tuple[str, ir.Model]] = []

    def keep(stem: str, after: ir.Model) -> None:
        kept.append((stem, after.clone(deep_copy=True)))

    result = run_recipe(
        job.model,
        chosen,
        data=job.data,
        quantized_already=is_quantized(job.model),
        plan=job.plan,
        plan_origin=job.plan_origin,
        progress=listen,
        keep=keep if keep_steps else None,
    )
    prepared, records = _prepare(job, result, listen, keep if keep_steps else None)
    facts = _facts(records)
    listen("write", 0, None)
    with replacing(folder) as work:
        _write(work, job, result, prepared, records, facts, kept)
        listen("report", 0, None)
        write_report(work, name=folder.resolve().name)
    bundle = load(folder)
    bundle.conversion = Conversion(
        seconds=time.perf_counter() - start,
        peak_memory_bytes=peak_memory_bytes(),
        records=records,
        facts=facts,
    )
    return bundle


def peak_memory_bytes() -> int | None:
    """The largest resident size that this process had, or None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def _names(targets: Sequence[str]) -> list[str]:
    listed = [targets] if isinstance(targets, str) else list(dict.fromkeys(targets))
    if not listed:
        raise RecipeError("no target is given", remedy="name one, such as onnx-integer")
    return listed


def _choose_recipe(
    recipe: str | Path | Recipe, sets: Mapping[str, Any] | Sequence[str], targets: Sequence[Target]
) -> Recipe:
    from intaglio.transforms.profiles import PROFILES

    passes = [name for target in targets for name in target.prepare]
    base = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    chosen = apply_settings(base, sets, passes, [target.name for target in targets])
    check_options(chosen, passes)
    if chosen.profile not in PROFILES:
        raise RecipeError(
            f"there is no arithmetic profile '{chosen.profile}'",
            remedy=suggest(chosen.profile, PROFILES),
        )
    return chosen


def _configured(target: Target, recipe: Recipe) -> Target:
    """A target with the recipe's options for it, and the tools it needs at hand.

    Raises:
        RecipeError: An option is not valid.
        ToolError: A tool is missing.
    """
    options = recipe.target.get(target.name)
    if options:
        target = load_target(target.name, build_target_config(target.name, options))
    target.require_tools()
    return target


def _open(
    path: Path,
    recipe: Recipe,
    targets: Sequence[Target],
    calibration: str | Path | Mapping[str, NDArray[Any]] | None,
    random_calibration: bool,
    shapes: Mapping[str, Sequence[int]] | None,
    plan: Mapping[str, Any] | None,
    plan_path: str | Path | None,
) -> _Job:
    from intaglio.targets.reading import read_model

    if calibration is not None and random_calibration:
        raise RecipeError(
            "calibration data is given and random calibration is asked for",
            remedy="leave one of them out",
        )
    model = read_model(path, shapes)
    if is_integer(model):
        raise InputError(
            f"{path} is an integer artifact already",
            remedy="convert the float model, or the quantized one, that it was made from",
        )
    if plan is not None and is_quantized(model):
        raise RecipeError(
            f"{path.name} is quantized already, and keeps its scales",
            remedy="leave --plan out, or convert the float model",
        )
    if calibration is None and not random_calibration and not is_quantized(model):
        require_no_data(recipe, plan is not None)
    quantization = border_quantization(model)
    inputs = border_specs(model.graph.inputs, quantization)
    data, origin = _open_data(inputs, recipe, calibration, random_calibration)
    return _Job(
        model=model,
        path=path,
        inputs=inputs,
        outputs=border_specs(model.graph.outputs, quantization),
        warnings=[*reading_warnings(model), *_without_effect(recipe, model)],
        source={"path": path.name, "sha256": file_sha256(path), "bytes": path.stat().st_size},
        recipe=recipe,
        targets=targets,
        data=data,
        calibration=origin,
        plan=plan,
        plan_origin="" if plan_path is None else Path(plan_path).name,
    )


def _without_effect(recipe: Recipe, model: ir.Model) -> list[str]:
    """Says which options a model cannot follow that keeps the quantization it came with."""
    if not is_quantized(model):
        return []
    options = [
        f"{step.pass_name}.{option}"
        for step in recipe.steps
        if step.enabled and step.pass_name.startswith(("calibrate.", "quantize."))
        for option in step.options
    ]
    if not options:
        return []
    return [
        "the model is quantized already and keeps its types and scales: "
        f"{', '.join(options)} {'has' if len(options) == 1 else 'have'} no effect"
    ]


def _open_data(
    inputs: Sequence[TensorSpec],
    recipe: Recipe,
    calibration: str | Path | Mapping[str, NDArray[Any]] | None,
    random_calibration: bool,
) -> tuple[CalibrationData | None, dict[str, Any]]:
    """Opens the calibration data and says where it came from."""
    from intaglio.fitting.data import open_data, random_data

    if random_calibration:
        data = random_data(inputs)
        return data, {"kind": "random", "samples": len(data), "path": None}
    if calibration is None:
        return None, {"kind": "none", "samples": 0, "path": None}
    if recipe.data and (isinstance(calibration, Mapping) or not Path(calibration).is_dir()):
        raise RecipeError(
            f"data.{next(iter(recipe.data))} has no effect: arrays are taken as they are",
            remedy="data.* is for folders of images and of wav files; leave it out",
        )
    data = open_data(calibration, inputs, options=data_options(recipe))
    name = None if isinstance(calibration, Mapping) else Path(calibration).name
    return data, {"kind": "data", "samples": len(data), "path": name}


def _prepare(
    job: _Job, result: PipelineResult, progress: Progress, keep: Any
) -> tuple[list[tuple[Target, Prepared]], tuple[StepRecord, ...]]:
    """Makes each target's model and asks each target whether it takes it.

    Raises:
        UnsupportedError: Targets refuse nodes; all refusals of all targets are listed.
        RecipeError: The recipe left the model in float.
    """
    form = _form(result.model)
    if form == "float":
        raise RecipeError(
            f"recipe {job.recipe.name} leaves the model in float, which no target takes",
            remedy="use a recipe that quantizes, such as int8",
        )
    quantization = border_quantization(result.model)
    records = list(result.records)
    prepared: list[tuple[Target, Prepared]] = []
    refused: list[Refusal] = []
    for target in job.targets:
        if target.form == "quantized" and form == "integer":
            raise UnsupportedError(
                f"target {target.name} takes models in the quantized form, and recipe "
                f"{job.recipe.name} makes an integer one",
                remedy="leave this target out",
            )
        model = result.model.clone(deep_copy=True)
        records += prepare_for_target(
            model, target.prepare, job.recipe, target.name, progress, keep
        )
        ready = Prepared(
            models={_ROLE: model},
            profile=_profile(job.recipe, job.targets),
            form=target.form,
            inputs={_ROLE: border_specs(model.graph.inputs, quantization)},
            outputs={_ROLE: border_specs(model.graph.outputs, quantization)},
            name=job.path.stem,
        )
        refused += _labelled(target.check(ready), target.name, len(job.targets) > 1)
        prepared.append((target, ready))
    if refused:
        count = f"{len(refused)} things in the model are"
        if len(refused) == 1:
            count = "one thing in the model is"
        raise UnsupportedError(f"{count} not supported; nothing was written", refused)
    return prepared, tuple(records)


def _labelled(refusals: Sequence[Refusal], target: str, several: bool) -> list[Refusal]:
    """Says which target refuses, where there is more than one."""
    prefix = f"{target}: " if several else ""
    return [Refusal(r.node, r.operator, prefix + r.reason, r.remedy) for r in refusals]


def _form(model: ir.Model) -> str:
    """``quantized``, ``integer`` (as its mark says) or ``float``."""
    if is_quantized(model):
        return "quantized"
    return "integer" if is_integer(model) else "float"


def _profile(recipe: Recipe, targets: Sequence[Target]) -> str:
    """The profile of the integer form: what the lowering passes are told."""
    for target in targets:
        for name in target.prepare:
            options = target_options(recipe, name)
            if "profile" in options:
                return str(options["profile"])
    return recipe.profile


def _facts(records: Sequence[StepRecord]) -> dict[str, Any]:
    """Facts by step name; those of preparing for a target carry its name."""
    return {
        r.name if r.phase == "recipe" else f"{r.phase}: {r.name}": r.facts
        for r in records
        if r.facts
    }


def _write(
    work: Path,
    job: _Job,
    result: PipelineResult,
    prepared: Sequence[tuple[Target, Prepared]],
    records: Sequence[StepRecord],
    facts: Mapping[str, Any],
    kept: Sequence[tuple[str, ir.Model]],
) -> None:
    """Writes the whole bundle into ``work``."""
    artifacts = [artifact for target, ready in prepared for artifact in target.emit(ready, work)]
    if job.recipe.bundle.reference:
        artifacts.append(_write_reference(work, result.reference))
        artifacts += _keep_original(work, job)
    if job.data is not None and job.recipe.bundle.samples:
        _write_samples(work / SAMPLES, job.data, job.recipe.bundle.samples)
    if result.plan is not None:
        write_json(work / PLAN, result.plan)
    for stem, model in kept:
        (work / "steps").mkdir(exist_ok=True)
        ir.save(model, work / "steps" / f"{stem}.onnx")
    recipe = _as_run(job.recipe, records, job.targets)
    profile = _profile(job.recipe, job.targets)
    write_json(
        work / REPORT_JSON,
        {
            "schema": SCHEMA,
            "source": job.source,
            "recipe": recipe,
            "profile": profile,
            "calibration": job.calibration,
            "steps": [record.to_dict() for record in records],
        },
    )
    listed = {artifact.path for artifact in artifacts} | UNLISTED
    write_json(
        work / MANIFEST,
        {
            "schema": SCHEMA,
            "intaglio": intaglio.__version__,
            "source": job.source,
            "recipe": recipe,
            "profile": profile,
            "form": _form(result.model),
            "calibration": job.calibration,
            "warnings": list(job.warnings),
            "artifacts": [artifact.to_dict() for artifact in artifacts],
            "files": {
                name: file_sha256(work / name) for name in list_files(work) if name not in listed
            },
            "facts": facts,
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


def _write_reference(work: Path, model: ir.Model) -> Artifact:
    path = work / SOURCE_TARGET / "model.onnx"
    path.parent.mkdir()
    ir.save(model, path)
    quantization = border_quantization(model)
    return Artifact(
        role=REFERENCE_ROLE,
        target=SOURCE_TARGET,
        path=path.relative_to(work).as_posix(),
        arithmetic="float",
        sha256=file_sha256(path),
        bytes=path.stat().st_size,
        inputs=tuple(border_specs(model.graph.inputs, quantization)),
        outputs=tuple(border_specs(model.graph.outputs, quantization)),
    )


def _keep_original(work: Path, job: _Job) -> list[Artifact]:
    """Keeps a source that is no ONNX file, so that ``verify`` runs what it was read from too."""
    if not is_tflite(job.path):
        return []
    path = work / SOURCE_TARGET / "original.tflite"
    shutil.copyfile(job.path, path)
    kinds = {spec.dtype for spec in (*job.inputs, *job.outputs) if spec.scale is not None}
    # Kernels of old uint8 files round ties of averages in another way than those of int8 files.
    exact = bool(kinds) and "uint8" not in kinds
    return [
        Artifact(
            role=_ROLE,
            target=ORIGINAL_TARGET,
            path=path.relative_to(work).as_posix(),
            arithmetic=_profile(job.recipe, job.targets) if exact else "float",
            sha256=str(job.source["sha256"]),
            bytes=int(job.source["bytes"]),
            inputs=tuple(job.inputs),
            outputs=tuple(job.outputs),
        )
    ]


def _write_samples(path: Path, data: CalibrationData, count: int) -> None:
    arrays: dict[str, NDArray[Any]] = dict(data.head(count))
    kept = min(len(array) for array in arrays.values())
    for name, extra in (("labels", data.labels()), ("target", data.targets())):
        if extra is not None and name not in arrays:
            arrays[name] = np.asarray(extra)[:kept]
    write_samples(path, arrays)
