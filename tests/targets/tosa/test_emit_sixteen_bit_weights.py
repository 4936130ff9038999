"""Layers whose weights train: 16-bit weights as two products of bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import intaglio
from intaglio.adapted import export_adapted
from intaglio.errors import RecipeError
from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.passes.train.parameters import read_parameters, write_parameters
from intaglio.targets.tosa.emit import emit
from intaglio.training_files import load_training
from tests.helpers import build
from tests.passes.lower.test_trained_weights import conv_model, lower, quantized
from tests.targets.tosa.emission import Emission, assert_same_bits

RECIPE = "forward-gradient"
SAMPLES = Path(__file__).parents[3] / "sample_models"
DIGITS = SAMPLES / "digits" / "digits.onnx"
CALIBRATION = SAMPLES / "digits" / "calibration.npz"
EXTREMES = np.array([-32767, 32767, -32513, -257, -256, -255, -129, -128, -1, 0, 1, 127, 128, 255])


def emission_of(model, profile, weights):
    """The emitted form of a model with these weights, and the form."""
    write_parameters(
        model, {name: weights(codes) for name, codes in read_parameters(model).items()}
    )
    integer = ToChannelsLast()(lower(model, profile)).model
    return Emission(integer, emit(integer, profile))


def corners(codes):
    """Every weight an extreme one, drawn."""
    return np.random.default_rng(3).choice(EXTREMES, codes.shape).astype(codes.dtype)


@pytest.mark.parametrize("profile", ["tflm", "tosa-single"])
@pytest.mark.parametrize(
    ("channels", "outputs", "group"),
    [(1, 1, 1), (3, 5, 1), (40, 4, 1), (4, 6, 2), (6, 6, 6), (4, 8, 4)],
    ids=["one channel", "conv", "wide", "grouped", "depthwise", "depthwise times two"],
)
@pytest.mark.parametrize("weights", [corners, np.copy], ids=["corners", "drawn"])
def test_convolutions_keep_their_bits(environment, profile, channels, outputs, group, weights):
    model = quantized(conv_model(channels, outputs, (3, 3), group=group, relu=True))
    emission = emission_of(model, profile, weights)
    assert not emission.emitted.refusals
    assert_same_bits(emission, range(3))


@pytest.mark.parametrize("profile", ["tflm", "tosa-single"])
@pytest.mark.parametrize("depth", [1, 7, 200])
def test_products_keep_their_bits(environment, profile, depth):
    rng = np.random.default_rng(0)
    model = build(
        f"(float[3,{depth}] x) => (float y) {{ y = Gemm<transB=1>(x, w, b) }}",
        w=rng.standard_normal((4, depth)) / np.sqrt(depth),
        b=rng.standard_normal(4),
    )
    assert_same_bits(emission_of(quantized(model), profile, corners), range(3))


def test_sums_of_more_than_32_bits_are_refused():
    depth = 300
    text = f"(float[1,{depth}] x) => (float y) {{ y = MatMul(x, w) }}"
    model = quantized(build(text, w=np.random.default_rng(0).standard_normal((depth, 2))))
    emission = emission_of(model, "tflm", lambda codes: np.full_like(codes, 32767))
    [refusal] = emission.emitted.refusals
    assert "32 bits" in refusal.reason
    assert "onnx-integer" in refusal.remedy


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "digits"
    sets = {"train.select_layers.layers": "all"}
    return intaglio.convert(DIGITS, RECIPE, ["onnx-integer", "tosa"], CALIBRATION, out, sets=sets)


def test_a_bundle_that_trains_has_the_inference_for_tosa(environment, bundle):
    assert [a.role for a in bundle.artifacts if a.target == "tosa"] == ["infer"]
    report = intaglio.verify(bundle, samples=20)
    [pair] = [p for p in report.pairs if (p.artifact, p.reference) == ("tosa", "onnx-integer")]
    assert pair.verdict == "exact"
    assert report.ok


def test_trained_weights_are_exported_for_it_too(environment, bundle, tmp_path):
    weights = {name: corners(codes) // 4 for name, codes in load_training(bundle).weights.items()}
    adapted = export_adapted(bundle, weights, tmp_path / "adapted")
    assert {(a.target, a.role) for a in adapted.artifacts} >= {("tosa", "model")}
    report = intaglio.verify(adapted, samples=20)
    [pair] = [p for p in report.pairs if (p.artifact, p.reference) == ("tosa", "onnx-integer")]
    assert pair.verdict == "exact"


def test_alone_it_is_refused_as_it_does_not_train(tmp_path):
    with pytest.raises(RecipeError, match="target tosa has none") as caught:
        intaglio.convert(DIGITS, RECIPE, ["tosa"], CALIBRATION, tmp_path / "out")
    assert "tosa takes the inference beside them" in caught.value.remedy
