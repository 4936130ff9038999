"""Bundles that train: roles, files, refusals, and the way back to a deployed model."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import intaglio
from intaglio.adapted import export_adapted
from intaglio.bundle import QUANTIZED
from intaglio.errors import InputError, RecipeError
from intaglio.passes.lower.to_integer import ToInteger
from intaglio.passes.train.build_forward import LOGITS, BuildForward
from intaglio.targets.onnx.session import make_session
from intaglio.targets.training_files import TRAINING, WEIGHTS
from intaglio.training_files import load_training, open_stepper
from intaglio.transforms.forward_gradient.loss import cross_entropy
from intaglio.transforms.forward_gradient.step import digest, train_step
from intaglio.transforms.scales import TensorQuantization
from intaglio.verification.inner_tensors import load_graph
from intaglio.verification.verify import verify_bundle

RECIPE = "forward-gradient"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, digits, digits_data):
    """The sample model, its last layer to be trained."""
    out = tmp_path_factory.mktemp("training") / "digits"
    return intaglio.convert(digits, RECIPE, ["onnx-integer"], digits_data, out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, digits, digits_data):
    """The same, all of it with the biases."""
    out = tmp_path_factory.mktemp("whole") / "digits"
    sets = ["train.select_layers.layers=all", "train.select_layers.biases=true"]
    return intaglio.convert(digits, RECIPE, ["onnx-integer"], digits_data, out, sets=sets)


def integers(training, bundle):
    spec = training.inputs[0]
    found = TensorQuantization(spec.dtype, (spec.scale,), (spec.zero_point,))
    return found.quantize(bundle.samples()[spec.name])


def test_it_has_two_roles_and_the_files_of_training(bundle):
    roles = [(a.target, a.role) for a in bundle.artifacts]
    assert roles == [
        ("onnx-integer", "infer"),
        ("onnx-integer", "train_step"),
        ("source", "reference"),
    ]
    assert {WEIGHTS, TRAINING, QUANTIZED} <= set(bundle.manifest["files"])
    bundle.check_hashes()


def test_the_border_of_the_training_step_is_described(bundle):
    artifact = bundle.artifact("onnx-integer", "train_step")
    inputs = {spec.name: spec for spec in artifact.inputs}
    assert list(inputs) == ["image", "labels", "fc2.weight", "seed", "step_shift"]
    training = load_training(bundle)
    assert inputs["image"] == training.inputs[0]
    assert inputs["image"].scale is not None
    assert inputs["fc2.weight"].scale == training.specification.parameters[0].scale
    names = [spec.name for spec in artifact.outputs]
    assert names == ["updated.fc2.weight", "loss_plus", "loss_minus", "sign"]
    graph = onnx.load(bundle.folder / artifact.path).graph
    assert [value.name for value in graph.input] == list(inputs)
    assert [value.name for value in graph.output] == names


def test_training_starts_from_the_weights_of_the_inference(whole):
    training = load_training(whole)
    model = onnx.load(whole.folder / whole.artifact("onnx-integer", "infer").path)
    baked = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert len(training.specification.parameters) == 8
    for name, array in training.weights.items():
        np.testing.assert_array_equal(array, baked[name])


def test_the_inference_is_what_runs_by_default(bundle):
    training = load_training(bundle)
    x = integers(training, bundle)
    found = bundle.session("onnx-integer").run({"image": x})["logits"]
    np.testing.assert_array_equal(found, open_stepper(bundle, "onnx-integer").predict(x))


def test_the_same_input_gives_the_same_bytes(tmp_path, bundle, digits, digits_data):
    again = intaglio.convert(digits, RECIPE, ["onnx-integer"], digits_data, tmp_path / "digits")
    for name in ("manifest.json", "training.json", "weights.bin", "onnx-integer/train_step.onnx"):
        assert (again.folder / name).read_bytes() == (bundle.folder / name).read_bytes(), name


@pytest.mark.parametrize("target", ["onnx-qdq", "tflite"])
def test_targets_that_cannot_train_are_refused_before_any_work(
    tmp_path, digits, digits_data, target
):
    with pytest.raises(RecipeError, match=f"target {target} has none") as caught:
        intaglio.convert(digits, RECIPE, [target], digits_data, tmp_path / "out")
    assert "onnx-integer" in caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_a_float_border_is_refused(tmp_path, digits, digits_data):
    with pytest.raises(RecipeError, match="integers"):
        intaglio.convert(
            digits, RECIPE, ["onnx-integer"], digits_data, tmp_path / "out", sets=["io=float"]
        )


def test_a_bundle_without_training_says_so(digits_bundle):
    with pytest.raises(RecipeError, match="no training step"):
        load_training(digits_bundle)
    with pytest.raises(RecipeError, match="no training step"):
        open_stepper(digits_bundle, "onnx-integer")


def test_a_bundle_that_trains_is_verified(whole):
    report = verify_bundle(whole, samples=4, layers=True)
    assert report.ok, report.failures
    verdicts = {(p.artifact, p.reference): p.verdict for p in report.pairs}
    assert verdicts["train_step/onnx-integer", "numpy"] == "exact"
    assert ("onnx-integer", "source") in verdicts
    assert report.layers
    assert (whole.folder / "report.html").stat().st_size > 0


def trained(bundle, steps):
    training = load_training(bundle)
    stepper = open_stepper(bundle, "onnx-integer")
    x = integers(training, bundle)
    labels = np.arange(len(x)) % 10
    for number in range(steps):
        stepper.step(x, labels, training.specification.step_seed(5, number))
    return training, stepper, x


@pytest.mark.parametrize("name", ["bundle", "whole"])
def test_trained_weights_become_a_bundle_of_the_same_bits(tmp_path, name, request):
    source = request.getfixturevalue(name)
    training, stepper, x = trained(source, 5)
    weights = stepper.weights()
    spec = training.specification
    assert digest(spec, weights) != digest(spec, training.weights)
    made = export_adapted(source, weights, tmp_path / "out", notes={"steps": 5})
    assert [(a.target, a.role) for a in made.artifacts] == [
        ("onnx-integer", "model"),
        ("source", "reference"),
    ]
    assert made.manifest["adapted"] == {"steps": 5, "weights": digest(spec, weights)}
    assert TRAINING not in made.manifest["files"]
    found = made.session("onnx-integer").run({"image": x})["logits"]
    np.testing.assert_array_equal(found, stepper.predict(x))
    report = verify_bundle(made, samples=8)
    assert report.ok, report.failures
    reference = onnx.load(made.folder / made.reference.path)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in reference.graph.initializer}
    real = (spec.parameters[-1].scale * weights[spec.parameters[-1].name]).astype(np.float32)
    array = stored[spec.parameters[-1].name]
    np.testing.assert_array_equal(array, real.T if array.ndim == 2 else real)


def test_steps_of_the_whole_model_are_those_of_the_definition(whole):
    """The loss is that of the forward form in onnxruntime, the step that of numpy."""
    training = load_training(whole)
    spec, x = training.specification, integers(training, whole)[:8]
    forward = load_graph(whole.folder / QUANTIZED)
    for kind in (ToInteger, BuildForward):
        kind()(forward)
    session = make_session(ir.to_proto(forward).SerializeToString(), threads=1)
    labels = np.arange(8) % 10

    def loss(weights):
        (logits,) = session.run([LOGITS], {"image": x, **weights})
        return cross_entropy(logits, labels)

    stepper, weights = open_stepper(whole, "onnx-integer"), dict(training.weights)
    for number in range(5):
        weights, expected = train_step(spec, weights, number, loss)
        assert stepper.step(x, labels, number) == expected
        assert digest(spec, stepper.weights()) == digest(spec, weights)


def test_the_initial_weights_give_the_inference_artifact_again(tmp_path, bundle):
    made = export_adapted(bundle, load_training(bundle).weights, tmp_path / "out")
    ours, theirs = (onnx.load(b.folder / b.artifact("onnx-integer").path) for b in (made, bundle))
    assert ours.graph.SerializeToString(deterministic=True) == theirs.graph.SerializeToString(
        deterministic=True
    )


def test_weights_of_another_shape_are_refused(tmp_path, bundle):
    weights = {"fc2.weight": np.zeros((3, 3), np.int16)}
    with pytest.raises(InputError, match="weights 'fc2"):
        export_adapted(bundle, weights, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_things_is_left_alone(tmp_path, bundle):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RecipeError, match="other things"):
        export_adapted(bundle, load_training(bundle).weights, tmp_path)


def test_the_specification_in_the_folder_is_that_of_the_artifact(bundle):
    artifact = bundle.folder / bundle.artifact("onnx-integer", "train_step").path
    props = {p.key: p.value for p in onnx.load(artifact).metadata_props}
    stated = json.loads((bundle.folder / TRAINING).read_text())["specification"]
    assert json.loads(props["intaglio.training"]) == stated
