"""The pipeline: runs the steps of a recipe one by one and keeps the evidence of each.

Passes are called one at a time, not in a pass manager, since that would drop what an ``Outcome``
carries beside the model: changes, skips and facts.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from intaglio.errors import IntaglioError, InternalError, RecipeError
from intaglio.passes.annotations import clear_annotations
from intaglio.passes.base import Change, Outcome, Pass, Skip, outcome
from intaglio.passes.marks import ALREADY_QUANTIZED
from intaglio.plan import (
    DECIDING_PASSES,
    EDITING_PASS,
    apply_factors,
    apply_plan,
    capture_plan,
    new_marks,
)
from intaglio.progress import Progress, silent
from intaglio.recipe import Recipe, Step
from intaglio.registry import load_pass
from intaglio.settings import build_config

if TYPE_CHECKING:
    from intaglio.fitting.data import CalibrationData

_SWITCHED_OFF = "switched off in the recipe"

_TABULATE = "tables.tabulate_regions"

#: Called with the place of a step in the run, its name and the model after it.
Keep = Callable[[str, ir.Model], None]


@dataclasses.dataclass(frozen=True)
class StepRecord:
    """Evidence of one step.

    Attributes:
        name: Dotted name of the pass.
        phase: ``recipe``, or the name of the target that the step prepared the model for.
        semantics: What the pass promises, in words.
        config: Its options as run.
        seconds: Wall time; not written into files, so that the same input gives the same bytes.
        modified: Whether the model changed.
        changes: Every edit.
        skips: Every candidate left alone.
        facts: Numbers for the report.
    """

    name: str
    phase: str
    semantics: str
    config: dict[str, Any]
    seconds: float
    modified: bool
    changes: tuple[Change, ...] = ()
    skips: tuple[Skip, ...] = ()
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns the record as JSON-friendly data, without the time."""
        data = dataclasses.asdict(self)
        del data["seconds"]
        return data


@dataclasses.dataclass(frozen=True)
class PipelineResult:
    """What a recipe made of a model.

    Attributes:
        model: The model after the last step.
        reference: The float model after the last step that keeps its function (canonicalization,
            equalization): the reference of accuracy, tensor by tensor.
        plan: The quantization plan, or None.
        records: Evidence of every step.
    """

    model: ir.Model
    reference: ir.Model
    plan: dict[str, Any] | None
    records: tuple[StepRecord, ...]


def active_steps(recipe: Recipe, has_plan: bool) -> Iterator[Step]:
    """The steps that will do something: enabled, and not replaced by a plan."""
    for step in recipe.steps:
        if step.enabled and not (has_plan and step.pass_name in DECIDING_PASSES):
            yield step


def tabulates(recipe: Recipe) -> bool:
    """Whether a recipe puts tables in the place of float sub-graphs of the source itself."""
    return any(step.enabled and step.pass_name == _TABULATE for step in recipe.steps)


def steps_needing_data(recipe: Recipe, has_plan: bool) -> list[str]:
    """Names of the enabled steps that cannot run without calibration data."""
    return [
        step.pass_name
        for step in active_steps(recipe, has_plan)
        if getattr(load_pass(step.pass_name), "needs_data", False)
    ]


