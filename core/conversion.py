"""``convert``: a model file in, a bundle out."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.border import border_quantization, border_specs
from intaglio.bundle import Bundle, Conversion, check_output, load
from intaglio.bundle_files import file_sha256, replacing
from intaglio.bundle_writing import (
    Contents,
    facts_of,
    samples_of,
    warnings_of,
    write_contents,
)
from intaglio.errors import InputError, RecipeError
from intaglio.passes.marks import is_integer, is_quantized, reading_warnings
from intaglio.pipeline import PipelineResult, require_no_data, run_recipe
from intaglio.plan import read_plan
from intaglio.preparing import Preparation, prepare_targets, require_training_targets
from intaglio.progress import Progress, silent
from intaglio.recipe import Recipe, load_recipe
from intaglio.registry import load_target, suggest
from intaglio.settings import apply_settings, build_target_config, check_options, data_options
from intaglio.split_options import splits
from intaglio.split_parts import (
    FOLD,
    Split,
    UncutModel,
    describe_split,
    require_split_targets,
    require_whole,
    settle_codec,
)
from intaglio.table_networks import (
    MANIFEST_KEY,
    describe_network,
    left_alone,
    open_table_network,
    require_plain_arguments,
    require_plain_settings,
    require_table_targets,
)
from intaglio.targets.base import Target, TensorSpec

if TYPE_CHECKING:
    from intaglio.fitting.data import CalibrationData


#: Passes that calibrate what is behind the scales of a model.
_AFTER_QUANTIZATION = ("calibrate.choose_cut", "calibrate.fit_codec")


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
        table_network: What it is where it is a table network, else None.
        shapes: Sizes of a table network, for targets that state them.
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
    table_network: Mapping[str, Any] | None = None
    shapes: Mapping[str, Sequence[int]] | None = None


def convert(
    model: str | Path,
    recipe: str | Path | Recipe = "int8",
    targets: Sequence[str] | None = None,
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
        targets: Names of the targets; None for those of the recipe.
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
    base = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    opened = [load_target(name) for name in _names(base.targets if targets is None else targets)]
    chosen = _choose_recipe(base, sets, opened)
    require_training_targets(chosen, opened)
    require_split_targets(chosen, opened, calibration is not None or random_calibration)
    opened = [_configured(target, chosen) for target in opened]
    opened_plan = None if plan is None else read_plan(Path(plan))
    listen("read", 0, None)
    job = _open(
        Path(model), chosen, opened, calibration, random_calibration, shapes, opened_plan, plan
    )
    kept: list[tuple[str, ir.Model]] = []

    def keep(stem: str, after: ir.Model) -> None:
        kept.append((stem, after.clone(deep_copy=True)))

    uncut = UncutModel(chosen, keep if keep_steps else None)
    if job.table_network is not None:
        require_whole(chosen)
        require_plain_settings(base, chosen, keep_steps)
        result = left_alone(job.model, chosen)
    else:
        result = run_recipe(
            job.model,
            chosen,
            data=job.data,
            quantized_already=is_quantized(job.model),
            plan=job.plan,
            plan_origin=job.plan_origin,
            progress=listen,
            keep=uncut if splits(chosen) else keep if keep_steps else None,
        )
    split = settle_codec(result.model, uncut.model, job.source["sha256"])
    name = job.path.stem
    preparation = prepare_targets(
        result.model, chosen, opened, name, listen, keep if keep_steps else None, shapes=job.shapes
    )
    contents = _contents(job, result, preparation, kept, split)
    listen("write", 0, None)
    with replacing(folder) as work:
        write_contents(work, contents)
        listen("report", 0, None)
        write_report(work, name=folder.resolve().name)
    bundle = load(folder)
    bundle.conversion = Conversion(
        seconds=time.perf_counter() - start,
        peak_memory_bytes=peak_memory_bytes(),
        records=tuple(contents.records),
        facts=dict(contents.facts),
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
    base: Recipe, sets: Mapping[str, Any] | Sequence[str], targets: Sequence[Target]
) -> Recipe:
    from intaglio.transforms.profiles import PROFILES

    passes = [name for target in targets for name in target.prepare]
    passes += [FOLD] if splits(base) else []
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
    fitted = open_table_network(path)
    if fitted is not None:
        given = "random" if random_calibration else calibration
        return _fitted_job(path, fitted, recipe, targets, given, shapes, plan)
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
        source=_source(path),
        recipe=recipe,
        targets=targets,
        data=data,
        calibration=origin,
        plan=plan,
        plan_origin="" if plan_path is None else Path(plan_path).name,
    )


def _fitted_job(
    path: Path,
    model: ir.Model,
    recipe: Recipe,
    targets: Sequence[Target],
    calibration: object,
    shapes: Mapping[str, Sequence[int]] | None,
    plan: Mapping[str, Any] | None,
) -> _Job:
    """The job of a table network, which needs no data.

    Raises:
        RecipeError: A plan was given.
        UnsupportedError: A target has no tables.
    """
    warnings = require_plain_arguments(calibration, shapes, plan, targets)
    require_table_targets(targets)
    return _Job(
        model=model,
        path=path,
        source=_source(path),
        inputs=border_specs(model.graph.inputs, {}),
        outputs=border_specs(model.graph.outputs, {}),
        warnings=warnings,
        recipe=recipe,
        targets=targets,
        data=None,
        calibration={"kind": "none", "samples": 0, "path": None},
        plan=None,
        plan_origin="",
        table_network=describe_network(model),
        shapes=shapes,
    )


def _source(path: Path) -> dict[str, Any]:
    return {"path": path.name, "sha256": file_sha256(path), "bytes": path.stat().st_size}


def _without_effect(recipe: Recipe, model: ir.Model) -> list[str]:
    """Says which options a model cannot follow that keeps the quantization it came with."""
    if not is_quantized(model):
        return []
    options = [
        f"{step.pass_name}.{option}"
        for step in recipe.steps
        if step.enabled
        and step.pass_name.startswith(("calibrate.", "quantize."))
        and step.pass_name not in _AFTER_QUANTIZATION
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


def _contents(
    job: _Job,
    result: PipelineResult,
    preparation: Preparation,
    kept: Sequence[tuple[str, ir.Model]],
    split: Split | None,
) -> Contents:
    """What the bundle is to hold."""
    records = (*result.records, *preparation.records)
    facts = facts_of(records)
    more = {} if job.table_network is None else {MANIFEST_KEY: dict(job.table_network)}
    if split is not None:
        more.update(describe_split(split, facts))
    bundle = job.recipe.bundle
    keeps_samples = job.data is not None and bundle.samples
    return Contents(
        model=result.model,
        reference=result.reference if bundle.reference else None,
        original=job.path,
        source=job.source,
        inputs=job.inputs,
        outputs=job.outputs,
        warnings=[*job.warnings, *warnings_of(records)],
        recipe=job.recipe,
        targets=job.targets,
        preparation=preparation,
        records=records,
        facts=facts,
        calibration=job.calibration,
        samples=samples_of(job.data, bundle.samples) if keeps_samples and job.data else None,
        plan=result.plan,
        kept=kept,
        more=more,
        split=split,
    )
