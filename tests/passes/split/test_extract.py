"""Device and server as models of their own: together they are the whole, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.errors import RecipeError
from intaglio.fitting.base import DataPass
from intaglio.fitting.data import open_data
from intaglio.passes.split.cuts import find_cuts
from intaglio.passes.split.extract import extract
from intaglio.passes.split.fold_permutation import FoldPermutation
from intaglio.passes.split.marks import get_wire, read_codec
from intaglio.registry import load_pass, load_target
from intaglio.targets.base import Prepared, spec_of
from intaglio.targets.onnx.read import read_onnx
from tests.passes.split.split_models import depthwise, residual, run, samples, with_codec

SAMPLE = Path(__file__).resolve().parents[3] / "sample_models" / "digits"
#: A short way to the integer form.
STEPS = (
    "canonicalize.fold_constants",
    "canonicalize.remove_identities",
    "canonicalize.normalize_operators",
    "canonicalize.fold_batch_norm",
    "canonicalize.fuse_bias",
    "canonicalize.fuse_activations",
    "quantize.isolate_tensors",
    "calibrate.observe_ranges",
    "quantize.plan_tensors",
    "quantize.insert_qdq",
    "lower.to_integer",
)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("cut", [("stem",), ("first", "stem"), ("hidden",)], ids=str)
def test_device_and_server_are_the_whole(cut, dynamic, fold):
    model, specification = with_codec(residual(), cut, dynamic=dynamic)
    if fold:
        FoldPermutation()(model)
    text = ir.to_proto(model).SerializeToString(deterministic=True)
    parts = extract(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == text
    feeds = samples(model)
    whole = run(model, feeds, get_wire(model))
    sent = run(parts["device"], feeds)
    assert list(sent) == (["codes", "ranges"] if dynamic else ["codes"])
    result = run(parts["server"], sent)
    np.testing.assert_array_equal(sent["codes"], whole["codes"])
    np.testing.assert_array_equal(result["logits"], whole["logits"])
    for part in parts.values():
        assert read_codec(part) == specification
    [codes, *_] = parts["server"].graph.inputs
    assert codes.dtype == ir.DataType.INT8
    assert str(codes.shape) == f"[N,{specification.codes}]"
    assert not any(name.endswith("_b") and name.startswith("logits")
                   for name in parts["device"].graph.initializers)  # fmt: skip


def test_a_model_without_a_codec_is_refused():
    with pytest.raises(RecipeError, match="no codec"):
        extract(residual())


def prepared(model):
    copy = model.clone(deep_copy=True)
    load_pass("layout.to_channels_last")()(copy)
    specs = [
        {"device": [spec_of(value, 1.0, 0) for value in values]}
        for values in (copy.graph.inputs, copy.graph.outputs)
    ]
    return Prepared({"device": copy}, "tflm", "integer", *specs, "small")


def emitted_codes(target, device, feeds, folder):
    """Codes of one sample from what the target writes and its runtime runs."""
    ready, kind = prepared(device), load_target(target)
    assert kind.check(ready) == []
    [artifact] = kind.emit(ready, folder)
    [spec], [source] = artifact.inputs, feeds.values()
    given = source.transpose(0, 2, 3, 1) if spec.layout == "NHWC" else source
    return kind.open(artifact, folder).run({spec.name: given}).outputs["codes"]


@pytest.mark.parametrize(
    ("make", "cut", "options"),
    [
        (residual, ("stem",), {}),
        (residual, ("first", "stem"), {}),
        (residual, ("hidden",), {}),
        (residual, ("stem",), {"channels": 2, "patch": 2}),
        (depthwise, ("deep",), {"alike": True}),
    ],
)
def test_static_devices_in_c(make, cut, options, tmp_path):
    model, _ = with_codec(make(), cut, **options)
    FoldPermutation()(model)
    device = extract(model)["device"]
    feeds = samples(model, count=1)
    got = emitted_codes("c", device, feeds, tmp_path)
    np.testing.assert_array_equal(got, run(device, feeds)["codes"])


@pytest.fixture(scope="module")
def digits():
    """The integer form of a trained model: TFLite derives its multipliers from real scales."""
    model = read_onnx(SAMPLE / "digits.onnx", {})
    specs = [spec_of(value) for value in model.graph.inputs]
    for name in STEPS:
        kind = load_pass(name)
        if issubclass(kind, DataPass):
            kind(kind.Config(), open_data(SAMPLE / "calibration.npz", specs))(model)
        else:
            kind()(model)
    return model


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_static_devices_in_tflite(digits, place, alike, fold, tmp_path):
    cut = find_cuts(digits.graph)[place].values
    model, _ = with_codec(digits.clone(deep_copy=True), cut, alike=alike)
    if fold:
        FoldPermutation()(model)
    device = extract(model)["device"]
    feeds = samples(model, count=1)
    wanted = run(device, feeds)["codes"]
    np.testing.assert_array_equal(emitted_codes("tflite", device, feeds, tmp_path), wanted)


@pytest.mark.parametrize("target", ["c", "tflite"])
def test_dynamic_devices_are_refused_with_a_remedy(digits, target):
    cut = find_cuts(digits.graph)[0].values
    model, _ = with_codec(digits.clone(deep_copy=True), cut, dynamic=True)
    refusals = load_target(target).check(prepared(extract(model)["device"]))
    assert refusals
    assert all("dynamic ranges" in refusal.reason and refusal.remedy for refusal in refusals)


def test_tflite_refuses_shared_codes_with_a_remedy(digits):
    cut = find_cuts(digits.graph)[0].values
    model, _ = with_codec(digits.clone(deep_copy=True), cut, patch=2)
    refusals = load_target("tflite").check(prepared(extract(model)["device"]))
    assert refusals
    assert all("share a code" in refusal.reason and refusal.remedy for refusal in refusals)