def run_recipe(
    model: ir.Model,
    recipe: Recipe,
    *,
    data: CalibrationData | None = None,
    quantized_already: bool = False,
    plan: Mapping[str, Any] | None = None,
    plan_origin: str = "",
    progress: Progress = silent,
    keep: Keep | None = None,
) -> PipelineResult:
    """Runs a recipe.

    Args:
        model: The model as read; changed in place.
        recipe: The recipe, its options checked.
        data: Calibration samples.
        quantized_already: Whether the model came with QuantizeLinear/DequantizeLinear, so that
            nothing has to be calibrated.
        plan: A quantization plan to replay.
        plan_origin: Where it came from, for messages.
        progress: Listener.
        keep: Called after every step with its file name stem and the model.

    Returns:
        The model and the evidence.

    Raises:
        RecipeError: A step needs calibration data and there is none, or the plan does not fit.
        IntaglioError: Whatever a pass refuses.
        InternalError: A pass failed in a way it should not.
    """
    if data is None and not quantized_already:
        require_no_data(recipe, plan is not None)
    records: list[StepRecord] = []
    # Tables stand for what was read, bit for bit: not even canonicalization may come in between.
    reference = model.clone(deep_copy=True) if tabulates(recipe) else None
    captured: dict[str, Any] | None = None
    marks: dict[str, str] = dict(plan["marks"]) if plan else {}
    replayed = False
    for index, step in enumerate(recipe.steps):
        name = step.pass_name
        progress(name, 0, None)
        replaced = plan is not None and name in DECIDING_PASSES and step.enabled
        if reference is None and (replaced or not _keeps_function(step)):
            reference = model.clone(deep_copy=True)
            clear_annotations(reference)
            if replaced and plan is not None:
                apply_factors(reference, plan)
        if replaced and plan is not None:
            records.append(_replay(model, plan, plan_origin, name, step, replayed))
            replayed = True
        elif not step.enabled:
            records.append(_skipped(step, _SWITCHED_OFF))
            continue
        elif data is None and getattr(load_pass(name), "needs_data", False):
            records.append(_skipped(step, ALREADY_QUANTIZED))
            continue
        else:
            if name == EDITING_PASS:
                captured = capture_plan(model, marks)
            before = dict(model.metadata_props)
            options = _filled(recipe, name, step.options)
            instance = make_pass(name, options, data=data, progress=progress)
            records.append(run_pass(instance, model, "recipe"))
            if name in DECIDING_PASSES:
                marks.update(new_marks(before, model.metadata_props))
        if keep is not None:
            keep(f"{index + 1:02d}-{name}", model)
    if plan is not None and not replayed:
        raise RecipeError(
            f"recipe {recipe.name} has no step that a plan could replace",
            remedy=f"leave --plan out, or use a recipe with {sorted(DECIDING_PASSES)[-1]}",
        )
    if captured is None and not any(s.pass_name == EDITING_PASS for s in recipe.steps):
        captured = capture_plan(model, marks)
    return PipelineResult(model, reference or model.clone(deep_copy=True), captured, tuple(records))


def _keeps_function(step: Step) -> bool:
    """Whether the model after a step is still the float model, tensor by tensor."""
    kinds = ("exact", "calibrated")
    return not step.enabled or load_pass(step.pass_name).semantics.kind in kinds


def require_no_data(recipe: Recipe, has_plan: bool) -> None:
    """Refuses a recipe with steps that need calibration data.

    Raises:
        RecipeError: There are such steps.
    """
    needing = steps_needing_data(recipe, has_plan)
    if needing:
        raise RecipeError(
            f"recipe {recipe.name} needs calibration data for {', '.join(needing)}",
            remedy="give --calibration DATA with real inputs, or --random-calibration for a trial",
        )


def prepare_for_target(
    model: ir.Model,
    passes: Sequence[str],
    recipe: Recipe,
    phase: str,
    progress: Progress = silent,
    keep: Keep | None = None,
) -> list[StepRecord]:
    """Runs the passes that a target asks for.

    The recipe's ``profile`` and ``io`` go to every such pass that has options of those names.

    Args:
        model: A model of the target's own; changed in place.
        passes: Names of the passes.
        recipe: The recipe.
        phase: Name of the target.
        progress: Listener.
        keep: Called after every step with its file name stem and the model.

    Returns:
        The evidence.

    Raises:
        IntaglioError: Whatever a pass refuses.
    """
    records = []
    for index, name in enumerate(passes):
        progress(f"{phase}: {name}", 0, None)
        instance = make_pass(name, target_options(recipe, name))
        records.append(run_pass(instance, model, phase))
        if keep is not None:
            keep(f"{phase}-{index + 1:02d}-{name}", model)
    return records


