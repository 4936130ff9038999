"""The recipe `forward-gradient` from a float model to integers with a step's specification."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.errors import UnsupportedError
from intaglio.fitting.data import open_data
from intaglio.passes.annotations import get_quantization
from intaglio.passes.lower.to_integer import ToInteger
from intaglio.passes.train.parameters import read_parameters
from intaglio.pipeline import run_recipe
from intaglio.plan import read_plan
from intaglio.recipe import load_recipe
from intaglio.settings import apply_settings
from intaglio.targets.base import spec_of
from intaglio.targets.onnx.read import read_onnx
from intaglio.targets.onnx.session import make_session
from intaglio.transforms.forward_gradient.specification import METADATA_KEY, StepSpecification

SAMPLE = Path(__file__).resolve().parents[2] / "sample_models" / "digits"


def convert(*settings, plan=None):
    model = read_onnx(SAMPLE / "digits.onnx", {})
    specs = [spec_of(value) for value in model.graph.inputs]
    data = None if plan is not None else open_data(SAMPLE / "calibration.npz", specs)
    recipe = apply_settings(load_recipe("forward-gradient"), list(settings))
    return run_recipe(model, recipe, data=data, plan=plan, plan_origin="plan.json")


def integer(model):
    return ToInteger()(model.clone(deep_copy=True)).model


def accuracy(model):
    test = np.load(SAMPLE / "test.npz")
    labels = test["labels"]
    [name] = [n for n in test.files if n != "labels"]
    x = get_quantization(model.graph.inputs[0]).quantize(test[name])
    session = make_session(ir.to_proto(model).SerializeToString(), optimize=False, threads=1)
    found = session.run(None, {model.graph.inputs[0].name: x})[0]
    return float((found.argmax(axis=1) == labels).mean())


def test_the_head_trains_and_the_rest_is_that_of_int8():
    result = convert()
    specification = StepSpecification.from_json(result.model.metadata_props[METADATA_KEY])
    assert [p.name for p in specification.parameters] == ["fc2.weight"]
    lowered = integer(result.model)
    kinds = [node.op_type for node in lowered.graph]
    assert kinds.count("MatMulInteger8By16") == 1
    assert kinds.count("ConvInteger") == 2
    assert kinds.count("MatMulInteger") == 1
    assert "fc2.weight" in lowered.graph.initializers


@pytest.mark.parametrize("settings", [(), ("train.layers=all", "train.biases=true")])
def test_before_training_the_model_is_as_good_as_in_float(settings):
    assert accuracy(integer(convert(*settings).model)) >= 0.97


def test_a_plan_gives_the_same_weights_and_the_same_step(tmp_path):
    settings = ("train.layers=last:2", "train.biases=true")
    first = convert(*settings)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(first.plan), encoding="utf-8")
    second = convert(*settings, plan=read_plan(path))
    assert second.model.metadata_props[METADATA_KEY] == first.model.metadata_props[METADATA_KEY]
    weights, again = read_parameters(first.model), read_parameters(second.model)
    assert list(weights) == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    for name, array in weights.items():
        np.testing.assert_array_equal(again[name], array)


def test_the_quantized_form_is_read_back_as_it_was(tmp_path):
    first = convert("train.layers=last:2")
    ir.save(first.model, tmp_path / "quantized.onnx")
    model = read_onnx(tmp_path / "quantized.onnx", {})
    recipe = apply_settings(load_recipe("forward-gradient"), ["train.layers=last:2"])
    second = run_recipe(model, recipe, quantized_already=True).model
    assert second.metadata_props[METADATA_KEY] == first.model.metadata_props[METADATA_KEY]
    for name, array in read_parameters(first.model).items():
        np.testing.assert_array_equal(read_parameters(second)[name], array)


def test_a_model_that_int8_quantized_is_refused(tmp_path):
    model = read_onnx(SAMPLE / "digits.onnx", {})
    data = open_data(SAMPLE / "calibration.npz", [spec_of(v) for v in model.graph.inputs])
    quantized = run_recipe(model, load_recipe("int8"), data=data).model
    with pytest.raises(UnsupportedError, match="quantized already"):
        run_recipe(quantized, load_recipe("forward-gradient"), quantized_already=True)
