"""Bundles whose training step runs in C: the bits of onnxruntime, from the float model on."""

import dataclasses
import json

import numpy as np
import onnx
import pytest

import intaglio
from intaglio.errors import InputError, RecipeError
from intaglio.training_files import load_training, open_stepper, stepper_runtimes
from intaglio.transforms.forward_gradient.step import digest
from tests.helpers import build_proto
from tests.targets.c.models import SAMPLES


@dataclasses.dataclass
class Case:
    """A float model and what of it trains."""

    text: str
    weights: dict
    sets: tuple = ()
    classes: int = 4


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(0, 0.4, shape).astype(np.float32)


ALL = ("train.select_layers.layers=all",)
BIASES = ("train.select_layers.biases=true",)
SQUARED = ("train.plan_step.loss=mean-squared-error",)

CASES = {
    "softmax behind the logits": Case(
        "(float[N,2,6,6] x) => (float[N,4] y) {\n"
        "a = Conv <pads = [1,1,1,1], kernel_shape = [3,3]> (x, w, b)\nr = Relu (a)\n"
        "p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r)\nf = Flatten (p)\n"
        "g = Gemm <transB = 1> (f, v, c)\ny = Softmax (g)\n}",
        {"w": normal(0, 5, 2, 3, 3), "b": normal(1, 5), "v": normal(2, 4, 45), "c": normal(3, 4)},
        (*ALL, *BIASES),
    ),
    "pooled logits": Case(
        "(float[N,3,5,5] x) => (float[N,4] y) {\n"
        "a = Conv <pads = [1,1,1,1], kernel_shape = [3,3]> (x, w)\n"
        "d = Conv <group = 4, kernel_shape = [2,2]> (a, v)\n"
        "p = GlobalAveragePool (d)\ny = Flatten (p)\n}",
        {"w": normal(0, 4, 3, 3, 3), "v": normal(1, 4, 1, 2, 2)},
        ALL,
    ),
    "an image": Case(
        "(float[N,3,5,4] x) => (float[N,4,5,4] y) {\n"
        "a = Conv <kernel_shape = [1,1]> (x, w)\nr = Relu (a)\n"
        "y = Conv <pads = [1,1,1,1], kernel_shape = [3,3], group = 2> (r, v, b)\n}",
        {"w": normal(0, 6, 3, 1, 1), "v": normal(1, 4, 3, 3, 3), "b": normal(2, 4)},
        (*ALL, *BIASES, *SQUARED),
    ),
    "a frozen head": Case(
        "(float[N,8] x) => (float[N,4] y) {\n"
        "[first] a = Gemm (x, w, b)\nr = Relu (a)\n[last] y = Gemm (r, v, c)\n}",
        {"w": normal(0, 8, 9), "b": normal(1, 9), "v": normal(2, 9, 4), "c": normal(3, 4)},
        ("train.select_layers.layers=first",),
    ),
    "one dimension": Case(
        "(float[N,3,16] x) => (float[N,4] y) {\n"
        "a = Conv <pads = [1,1], kernel_shape = [3], strides = [2]> (x, w, b)\nr = Relu (a)\n"
        "p = GlobalAveragePool (r)\nf = Flatten (p)\ny = MatMul (f, v)\n}",
        {"w": normal(0, 7, 3, 3), "b": normal(1, 7), "v": normal(2, 7, 4)},
        (*ALL, *BIASES),
    ),
    "a clipped output": Case(
        "(float[N,8] x) => (float[N,4] y) {\n"
        "a = Gemm (x, w, b)\nr = Relu (a)\nh = Gemm (r, v)\ny = Relu (h)\n}",
        {"w": normal(0, 8, 9), "b": normal(1, 9), "v": normal(2, 9, 4)},
        (*ALL, *SQUARED),
    ),
    "rows": Case(
        "(float[N,5,6] x) => (float[N,5,4] y) {\na = MatMul (x, w)\nr = Relu (a)\n"
        "y = MatMul (r, v)\n}",
        {"w": normal(0, 6, 7), "v": normal(1, 7, 4)},
        (*ALL, *SQUARED),
    ),
}  # fmt: skip


def convert(case, folder, *sets):
    proto = build_proto(case.text, **case.weights)
    onnx.save(proto, folder / "model.onnx")
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim][1:]
    x = np.random.default_rng(9).normal(0, 1, (32, *shape)).astype(np.float32)
    return intaglio.convert(
        folder / "model.onnx", "forward-gradient", ["onnx-integer", "c"], {"x": x},
        folder / "bundle", sets=(*case.sets, "c.variants=avx2,vnni", *sets),
    )  # fmt: skip


def batches(training, count, steps, classes):
    rng = np.random.default_rng(1)
    [spec] = training.inputs
    for _ in range(steps):
        x = rng.integers(-128, 127, (count, *spec.shape[1:]), np.int8, endpoint=True)
        if training.specification.loss == "mean-squared-error":
            yield x, rng.integers(-3000, 3000, (count, *training.target.shape[1:]), np.int32)
        else:
            yield x, rng.integers(0, classes, count)


