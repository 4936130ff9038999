"""From the model that a recipe made to what each target emits: one model a role.

Most recipes give one role, ``model``. One that trains gives two: ``infer``, the integer graph with
the weights at hand, and ``train_step``, the same graph in the forward form
(:mod:`intaglio.passes.train.build_forward`) and what the target makes of that. One that cuts the
model in two gives ``device`` and ``server``; every target emits the device's part, and
``onnx-integer`` the server's, whether it was asked for or not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.border import border_quantization, border_specs
from intaglio.errors import InternalError, RecipeError, Refusal, UnsupportedError
from intaglio.passes.marks import is_integer, is_quantized, is_tabulated
from intaglio.passes.split.marks import get_wire
from intaglio.passes.table_networks.read import is_table_network
from intaglio.passes.train.build_forward import LOGITS, read_specification
from intaglio.pipeline import StepRecord, prepare_for_target, tabulates, target_options
from intaglio.progress import Progress
from intaglio.recipe import Recipe
from intaglio.registry import load_target
from intaglio.split_parts import DEVICE, FOLD, SERVER, SERVER_TARGET, is_split
from intaglio.table_networks import SIZED_TARGETS, bind_size
from intaglio.targets.base import TABLES, Prepared, Target, TensorSpec
from intaglio.targets.training_files import Training
from intaglio.training_border import step_inputs, step_outputs, target_spec
from intaglio.transforms.forward_gradient.specification import METADATA_KEY
from intaglio.transforms.forward_gradient.step import clip_to_limits

MODEL = "model"
INFER = "infer"
TRAIN_STEP = "train_step"

#: The pass of a recipe that makes it one of training.
PLAN_STEP = "train.plan_step"

_LOWER = "lower.to_integer"
_BUILD_FORWARD = "train.build_forward"

#: Called with a file name stem and the model after a step.
Keep = Callable[[str, ir.Model], None]


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What all targets get.

    Attributes:
        targets: Each target with what it emits.
        records: Evidence of the passes that were run.
        training: What the bundle keeps for training, or None.
    """

    targets: tuple[tuple[Target, Prepared], ...]
    records: tuple[StepRecord, ...]
    training: Training | None


def trains(recipe: Recipe) -> bool:
    """Whether a recipe makes training steps."""
    return any(step.enabled and step.pass_name == PLAN_STEP for step in recipe.steps)


def require_training_targets(recipe: Recipe, targets: Sequence[Target]) -> None:
    """Refuses targets that cannot train, before any work is done.

    Raises:
        RecipeError: The recipe trains, and none of the targets does, or one has no way to compute
            the model; or io is not in integers.
    """
    if not trains(recipe):
        return
    unable = [target.name for target in targets if not (target.trains or target.infers)]
    if not any(target.trains for target in targets):
        unable = [target.name for target in targets]
    if unable:
        raise RecipeError(
            f"recipe {recipe.name} makes training steps, and target {unable[0]} has none",
            remedy="use --target onnx-integer, --target c, or both"
            + "".join(f"; {t.name} takes the inference beside them" for t in targets if t.infers),
        )
    if target_options(recipe, _LOWER).get("io", "integer") != "integer":
        raise RecipeError(
            f"recipe {recipe.name} takes and gives integers", remedy="leave io at integer"
        )


