"""Quantization plans: what was decided about every tensor, as a file to read, edit and replay.

``plan.json`` holds, by tensor name, how the tensor is quantized and the calibrated range that this
came from. ``convert --plan`` writes the decisions back into the graph and leaves out the steps that
would make them, so that a plan edited by hand needs no calibration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from intaglio.errors import InputError, RecipeError
from intaglio.passes.annotations import (
    all_values,
    get_quantization,
    get_range,
    set_quantization,
    set_range,
)
from intaglio.passes.marks import DONE_PREFIX, is_done
from intaglio.passes.quantize.channel_copies import COPIES_PASS, replay_copies
from intaglio.passes.quantize.channel_maps import MAPS_PASS, replay_maps
from intaglio.passes.quantize.layer_pairs import CHANNELS_PASS, replay_factors
from intaglio.passes.quantize.stored_parameters import restore_parameters, store_parameters
from intaglio.registry import suggest
from intaglio.transforms.scales import TensorQuantization

SCHEMA = 1

#: Steps that decide; a replayed plan stands in their place.
DECIDING_PASSES = frozenset(
    {
        "calibrate.equalize_channels",
        "calibrate.fit_channels",
        "calibrate.observe_ranges",
        "calibrate.reuse_channels",
        "calibrate.choose_precision",
        "quantize.plan_tensors",
        "calibrate.round_weights",
        "calibrate.correct_bias",
    }
)

#: Those that decide about weights and biases themselves, not only about scales.
_PARAMETER_PASSES = ("calibrate.round_weights", "calibrate.correct_bias")

#: The step that edits the graph; the plan is taken from the model right before it.
EDITING_PASS = "quantize.insert_qdq"

_MARK_PREFIX = "intaglio."


def capture_plan(model: ir.Model, marks: Mapping[str, str]) -> dict[str, Any] | None:
    """Reads the plan from the notes on a model's values.

    Args:
        model: The model, before quantization is inserted.
        marks: Model metadata that the deciding steps left, to be restored on replay.

    Returns:
        JSON-friendly data, or None if no value has a note.
    """
    tensors: dict[str, Any] = {}
    for value in all_values(model):
        quantization, limits = get_quantization(value), get_range(value)
        if value.name and (quantization or limits):
            tensors[value.name] = {
                "quantization": quantization.to_dict() if quantization else None,
                "range": list(limits) if limits else None,
            }
    if not tensors:
        return None
    plan = {"schema": SCHEMA, "marks": dict(marks), "tensors": tensors}
    if any(is_done(model, name) for name in _PARAMETER_PASSES):
        plan["parameters"] = store_parameters(model)
    return plan


def apply_plan(model: ir.Model, plan: Mapping[str, Any], origin: str) -> int:
    """Writes a plan into the notes of a model's values.

    Args:
        model: The model; changed in place.
        plan: What :func:`read_plan` gave.
        origin: Where the plan came from, for messages.

    Returns:
        Number of tensors noted.

    Raises:
        RecipeError: The plan names tensors that the model does not have.
    """
    values = {value.name: value for value in all_values(model) if value.name}
    unknown = [name for name in plan["tensors"] if name not in values]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise RecipeError(
            f"plan {origin}: the model has no tensor '{unknown[0]}'{more}",
            remedy=f"a plan belongs to one model and one recipe; {suggest(unknown[0], values)}",
        )
    for name, note in plan["tensors"].items():
        if note["range"] is not None:
            set_range(values[name], *note["range"])
        if note["quantization"] is not None:
            set_quantization(values[name], note["quantization"])
    model.metadata_props.update(plan["marks"])
    # The plan's scales are those of the weights that the steps between channels left.
    _replay_channels(model)
    restore_parameters(model, plan.get("parameters", {}))
    return len(plan["tensors"])


def apply_factors(model: ir.Model, plan: Mapping[str, Any]) -> None:
    """Applies the part of a plan that keeps the model's function: what was moved between channels.

    Args:
        model: The float model; changed in place.
        plan: What :func:`read_plan` gave.

    Raises:
        RecipeError: They do not fit the model.
    """
    for name in (CHANNELS_PASS, MAPS_PASS, COPIES_PASS):
        key = DONE_PREFIX + name
        if key in plan["marks"]:
            model.metadata_props[key] = plan["marks"][key]
    _replay_channels(model)


def _replay_channels(model: ir.Model) -> None:
    """Repeats what a model's marks say was moved between channels, in the order of the steps."""
    replay_factors(model)
    replay_maps(model)
    replay_copies(model)


def new_marks(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """The model metadata of ours that a step added or changed."""
    return {
        key: value
        for key, value in after.items()
        if key.startswith(_MARK_PREFIX) and before.get(key) != value
    }


def read_plan(path: Path) -> dict[str, Any]:
    """Reads and checks a plan file.

    Args:
        path: The file.

    Returns:
        The plan, with quantizations as ``TensorQuantization``.

    Raises:
        InputError: It cannot be read or is no JSON.
        RecipeError: It is not a plan, or an entry is not valid.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"cannot read the plan {path}: {reason}", remedy="give the plan.json of a bundle"
        ) from error
    except ValueError as error:
        raise InputError(
            f"the plan {path} is not JSON: {error}", remedy="give the plan.json of a bundle"
        ) from error
    if not isinstance(data, dict) or not isinstance(data.get("tensors"), dict):
        raise RecipeError(
            f"{path} is not a quantization plan", remedy="give the plan.json of a bundle"
        )
    if data.get("schema") != SCHEMA:
        raise RecipeError(
            f"plan {path} has schema {data.get('schema')!r}, this version reads {SCHEMA}",
            remedy="write the plan again with this version",
        )
    marks = data.get("marks", {})
    if not isinstance(marks, dict) or not all(isinstance(v, str) for v in marks.values()):
        raise RecipeError(
            f"plan {path}: 'marks' must map names to strings", remedy="leave them as written"
        )
    tensors = {name: _read_note(path, name, note) for name, note in data["tensors"].items()}
    parameters = data.get("parameters", {})
    if not isinstance(parameters, dict) or not all(
        isinstance(text, str) for text in parameters.values()
    ):
        raise RecipeError(
            f"plan {path}: 'parameters' must map names to strings", remedy="leave them as written"
        )
    return {"schema": SCHEMA, "marks": marks, "tensors": tensors, "parameters": parameters}


def _read_note(path: Path, name: str, note: Any) -> dict[str, Any]:
    try:
        if not isinstance(note, dict) or set(note) - {"quantization", "range"}:
            raise ValueError("expected the keys 'quantization' and 'range'")
        quantization, limits = note.get("quantization"), note.get("range")
        if limits is not None:
            low, high = (float(limit) for limit in limits)
            if not low <= high:
                raise ValueError(f"range [{low}, {high}] is empty")
            limits = (low, high)
        return {
            "quantization": TensorQuantization.from_dict(quantization) if quantization else None,
            "range": limits,
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"plan {path}: tensor '{name}': {error}", remedy="correct the entry"
        ) from error