def assert_same_steps(bundle, classes, count=3, steps=4, runtimes=None):
    training = load_training(bundle)
    golden = open_stepper(bundle, "onnx-integer")
    names = runtimes or [runtime.name for runtime in stepper_runtimes(bundle, "c")]
    steppers = [open_stepper(bundle, "c", name) for name in names]
    signs = set()
    for step, (x, targets) in enumerate(batches(training, count, steps, classes)):
        seed = training.specification.step_seed(2**32 - 3, step)
        wanted = golden.step(x, targets, seed, step // 2)
        signs.update(wanted.signs)
        outputs = golden.predict(x)
        for name, stepper in zip(names, steppers, strict=True):
            assert stepper.runtime == f"c-{name}"
            assert stepper.step(x, targets, seed, step // 2) == wanted
            np.testing.assert_array_equal(stepper.predict(x), outputs, strict=True)
            digests = [digest(training.specification, one.weights()) for one in (golden, stepper)]
            assert digests[0] == digests[1]
    assert {1, -1} & signs
    return training, steppers


@pytest.mark.parametrize("name", CASES)
def test_small_models(name, tmp_path):
    case = CASES[name]
    bundle = convert(case, tmp_path)
    training, steppers = assert_same_steps(bundle, case.classes)
    artifacts = [bundle.artifact(target, "infer") for target in ("onnx-integer", "c")]
    golden, other = (bundle.opener(one).open(one, bundle.folder) for one in artifacts)
    [spec], [output] = training.inputs, artifacts[0].outputs
    x = np.random.default_rng(2).integers(-128, 127, (1, *spec.shape[1:]), np.int8)
    wanted = golden.run({"x": x}).outputs[output.name]
    given = x.transpose(0, 2, 3, 1) if artifacts[1].inputs[0].layout == "NHWC" else x
    [found] = other.run({"x": given}).outputs.values()
    found = found.transpose(0, 3, 1, 2) if artifacts[1].outputs[0].layout == "NHWC" else found
    np.testing.assert_array_equal(found, wanted)
    steppers[0].set_weights(training.weights)
    np.testing.assert_array_equal(steppers[0].predict(x), wanted)


@pytest.mark.parametrize("name", ["digits", "spoken_digits"])
@pytest.mark.parametrize("layers", ["head", "all"])
def test_sample_models(name, layers, tmp_path):
    folder = SAMPLES / name
    bundle = intaglio.convert(
        folder / f"{name}.onnx", "forward-gradient", ["onnx-integer", "c"],
        folder / "calibration.npz", tmp_path / "bundle",
        sets=(f"train.select_layers.layers={layers}", "c.variants=avx2,vnni"),
    )  # fmt: skip
    _, steppers = assert_same_steps(bundle, 10, count=2, steps=3)
    artifact = bundle.artifact("c", "train_step")
    assert artifact.path == f"c/{name}_train.c"
    assert bundle.artifact("c", "infer").path == f"c/{name}.c"
    report = json.loads((bundle.folder / f"c/{name}_train.json").read_text())
    for arena in report["training"]["arena"].values():
        assert arena["step_bytes"] <= 1.1 * arena["inference_bytes"]
    assert report["training"]["mode"] == (
        "sample by sample" if layers == "head" else "probe by probe"
    )
    measured = {m.name: m.value for m in bundle.opener(artifact).measure(artifact, bundle.folder)}
    assert 0 < measured["step_ms"] < 1000
    starts = [(p["offset"], p["nbytes"]) for p in report["training"]["parameters"]]
    assert all(offset % 16 == 0 for offset, _ in starts)
    assert sum(starts[-1]) <= report["training"]["weights_bytes"]
    assert steppers[0].library.weights_bytes == report["training"]["weights_bytes"]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    case = CASES["softmax behind the logits"]
    bundle = convert(case, tmp_path_factory.mktemp("bundle"))
    return bundle, open_stepper(bundle, "c", "portable")


def test_a_stepper_starts_at_the_weights_of_the_bundle(opened):
    bundle, stepper = opened
    training = load_training(bundle)
    fresh = open_stepper(bundle, "c", "portable")
    for name, array in training.weights.items():
        np.testing.assert_array_equal(fresh.weights()[name], array, strict=True)
    assert stepper.specification == training.specification


def test_weights_are_given_and_taken_in_the_order_of_onnx(opened):
    _, stepper = opened
    rng = np.random.default_rng(0)
    given = {
        p.name: rng.integers(-p.limit, p.limit, p.shape).astype(p.dtype)
        for p in stepper.specification.parameters
    }
    stepper.set_weights(given)
    for name, array in stepper.weights().items():
        np.testing.assert_array_equal(array, given[name], strict=True)


def test_a_stepper_refuses_what_does_not_fit(opened):
    bundle, stepper = opened
    x, labels = np.zeros((2, 2, 6, 6), np.int8), np.array([0, 3])
    before = stepper.weights()
    for batch, targets in (
        (x[:, :1], labels), (x.astype(np.int16), labels), (x[:0], labels[:0]), (x[0], labels),
        (x, labels[:1]), (x, labels + 1), (x, labels - 1), (x, labels[:, None]),
    ):  # fmt: skip
        with pytest.raises(InputError):
            stepper.step(batch, targets, 0)
    for signs in ((), (1, 1), (2,)):
        with pytest.raises(InputError):
            stepper.replay(0, signs)
    with pytest.raises(InputError):
        stepper.step(x, labels, 0, -1)
    with pytest.raises(InputError):
        stepper.predict(x[:, :, 1:])
    for name, array in stepper.weights().items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(RecipeError):
        open_stepper(bundle, "c", "cortex")
    artifact = bundle.artifact("c", "train_step")
    with pytest.raises(RecipeError):
        bundle.opener(artifact).open(artifact, bundle.folder)


def test_a_damaged_report_is_an_input_error(opened, tmp_path):
    bundle, _ = opened
    path = bundle.folder / "c" / "model_train.json"
    whole = path.read_text()
    data = json.loads(whole)
    del data["training"]
    path.write_text(json.dumps(data))
    try:
        with pytest.raises(InputError):
            open_stepper(bundle, "c", "portable")
    finally:
        path.write_text(whole)