def target_options(recipe: Recipe, name: str) -> dict[str, Any]:
    """Options of a pass that a target runs: the recipe's own, then ``profile`` and ``io``."""
    return _filled(recipe, name, recipe.prepare.get(name, {}))


def _filled(recipe: Recipe, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a pass, with the recipe's ``profile`` and ``io`` where it has such options."""
    filled = dict(options)
    for field in ("profile", "io"):
        if field in load_pass(name).Config.model_fields:
            filled.setdefault(field, getattr(recipe, field))
    return filled


def make_pass(
    name: str,
    options: Mapping[str, Any],
    *,
    data: CalibrationData | None = None,
    progress: Progress = silent,
) -> Pass:
    """Builds a pass by name.

    Raises:
        RecipeError: There is no such pass or option.
    """
    kind = load_pass(name)
    config = build_config(name, options)
    if not getattr(kind, "needs_data", False):
        return kind(config)
    instance: Any = kind(config, data)  # type: ignore[call-arg]
    instance.progress = lambda done, total: progress(name, done, total)
    made: Pass = instance
    return made


def run_pass(instance: Pass, model: ir.Model, phase: str) -> StepRecord:
    """Runs one pass on a model in place.

    Raises:
        IntaglioError: What the pass refuses, as it raised it.
        InternalError: Anything else, naming the pass.
    """
    start = time.perf_counter()
    try:
        found = instance(model)
    except (IntaglioError, MemoryError):
        raise
    except ir.passes.InvariantError as error:
        # onnx-ir wraps whatever a condition raises; a refusal inside is what the user should see.
        if isinstance(error.__cause__, IntaglioError):
            raise error.__cause__ from error
        raise InternalError(
            f"pass {instance.name}: {error}", remedy="run again with --debug, and report it"
        ) from error
    except Exception as error:
        raise InternalError(
            f"pass {instance.name} failed: {type(error).__name__}: {error}",
            remedy="run again with --debug, and report it",
        ) from error
    if not isinstance(found, Outcome):
        raise InternalError(f"pass {instance.name} returned no Outcome")
    return _record(instance, found, phase, time.perf_counter() - start)


def _record(instance: Pass, found: Outcome, phase: str, seconds: float) -> StepRecord:
    return StepRecord(
        name=instance.name,
        phase=phase,
        semantics=str(instance.semantics),
        config=instance.config.model_dump(mode="json"),
        seconds=seconds,
        modified=found.modified,
        changes=tuple(found.changes),
        skips=tuple(found.skips),
        facts=dict(found.facts),
    )


def skipped_records(recipe: Recipe, reason: str) -> tuple[StepRecord, ...]:
    """The evidence of a recipe none of whose steps was run, and why."""
    return tuple(_skipped(step, reason if step.enabled else _SWITCHED_OFF) for step in recipe.steps)


def _skipped(step: Step, reason: str) -> StepRecord:
    return StepRecord(
        name=step.pass_name,
        phase="recipe",
        semantics=str(load_pass(step.pass_name).semantics),
        config=dict(step.options),
        seconds=0.0,
        modified=False,
        skips=(Skip("", reason),),
    )


def _replay(
    model: ir.Model,
    plan: Mapping[str, Any],
    origin: str,
    name: str,
    step: Step,
    replayed: bool,
) -> StepRecord:
    """The first deciding step writes the plan down, the others have nothing left to do."""
    if replayed:
        return _skipped(step, "replaced by the plan")
    count = apply_plan(model, plan, origin)
    change = Change("replay", "", "no plan", f"{count} tensors planned", f"read from {origin}")
    found = outcome(model, [change], facts={"tensors": count})
    return dataclasses.replace(
        _skipped(step, ""),
        modified=found.modified,
        changes=tuple(found.changes),
        skips=(),
        facts=found.facts,
    )
