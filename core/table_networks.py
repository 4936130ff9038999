"""Models that are table networks already: fitted in integers, converted without calibration.

Such a model is not read like others: the functions of the dialect that it is written in stay as
they are, no step of a recipe changes it, and its sizes stay open. What it computes is defined by
the network itself (:mod:`intaglio.transforms.table_networks`), not by the arithmetic of a profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from intaglio.errors import InputError, InternalError, RecipeError, UnsupportedError
from intaglio.passes.table_networks.facts import TASK, Network
from intaglio.passes.table_networks.read import read_network
from intaglio.pipeline import PipelineResult, skipped_records
from intaglio.recipe import Recipe
from intaglio.targets.base import Target
from intaglio.targets.reading import is_tflite
from intaglio.transforms.table_networks.centred import CentredNetwork

#: Key of the manifest under which a bundle says that it holds one.
MANIFEST_KEY = "table_network"

#: Targets that emit one for images of any size, and those that state the size.
TARGETS = ("onnx-integer", "c")
SIZED_TARGETS = ("tosa", "ethos-u")

_FORCE = "tables.substitute_convolutions.force"

#: Why the steps of a recipe were not run.
_LEFT_ALONE = "the model is a table network, which computes in integers already"


def open_table_network(path: str | Path) -> ir.Model | None:
    """Opens a model file that is a table network.

    Args:
        path: Any file.

    Returns:
        The model as it stands in the file, or None where it is something else; what is wrong with
        a file is for the general reader to say.
    """
    # Imported here: it takes a while to load.
    from intaglio.targets.onnx.read import parse

    place = Path(path)
    if is_tflite(place):
        return None
    try:
        model = ir.serde.deserialize_model(parse(place))
    except (InputError, ValueError, TypeError, KeyError, ir.serde.SerdeError):
        return None
    return None if read_network(model) is None else model


def require_table_targets(targets: Sequence[Target]) -> None:
    """Refuses targets that cannot hold a table network.

    Raises:
        UnsupportedError: One of them is none of :data:`TARGETS`.
    """
    known = (*TARGETS, *SIZED_TARGETS)
    unable = [target.name for target in targets if target.name not in known]
    if unable:
        raise UnsupportedError(
            f"the model is a table network, and target {unable[0]} has no table look-ups for it",
            remedy=f"use --target {' or --target '.join(known)}",
        )


def bind_size(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> None:
    """Binds the sizes of a table network's image and result; changes the model.

    Args:
        model: The model.
        shapes: As given to ``convert``.

    Raises:
        RecipeError: They name another input, or no size of one image.
    """
    network = read_network(model)
    if network is None:
        raise InternalError("no table network")
    [image], [result] = model.graph.inputs, model.graph.outputs
    wanted = [int(size) for size in shapes.get(str(image.name), ())]
    if set(shapes) != {image.name} or len(wanted) != 4 or wanted[:2] != [1, 1] or min(wanted) < 1:
        raise RecipeError(
            "--shape does not say the size of one image",
            remedy=f"give it as --shape {image.name}=1,1,HEIGHT,WIDTH",
        )
    stride = network.stride if isinstance(network, CentredNetwork) else 1
    sizes = [size * network.upscale // stride for size in wanted[2:]]
    if 0 in sizes:
        raise RecipeError(
            f"nothing is left of an image of {wanted[2]} x {wanted[3]}", remedy="give a larger size"
        )
    image.shape = ir.Shape(wanted)
    result.shape = ir.Shape([1, 1, *sizes])


def require_plain_arguments(
    calibration: object,
    shapes: Mapping[str, Sequence[int]] | None,
    plan: object,
    targets: Sequence[Target],
) -> list[str]:
    """Checks what was asked for beside the model.

    Args:
        calibration: As given to ``convert``.
        shapes: Likewise.
        plan: Likewise.
        targets: The targets.

    Returns:
        Sentences about what has no effect.

    Raises:
        RecipeError: A plan was given: there is nothing that it could stand for.
    """
    if plan is not None:
        raise RecipeError(
            "the model is a table network, and has no scales that a plan could give",
            remedy="leave --plan out",
        )
    found = []
    if calibration is not None:
        found.append("the model is a table network: calibration data has no effect")
    if shapes and not any(target.name in SIZED_TARGETS for target in targets):
        found.append("the model is a table network and takes any size: --shape has no effect")
    return found


def require_plain_settings(recipe: Recipe, chosen: Recipe, keep_steps: bool) -> None:
    """Refuses options that cannot change anything about a table network.

    Args:
        recipe: The recipe as it is called or stands in its file.
        chosen: The same with the user's options set.
        keep_steps: Whether the model behind every step is asked for.

    Raises:
        RecipeError: An option would have no effect.
    """
    if chosen.io != "integer":
        raise RecipeError(
            f"io={chosen.io} has no effect on a table network, which takes and gives bytes",
            remedy="leave io out",
        )
    options = _changed(recipe, chosen)
    if options:
        raise RecipeError(
            f"{', '.join(options)} {'has' if len(options) == 1 else 'have'} no effect: "
            f"{_LEFT_ALONE}",
            remedy=f"leave {'it' if len(options) == 1 else 'them'} out"
            + (" (it is --force)" if _FORCE in options else "")
            + "; the options of a table network are those of `intaglio fit`",
        )
    if keep_steps:
        raise RecipeError(
            f"there are no steps to keep: {_LEFT_ALONE}", remedy="leave --keep-steps out"
        )


def _changed(recipe: Recipe, chosen: Recipe) -> list[str]:
    """Names of the options that differ, those left out that also count for a table network."""
    found = ["profile"] if recipe.profile != chosen.profile else []
    for before, after in zip(recipe.steps, chosen.steps, strict=True):
        found += _differing(f"{after.pass_name}.", before.options, after.options)
        if before.enabled != after.enabled:
            found.append(f"{after.pass_name}.enabled")
    found += _differing("data.", recipe.data, chosen.data)
    if recipe.bundle.samples != chosen.bundle.samples:
        found.append("bundle.samples")
    for name, options in chosen.prepare.items():
        found += _differing(f"{name}.", recipe.prepare.get(name, {}), options)
    # Of the options of target c, only where its working memory lies means nothing here.
    memory = [table.target.get("c", {}).get("memory") for table in (recipe, chosen)]
    return [*found, "c.memory"] if memory[0] != memory[1] else found


def _differing(prefix: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    absent = object()
    return [prefix + key for key in after if before.get(key, absent) != after[key]]


def left_alone(model: ir.Model, recipe: Recipe) -> PipelineResult:
    """What a recipe makes of a table network: nothing, and says so for every step."""
    return PipelineResult(
        model, model.clone(deep_copy=True), None, skipped_records(recipe, _LEFT_ALONE)
    )


def describe_network(model: ir.Model) -> dict[str, Any] | None:
    """What a table network is, as JSON-friendly data.

    Args:
        model: Any model.

    Returns:
        None where it is no table network; else ``structure``, ``task``, ``scale`` (the result is
        so many times as large), ``channels``, ``layers`` (of tables), ``table_bytes`` (all tables
        and weights), ``lookups`` and ``multiplications`` (for a cell) and ``cell`` (pixels of the
        image that a cell has on each side).
    """
    network = read_network(model)
    if network is None:
        return None
    return {**_structure(network), "task": model.metadata_props.get(TASK, "")}


def _structure(network: Network) -> dict[str, Any]:
    if isinstance(network, CentredNetwork):
        return {
            "structure": "centred",
            "scale": network.upscale / network.stride,
            "cell": network.stride,
            "channels": network.channels,
            "layers": len(network.mixings) + 1,
            "table_bytes": network.storage_bytes,
            "lookups": network.lookups,
            "multiplications": network.multiplications,
        }
    branch = network.branches[0]
    depthwise = sum(stage.depthwise is not None for stage in branch.stages)
    return {
        "structure": "reference",
        "scale": float(network.upscale),
        "cell": 1,
        "channels": branch.channels,
        "layers": 2 + len(branch.stages) + depthwise,
        "table_bytes": network.storage_bytes,
        "lookups": network.lookups,
        "multiplications": 0,
    }
