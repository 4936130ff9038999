"""What holds for every registered pass, each run on the graph it meets in the recipes."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from intaglio import registry
from intaglio.fitting.base import DataPass
from intaglio.fitting.data import open_data
from intaglio.passes.base import Outcome, Pass, PassConfig
from intaglio.targets.base import spec_of
from intaglio.targets.onnx.read import read_onnx

SAMPLE = Path(__file__).resolve().parents[2] / "sample_models" / "digits"
#: The order of the recipes; `test_the_order_covers_every_pass` keeps it complete.
ORDER = (
    "canonicalize.fold_constants",
    "canonicalize.remove_identities",
    "canonicalize.normalize_operators",
    "canonicalize.sink_transposes",
    "canonicalize.fold_batch_norm",
    "canonicalize.recompose_prelu",
    "canonicalize.fuse_bias",
    "canonicalize.fuse_pad",
    "canonicalize.fuse_activations",
    "tables.tabulate_regions",
    "quantize.isolate_tensors",
    "train.select_layers",
    "quantize.equalize_layers",
    "calibrate.equalize_channels",
    "calibrate.fit_channels",
    "calibrate.observe_ranges",
    "calibrate.reuse_channels",
    "calibrate.choose_precision",
    "quantize.plan_tensors",
    "calibrate.round_weights",
    "calibrate.correct_bias",
    "quantize.insert_qdq",
    "train.plan_step",
    "lower.shift_unsigned",
    "lower.to_integer",
    "calibrate.choose_cut",
    "calibrate.fit_codec",
    "split.insert_codec",
    "split.fold_permutation",
    "tables.substitute_convolutions",
    "tables.fold_producers",
    "tables.prune_rows",
    "train.build_forward",
    "layout.to_channels_last",
)
#: Passes whose result none of the others takes, and the last one before each.
ENDS = {
    "train.differentiate": "canonicalize.fuse_activations",
    "train.build_step": "train.build_forward",
}


def make(name: str, model: ir.Model) -> Pass:
    kind = registry.load_pass(name)
    if issubclass(kind, DataPass):
        # Samples are those of the source, whatever a pass has made of its inputs.
        source = read_onnx(SAMPLE / "digits.onnx", {})
        specs = [spec_of(value) for value in source.graph.inputs]
        return kind(kind.Config(), open_data(SAMPLE / "calibration.npz", specs))
    return kind()


def model_before(name: str) -> ir.Model:
    model = read_onnx(SAMPLE / "digits.onnx", {})
    count = ORDER.index(ENDS[name]) + 1 if name in ENDS else ORDER.index(name)
    for earlier in ORDER[:count]:
        model = make(earlier, model)(model).model
    return model


def test_the_order_covers_every_pass():
    assert {*ORDER, *ENDS} == set(registry.PASSES)
    assert len(ORDER) + len(ENDS) == len(registry.PASSES)


@pytest.mark.parametrize("name", registry.PASSES)
def test_second_run_changes_nothing(name):
    model = model_before(name)
    first = make(name, model)(model)
    assert isinstance(first, Outcome)
    assert first.modified == bool(first.changes)
    before = ir.to_proto(first.model).SerializeToString(deterministic=True)
    second = make(name, first.model)(first.model)
    assert not second.modified
    assert ir.to_proto(second.model).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", registry.PASSES)
def test_name_semantics_and_options_are_declared(name):
    kind = registry.load_pass(name)
    assert kind.name == name
    assert (
        str(kind.semantics) in ("exact", "calibrated", "approximate")
        or kind.semantics.lsb is not None
    )
    assert issubclass(kind.Config, PassConfig)
    assert kind.__doc__
    for field, info in kind.Config.model_fields.items():
        assert info.default is not None or not info.is_required(), field
