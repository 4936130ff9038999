"""A model that is cut in two: its roles, what is refused before any work, and what is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from intaglio.border import border_specs
from intaglio.errors import InternalError, RecipeError
from intaglio.passes.split.cuts import get_cut
from intaglio.passes.split.marks import SPLIT_KEY, get_wire, read_codec, write_codec
from intaglio.pipeline import Keep, target_options
from intaglio.recipe import Recipe
from intaglio.split_options import CHOOSE_CUT, FIT_CODEC, INSERT_CODEC, splits
from intaglio.targets.base import Artifact, Prepared, Target
from intaglio.targets.onnx.files import write_models
from intaglio.transforms.split.links import parse_bandwidth
from intaglio.transforms.split.specification import CodecSpecification

DEVICE = "device"
SERVER = "server"
#: Role of the quantized model before it was cut, which ``verify`` compares the parts with.
UNSPLIT = "unsplit"

#: The target that emits the server's part.
SERVER_TARGET = "onnx-integer"

#: Pass that each part goes through in front of the target's own.
FOLD = "split.fold_permutation"

#: File of the codec's specification in a bundle, and entry of the manifest.
SPLIT_JSON = "split.json"
MANIFEST_KEY = "split"

_LOWER = "lower.to_integer"


@dataclasses.dataclass(frozen=True)
class Split:
    """What a bundle keeps of a cut beside the parts.

    Attributes:
        specification: The codec's.
        cut: Names of the tensors that cross, in the unsplit model.
        unsplit: The quantized model before it was cut.
    """

    specification: CodecSpecification
    cut: tuple[str, ...]
    unsplit: ir.Model


def is_split(model: ir.Model) -> bool:
    """Whether encoder and decoder stand in a model."""
    return get_wire(model) is not None


def require_split_targets(recipe: Recipe, targets: Sequence[Target], has_data: bool) -> None:
    """Refuses what cannot become two parts, before any work is done.

    Args:
        recipe: The recipe.
        targets: The requested targets.
        has_data: Whether there is calibration data.

    Raises:
        RecipeError: The recipe cuts models, and a target takes no integers, the border is to be
            float, or there is no data to fit the codec to.
    """
    if not splits(recipe):
        return
    for target in targets:
        if target.form != "integer":
            raise RecipeError(
                f"recipe {recipe.name} makes integer graphs, and target {target.name} takes "
                "models with QuantizeLinear and DequantizeLinear",
                remedy="use --target onnx-integer, tflite or c",
            )
    if target_options(recipe, _LOWER).get("io", "integer") != "integer":
        raise RecipeError(
            f"recipe {recipe.name} takes and gives integers", remedy="leave io at integer"
        )
    for step in recipe.steps:
        if step.enabled and step.pass_name == CHOOSE_CUT and "bandwidth" in step.options:
            _require_bandwidth(str(step.options["bandwidth"]))
    if not has_data:
        raise RecipeError(
            f"recipe {recipe.name} fits the codec to features of real samples, also where the "
            "model is quantized already",
            remedy="give --calibration DATA with real inputs, or --random-calibration for a trial",
        )


def _require_bandwidth(text: str) -> None:
    """Refuses a bandwidth before anything is calibrated.

    Raises:
        RecipeError: It is none.
    """
    try:
        parse_bandwidth(text)
    except ValueError as error:
        raise RecipeError(
            f"{CHOOSE_CUT}: {error}", remedy="write it as 500kbps, 1Mbps or 10Mbit/s"
        ) from error


def require_whole(recipe: Recipe) -> None:
    """Refuses a recipe that cuts models, for a table network.

    Raises:
        RecipeError: It is such a recipe.
    """
    if splits(recipe):
        raise RecipeError(
            "a table network is not cut in two", remedy="use recipe int8, which keeps it as it is"
        )


class UncutModel:
    """Keeps the model as it is in front of the pass that inserts the codec.

    Args:
        recipe: The recipe that is run.
        further: What else is told of each step, or None.

    Attributes:
        model: A copy, None until the recipe has come so far.
    """

    def __init__(self, recipe: Recipe, further: Keep | None) -> None:
        self.model: ir.Model | None = None
        self._further = further
        self._stem = _stem_before_codec(recipe)

    def __call__(self, stem: str, after: ir.Model) -> None:
        """Called by the pipeline after each step."""
        if stem == self._stem:
            self.model = after.clone(deep_copy=True)
        if self._further is not None:
            self._further(stem, after)


def _stem_before_codec(recipe: Recipe) -> str | None:
    """How the pipeline calls the last step in front of the codec."""
    before = None
    for index, step in enumerate(recipe.steps):
        if step.enabled and step.pass_name == INSERT_CODEC:
            return before
        if step.enabled:
            before = f"{index + 1:02d}-{step.pass_name}"
    return None


def settle_codec(model: ir.Model, unsplit: ir.Model | None, source_hash: str) -> Split | None:
    """Names the source model in the codec of a split one, and says what to keep.

    Args:
        model: What the recipe made; its mark is changed.
        unsplit: The model in front of the codec.
        source_hash: SHA-256 of the source's file.

    Returns:
        What to keep, None for a model that is whole.

    Raises:
        InternalError: The codec is in the graph and not on the model.
    """
    if not is_split(model):
        return None
    specification, cut = read_codec(model), get_cut(model)
    if specification is None or cut is None or unsplit is None:
        raise InternalError("a model with a codec has lost its cut or its specification")
    if not specification.model_hash:
        specification = dataclasses.replace(specification, model_hash=source_hash)
        write_codec(model, specification)
    return Split(specification, cut, unsplit)


def describe_split(split: Split, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's entry, by its name.

    Args:
        split: The cut and its codec.
        facts: Facts by step: what fitting the codec found are the estimates.
    """
    codec = split.specification
    entry = {
        "cut": list(split.cut),
        "sources": [feature.source for feature in codec.features],
        "coding": codec.coding,
        "elements": codec.elements,
        "codes": codec.codes,
        "side_bytes": codec.side_bytes,
        "session": f"{codec.session:08x}",
        **estimates(codec, facts.get(FIT_CODEC, {})),
    }
    return {MANIFEST_KEY: entry}