def prepare_targets(
    model: ir.Model,
    recipe: Recipe,
    targets: Sequence[Target],
    name: str,
    progress: Progress,
    keep: Keep | None = None,
    *,
    step: bool | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Preparation:
    """Makes each target's models and asks each target whether it takes them.

    Args:
        model: What the recipe made; stays as it is.
        recipe: The recipe.
        targets: The targets.
        name: Stem of the source's file.
        progress: Listener.
        keep: Called after every pass.
        step: Whether to make training steps; None for what the recipe says.
        shapes: Sizes of a table network, for targets that state them.

    Raises:
        UnsupportedError: Targets refuse nodes; all refusals of all targets are listed.
        RecipeError: The recipe left the model in float, or with nothing to train.
    """
    form = form_of(model)
    if form == "float":
        raise RecipeError(
            f"recipe {recipe.name} leaves the model in float, which no target takes",
            remedy="nothing in the model is a function of one 8-bit integer that tables pay for; "
            "use a recipe that quantizes, such as int8"
            if tabulates(recipe)
            else "use a recipe that quantizes, such as int8",
        )
    step = trains(recipe) if step is None else step
    if step and METADATA_KEY not in model.metadata_props:
        raise RecipeError(
            f"recipe {recipe.name} found nothing to train in the model",
            remedy="convert a float model with Conv, Gemm or MatMul layers",
        )
    cut = is_split(model)
    preparer = _Preparer(model, recipe, profile_of(recipe, targets), name, progress, keep, shapes)
    prepared: list[tuple[Target, Prepared]] = []
    refused: list[Refusal] = []
    for target in targets:
        if form == TABLES and target.form != "quantized":
            raise UnsupportedError(
                f"recipe {recipe.name} leaves float operators between the tables, and target "
                f"{target.name} takes integers only",
                remedy="use --target onnx-qdq",
            )
        if target.form == "quantized" and form == "integer":
            raise UnsupportedError(
                f"target {target.name} takes models in the quantized form, and recipe "
                f"{recipe.name} makes an integer one",
                remedy="leave this target out",
            )
        if cut:
            roles = (DEVICE, SERVER) if target.name == SERVER_TARGET else (DEVICE,)
            ready = preparer.parts(target, roles)
        else:
            ready = preparer.training_parts(target) if step else preparer.model(target)
        refused += _labelled(target.check(ready), target.name, len(targets) > 1)
        prepared.append((target, ready))
    if cut and SERVER_TARGET not in {target.name for target in targets}:
        target = load_target(SERVER_TARGET)
        ready = preparer.parts(target, (SERVER,))
        refused += _labelled(target.check(ready), target.name, True)
        prepared.append((target, ready))
    if refused:
        count = f"{len(refused)} things in the model are"
        if len(refused) == 1:
            count = "one thing in the model is"
        raise UnsupportedError(f"{count} not supported; nothing was written", refused)
    return Preparation(tuple(prepared), tuple(preparer.records), preparer.training)


def form_of(model: ir.Model) -> str:
    """``quantized``, ``integer`` (as its mark says), ``tables`` (among float) or ``float``."""
    if is_integer(model):
        return "integer"  # also with QuantizeLinear at a border of real numbers
    if is_tabulated(model):
        return TABLES
    return "quantized" if is_quantized(model) else "float"


def profile_of(recipe: Recipe, targets: Sequence[Target]) -> str:
    """The profile of the integer form: what the lowering passes are told."""
    for target in targets:
        for name in target.prepare:
            options = target_options(recipe, name)
            if "profile" in options:
                return str(options["profile"])
    return recipe.profile


def _labelled(refusals: Sequence[Refusal], target: str, several: bool) -> list[Refusal]:
    """Says which target refuses, where there is more than one."""
    prefix = f"{target}: " if several else ""
    return [Refusal(r.node, r.operator, prefix + r.reason, r.remedy) for r in refusals]


class _Preparer:
    """Prepares one model for one target after the other."""

    def __init__(
        self,
        model: ir.Model,
        recipe: Recipe,
        profile: str,
        name: str,
        progress: Progress,
        keep: Keep | None,
        shapes: Mapping[str, Sequence[int]] | None,
    ) -> None:
        self.records: list[StepRecord] = []
        self.training: Training | None = None
        self._model = model
        self._table_network = is_table_network(model)
        self._form = form_of(model)
        self._quantization = border_quantization(model)
        self._recipe = recipe
        self._profile = profile
        self._name = name
        self._progress = progress
        self._keep = keep
        self._shapes = shapes

    def model(self, target: Target) -> Prepared:
        """The one model of a recipe that does not train."""
        model = self._copy()
        model.metadata_props.pop(METADATA_KEY, None)
        # A table network is what its targets emit as it stands.
        if not self._table_network:
            self._run(model, target.prepare, target.name)
        elif self._shapes and target.name in SIZED_TARGETS:
            bind_size(model, self._shapes)
        return self._prepared(target, {MODEL: model})

    def training_parts(self, target: Target) -> Prepared:
        """Inference, and the training step where the target has one."""
        infer = self._copy()
        self._run(infer, target.prepare, target.name)
        infer.metadata_props.pop(METADATA_KEY, None)
        if not target.trains:
            return self._prepared(target, {INFER: infer})
        step, phase = self._copy(), f"{target.name} {TRAIN_STEP}"
        cut = target.prepare.index(_LOWER) + 1
        self._run(step, target.prepare[:cut], phase)
        initial = {
            name: np.asarray(value.const_value.numpy())
            for name, value in step.graph.initializers.items()
            if value.const_value is not None
        }
        self._run(step, (_BUILD_FORWARD,), phase)
        training = self._training(step, initial)
        self.training = self.training or training
        self._run(step, (*target.prepare[cut:], *target.step_passes), phase)
        prepared = self._prepared(target, {INFER: infer, TRAIN_STEP: step})
        data = [s for s in prepared.inputs[TRAIN_STEP] if s.name in _names(training.inputs)]
        return dataclasses.replace(
            prepared,
            inputs={**prepared.inputs, TRAIN_STEP: step_inputs(training, data)},
            outputs={**prepared.outputs, TRAIN_STEP: step_outputs(training.specification)},
            parameters=training.weights,
        )

    def parts(self, target: Target, roles: Sequence[str]) -> Prepared:
        """Parts of a model that is cut in two."""
        from intaglio.passes.split.extract import extract

        wire = set(get_wire(self._model) or ())
        halves = extract(self._copy())
        models = {role: halves[role] for role in roles}
        for role, model in models.items():
            self._run(model, (FOLD, *target.prepare), f"{target.name} {role}")
        prepared = self._prepared(target, models)
        return dataclasses.replace(
            prepared,
            inputs={role: _plain(specs, wire) for role, specs in prepared.inputs.items()},
            outputs={role: _plain(specs, wire) for role, specs in prepared.outputs.items()},
        )

    def _copy(self) -> ir.Model:
        return self._model.clone(deep_copy=True)

    def _run(self, model: ir.Model, passes: Sequence[str], phase: str) -> None:
        self.records += prepare_for_target(
            model, passes, self._recipe, phase, self._progress, self._keep
        )

    def _prepared(self, target: Target, models: Mapping[str, ir.Model]) -> Prepared:
        return Prepared(
            models=models,
            profile=self._profile,
            form=TABLES if self._form == TABLES else target.form,
            inputs={role: self._specs(m.graph.inputs) for role, m in models.items()},
            outputs={role: self._specs(m.graph.outputs) for role, m in models.items()},
            name=self._name,
        )

    def _specs(self, values: Sequence[ir.Value]) -> Sequence[TensorSpec]:
        return border_specs(values, self._quantization)

    def _training(self, forward: ir.Model, initial: Mapping[str, NDArray[Any]]) -> Training:
        """What the bundle keeps, from the forward form in ONNX layout."""
        specification = read_specification(forward)
        if specification is None:
            raise InternalError("the forward form has lost its specification")
        names = {p.name for p in specification.parameters}
        data = [value for value in forward.graph.inputs if value.name not in names]
        outputs = [value for value in forward.graph.outputs if value.name != LOGITS]
        logits = forward.graph.outputs[-1]
        return Training(
            specification=specification,
            weights=clip_to_limits(specification, initial),
            inputs=tuple(self._specs(data)),
            outputs=tuple(self._specs(outputs)),
            target=target_spec(specification, self._specs([logits])[0]),
        )


def _plain(specs: Sequence[TensorSpec], wire: set[str]) -> tuple[TensorSpec, ...]:
    """The specs, with codes as the plain integers that they are."""
    return tuple(
        dataclasses.replace(spec, scale=None, zero_point=None) if spec.name in wire else spec
        for spec in specs
    )


def _names(specs: Sequence[TensorSpec]) -> set[str]:
    return {spec.name for spec in specs}
