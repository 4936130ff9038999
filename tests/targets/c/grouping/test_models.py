"""Whole models: every tensor of the layers has the bits of the integer graph, in C too."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.passes.lower.shift_unsigned import ShiftUnsigned
from intaglio.passes.lower.to_integer import ToInteger
from intaglio.recipe import load_recipe
from intaglio.registry import load_pass
from intaglio.targets.reading import read_model
from tests.helpers import ZOO_FLOAT
from tests.property.lowering_checks import Options, canonical, run
from tests.targets.c import harness
from tests.targets.c.grouping.agreement import assert_same_bits, channels_last, copies, group
from tests.targets.tflite.emission import random_feeds
from tests.targets.tflite.test_emit_models import SMALL, bound
from tests.targets.tflite.test_read_zoo import INT8

SAMPLES = Path(__file__).parents[4] / "sample_models"


def float_model(path, options):
    proto = canonical(bound(path))
    rng = np.random.default_rng(0)
    feeds = {
        value.name: rng.random([d.dim_value for d in value.type.tensor_type.shape.dim], np.float32)
        for value in proto.graph.input
    }
    return channels_last(proto, feeds, options)


def integer_model(path):
    model = read_model(path)
    for step in load_recipe("int8").steps:
        if step.pass_name.startswith("canonicalize."):
            model = load_pass(step.pass_name)()(model).model
    for step in (ShiftUnsigned(), ToInteger(), ToChannelsLast()):
        model = step(model).model
    return model


def check(model, profile="tflm"):
    network = group(model, profile)
    assert copies(network) == []
    assert_same_bits(model, network, range(1))
    return network


def check_in_c(model, network):
    """Every tensor that the C code computes has the bits of the graph."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    feeds = random_feeds(model, 5)
    wanted = run(model, feeds, [str(v.name) for node in model.graph for v in node.outputs])
    found = harness.run(network, {t.name: feeds[t.name] for t in network.inputs})
    assert set(found) >= {layer.output.name for layer in network.layers}
    for name in sorted(set(found) & set(wanted)):
        array = wanted[name]
        np.testing.assert_array_equal(found[name].reshape(array.shape), array, err_msg=name)


@pytest.mark.parametrize("profile", ["tflm", "litert"])
@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", ["digits", "fashion", "spoken_digits", "superres"])
def test_the_layers_of_a_sample_model_compute_its_bits(name, activations, profile):
    options = Options(activations=activations, profile=profile)
    model = float_model(SAMPLES / name / f"{name}.onnx", options)
    check_in_c(model, check(model, profile))


@pytest.mark.parametrize("name", [*INT8, "coral_mobilenet_v1_0.25_128_quant", "person_detect"])
def test_the_layers_of_a_quantized_zoo_model_compute_its_bits(zoo, name):
    model = integer_model(zoo / f"{name}.tflite")
    check_in_c(model, check(model))


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", SMALL)
def test_the_layers_of_a_zoo_model_compute_its_bits(zoo, name, activations):
    check(float_model(zoo / f"{name}.onnx", Options(activations=activations)))


@pytest.mark.long
@pytest.mark.parametrize("profile", ["tflm", "litert"])
@pytest.mark.parametrize("name", ZOO_FLOAT)
def test_the_layers_of_every_zoo_model_compute_its_bits(zoo, name, profile):
    model = float_model(zoo / f"{name}.onnx", Options(profile=profile))
    check_in_c(model, check(model, profile))
