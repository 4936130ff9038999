"""Names of passes, targets and recipes, and where they live.

One plain table, name to ``module:Class``, loaded only when asked for, so that
``intaglio --help`` does not import onnx. Third parties add entry points in the groups
``intaglio.passes`` and ``intaglio.targets``.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from intaglio.errors import RecipeError

if TYPE_CHECKING:
    from intaglio.passes.base import Pass
    from intaglio.targets.base import Target, TargetConfig

PASSES: Mapping[str, str] = {
    "canonicalize.fold_constants": "intaglio.passes.canonicalize.fold_constants:FoldConstants",
    "canonicalize.remove_identities": (
        "intaglio.passes.canonicalize.remove_identities:RemoveIdentities"
    ),
    "canonicalize.normalize_operators": (
        "intaglio.passes.canonicalize.normalize_operators:NormalizeOperators"
    ),
    "canonicalize.sink_transposes": ("intaglio.passes.canonicalize.sink_transposes:SinkTransposes"),
    "canonicalize.fold_batch_norm": "intaglio.passes.canonicalize.fold_batch_norm:FoldBatchNorm",
    "canonicalize.fuse_bias": "intaglio.passes.canonicalize.fuse_bias:FuseBias",
    "canonicalize.fuse_pad": "intaglio.passes.canonicalize.fuse_pad:FusePad",
    "canonicalize.fuse_activations": (
        "intaglio.passes.canonicalize.fuse_activations:FuseActivations"
    ),
    "canonicalize.recompose_prelu": ("intaglio.passes.canonicalize.recompose_prelu:RecomposePRelu"),
    "quantize.isolate_tensors": "intaglio.passes.quantize.isolate_tensors:IsolateTensors",
    "quantize.equalize_layers": "intaglio.passes.quantize.equalize_layers:EqualizeLayers",
    "calibrate.equalize_channels": "intaglio.fitting.equalize_channels:EqualizeChannels",
    "calibrate.fit_channels": "intaglio.fitting.fit_channels:FitChannels",
    "calibrate.observe_ranges": "intaglio.fitting.observe_ranges:ObserveRanges",
    "calibrate.reuse_channels": "intaglio.fitting.reuse_channels:ReuseChannels",
    "calibrate.choose_precision": "intaglio.fitting.choose_precision:ChoosePrecision",
    "calibrate.round_weights": "intaglio.fitting.round_weights:RoundWeights",
    "calibrate.correct_bias": "intaglio.fitting.correct_bias:CorrectBias",
    "quantize.plan_tensors": "intaglio.passes.quantize.plan_tensors:PlanTensors",
    "quantize.insert_qdq": "intaglio.passes.quantize.insert_qdq:InsertQdq",
    "lower.shift_unsigned": "intaglio.passes.lower.shift_unsigned:ShiftUnsigned",
    "lower.to_integer": "intaglio.passes.lower.to_integer:ToInteger",
    "calibrate.choose_cut": "intaglio.fitting.choose_cut:ChooseCut",
    "calibrate.fit_codec": "intaglio.fitting.fit_codec:FitCodec",
    "split.insert_codec": "intaglio.passes.split.insert_codec:InsertCodec",
    "split.fold_permutation": "intaglio.passes.split.fold_permutation:FoldPermutation",
    "tables.tabulate_regions": "intaglio.passes.tables.tabulate_regions:TabulateRegions",
    "tables.substitute_convolutions": (
        "intaglio.passes.tables.substitute_convolutions:SubstituteConvolutions"
    ),
    "tables.fold_producers": "intaglio.passes.tables.fold_producers:FoldProducers",
    "tables.prune_rows": "intaglio.passes.tables.prune_rows:PruneRows",
    "layout.to_channels_last": "intaglio.passes.layout.to_channels_last:ToChannelsLast",
    "train.select_layers": "intaglio.passes.train.select_layers:SelectLayers",
    "train.plan_step": "intaglio.passes.train.plan_step:PlanStep",
    "train.build_forward": "intaglio.passes.train.build_forward:BuildForward",
    "train.build_step": "intaglio.passes.train.build_step:BuildStep",
    "train.differentiate": "intaglio.passes.differentiate.build_training_graph:Differentiate",
}

TARGETS: Mapping[str, str] = {
    "onnx-qdq": "intaglio.targets.onnx.qdq:OnnxQdq",
    "onnx-integer": "intaglio.targets.onnx.integer:OnnxInteger",
    "tflite": "intaglio.targets.tflite.target:Tflite",
    "tosa": "intaglio.targets.tosa.target:Tosa",
    "ethos-u": "intaglio.targets.ethos_u.target:EthosU",
    "c": "intaglio.targets.c.target:C",
}


def _load(location: str) -> Any:
    module, _, attribute = location.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _lookup(name: str, table: Mapping[str, str], group: str, kind: str) -> Any:
    if name in table:
        return _load(table[name])
    extra = {point.name: point for point in entry_points(group=group)}
    if name in extra:
        return extra[name].load()
    raise RecipeError(f"there is no {kind} '{name}'", remedy=suggest(name, [*table, *extra]))


def suggest(name: str, known: Iterable[str]) -> str:
    """A remedy for an unknown name: the closest known ones, else all of them."""
    listed = sorted(known)
    close = difflib.get_close_matches(name, listed, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(listed)}"


def pass_names() -> list[str]:
    """Names of all passes, built in and from entry points."""
    return [*PASSES, *sorted(p.name for p in entry_points(group="intaglio.passes"))]


def target_names() -> list[str]:
    """Names of all targets, built in and from entry points."""
    return [*TARGETS, *sorted(p.name for p in entry_points(group="intaglio.targets"))]


def load_pass(name: str) -> type[Pass]:
    """The pass class called ``name``.

    Raises:
        RecipeError: There is no such pass.
    """
    found: type[Pass] = _lookup(name, PASSES, "intaglio.passes", "pass")
    return found


def load_target(name: str, config: TargetConfig | None = None) -> Target:
    """An instance of the target called ``name``.

    Args:
        name: Its name.
        config: Its options; None for the defaults.

    Raises:
        RecipeError: There is no such target.
    """
    kind = _lookup(name, TARGETS, "intaglio.targets", "target")
    found: Target = kind() if config is None else kind(config)
    return found