def estimates(codec: CodecSpecification, fitted: Mapping[str, Any]) -> dict[str, float]:
    """Bits an element, and how many times less than floats and bytes that is, without headers.

    Args:
        codec: The codec.
        fitted: Facts of the pass that fitted it.

    Returns:
        ``bits_per_element``, ``ratio_fp32`` and ``ratio_u8``; nothing where it did not say.
    """
    bits = fitted.get("bits_per_element")
    if not isinstance(bits, (int, float)) or bits <= 0:
        return {}
    return {"bits_per_element": float(bits), "ratio_fp32": 32 / bits, "ratio_u8": 8 / bits}


def keep_split(work: Path, split: Split, profile: str) -> Artifact:
    """Writes the codec's specification and the model before it was cut.

    Args:
        work: The bundle's folder.
        split: What to keep.
        profile: Arithmetic of the model.

    Returns:
        The model's artifact.
    """
    (work / SPLIT_JSON).write_text(split.specification.to_json() + "\n", encoding="utf-8")
    model = split.unsplit.clone(deep_copy=True)
    model.metadata_props.pop(SPLIT_KEY, None)
    prepared = Prepared(
        models={"model": model},
        profile=profile,
        form="integer",
        inputs={"model": border_specs(model.graph.inputs, {})},
        outputs={"model": border_specs(model.graph.outputs, {})},
    )
    (written,) = write_models(prepared, work, UNSPLIT, profile)
    return dataclasses.replace(written, role=UNSPLIT, target=SERVER_TARGET)
