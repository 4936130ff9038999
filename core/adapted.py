"""The way back from trained weights to a bundle that is deployed: role ``model``, as ever.

The quantized form that the training artifacts were made from gets the new numbers in place of the
old ones, and goes through each target's preparation again. Nothing is calibrated or rounded anew:
inference has the bits that the training step's own inference had with these weights. The float
reference gets what the numbers stand for, ``scale * number``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from intaglio.bundle import QUANTIZED, REPORT_JSON, Bundle, check_output, load
from intaglio.bundle_files import read_json, replacing
from intaglio.bundle_writing import Contents, facts_of, write_contents
from intaglio.errors import InputError
from intaglio.passes.base import Change, Skip
from intaglio.passes.train.marks import trained_nodes
from intaglio.passes.train.parameters import write_parameters
from intaglio.pipeline import StepRecord
from intaglio.preparing import prepare_targets
from intaglio.progress import Progress, silent
from intaglio.recipe import Recipe, parse
from intaglio.registry import load_target
from intaglio.settings import build_target_config
from intaglio.targets.base import Target, TensorSpec
from intaglio.targets.training_files import Training, check_weights
from intaglio.training_files import load_training
from intaglio.transforms.forward_gradient.specification import METADATA_KEY
from intaglio.transforms.forward_gradient.step import Weights, digest
from intaglio.verification.inner_tensors import load_graph

_AGAIN = "convert the model again"

#: Key of the manifest of an adapted bundle.
ADAPTED = "adapted"


def export_adapted(
    bundle: Bundle,
    weights: Weights,
    out: str | Path,
    *,
    notes: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Writes the bundle of a model with trained weights.

    Args:
        bundle: The bundle that training started from.
        weights: Trained numbers by parameter, in ONNX layout.
        out: Folder to write; an earlier bundle there is replaced at the very end.
        notes: How the weights came about; stands in the manifest's entry ``adapted``.
        files: Further files by name, such as a transcript.
        progress: Listener.

    Returns:
        A bundle with the same targets, arithmetic and samples, role ``model``.

    Raises:
        RecipeError: ``bundle`` has no training step, or ``out`` holds other things.
        InputError: The weights do not fit the step, or a file is missing or damaged.
        OutputError: The bundle cannot be written.
    """
    from intaglio.report.html import write_report

    folder, listen = Path(out), progress or silent
    check_output(folder)
    training = load_training(bundle)
    check_weights(training.specification, weights)
    contents = _contents(bundle, training, weights, notes or {}, listen)
    contents = dataclasses.replace(contents, files=files or {})
    listen("write", 0, None)
    with replacing(folder) as work:
        write_contents(work, contents)
        write_report(work, name=folder.resolve().name)
    return load(folder)


def _contents(
    bundle: Bundle,
    training: Training,
    weights: Weights,
    notes: Mapping[str, Any],
    progress: Progress,
) -> Contents:
    manifest = bundle.manifest
    recipe = parse(manifest["recipe"], manifest["recipe"]["name"])
    model = load_graph(bundle.folder / QUANTIZED)
    write_parameters(model, weights)
    model.metadata_props.pop(METADATA_KEY, None)
    targets = [_target(name, recipe) for name in bundle.targets]
    name = Path(manifest["source"]["path"]).stem
    preparation = prepare_targets(model, recipe, targets, name, progress, step=False)
    records = (*_recipe_records(bundle), *preparation.records)
    found = {"weights": digest(training.specification, weights), **notes}
    return Contents(
        model=model,
        reference=_reference(bundle, training, weights),
        original=None,
        source=manifest["source"],
        inputs=_reference_specs(bundle, "inputs"),
        outputs=_reference_specs(bundle, "outputs"),
        warnings=manifest["warnings"],
        recipe=recipe,
        targets=targets,
        preparation=preparation,
        records=records,
        facts=facts_of(records),
        calibration=manifest["calibration"],
        samples=bundle.samples() or None,
        plan=bundle.plan(),
        more={ADAPTED: found},
    )


def _target(name: str, recipe: Recipe) -> Target:
    options = recipe.target.get(name)
    target = load_target(name, build_target_config(name, options)) if options else load_target(name)
    target.require_tools()
    return target


def _recipe_records(bundle: Bundle) -> list[StepRecord]:
    """What the recipe's steps did, from the first bundle's report."""
    try:
        steps = read_json(bundle.folder / REPORT_JSON)["steps"]
        return [_record(step) for step in steps if step["phase"] == "recipe"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{REPORT_JSON} is damaged: {error}", remedy=_AGAIN) from error


def _record(step: Mapping[str, Any]) -> StepRecord:
    changes = tuple(Change(**change) for change in step["changes"])
    skips = tuple(Skip(**skip) for skip in step["skips"])
    return StepRecord(**{**step, "seconds": 0.0, "changes": changes, "skips": skips})


def _reference_specs(bundle: Bundle, side: str) -> tuple[TensorSpec, ...]:
    reference = bundle.reference
    return () if reference is None else tuple(getattr(reference, side))


def _reference(bundle: Bundle, training: Training, weights: Weights) -> ir.Model | None:
    """The float model with what the numbers stand for.

    Raises:
        InputError: A layer that trains is missing.
    """
    if bundle.reference is None:
        return None
    model = load_graph(bundle.folder / bundle.reference.path)
    scales = {p.name: p.scale for p in training.specification.parameters}
    missing = set(scales)
    for node, trained in trained_nodes(model.graph):
        columns = node.op_type == "Gemm" and bool(node.attributes.get_int("transB", 0))
        for index, name in enumerate(trained.names, 1):
            value = node.inputs[index]
            if value is None or value.const_value is None or name not in scales:
                raise InputError(f"'{name}' is no constant of the float model", remedy=_AGAIN)
            real = (scales[name] * weights[name]).astype(np.float32)
            stored = np.ascontiguousarray(real.T if columns and index == 1 else real)
            value.const_value = ir.tensor(stored, name=value.name)
            missing.discard(name)
    if missing:
        raise InputError(f"the float model has no layer with '{min(missing)}'", remedy=_AGAIN)
    return model
