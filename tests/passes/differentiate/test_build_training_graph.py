"""The training graph as a whole: interface, refusals, what is built and what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from pydantic import ValidationError

from intaglio.errors import InputError, RecipeError, UnsupportedError
from intaglio.passes.base import EXACT
from intaglio.passes.differentiate import marking
from intaglio.passes.differentiate.build_training_graph import (
    Differentiate,
    build_training_graph,
)
from intaglio.passes.differentiate.config import TrainingOptions
from intaglio.passes.differentiate.interface import feedback, initial_state
from intaglio.passes.differentiate.stored import stored_activations, stored_bytes
from intaglio.targets.onnx.read import read_onnx
from tests.helpers import build, open_session, operators, run_float

DIGITS = Path(__file__).resolve().parents[3] / "sample_models" / "digits"
MSE = {"loss": "mean-squared-error"}


def digits() -> ir.Model:
    return read_onnx(DIGITS / "digits.onnx", {})


def two_layers(middle: str = "a = Relu(h)", **more: np.ndarray) -> ir.Model:
    rng = np.random.default_rng(0)
    return build(
        f"(float[N, 4] data) => (float[N, 3] y) {{ h = Gemm(data, w1, b1) {middle}"
        " y = Gemm(a, w2, b2) }",
        w1=rng.standard_normal((4, 5)),
        b1=rng.standard_normal(5),
        w2=rng.standard_normal((5, 3)),
        b2=rng.standard_normal(3),
        **more,
    )


def serialized(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString(deterministic=True)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_digits_learn_again_after_their_head_is_lost(optimizer):
    model = digits()
    rng = np.random.default_rng(1)
    for name in ("fc2.weight", "fc2.bias"):
        value = model.graph.initializers[name]
        array = (rng.standard_normal(value.const_value.shape) * 0.1).astype(np.float32)
        value.const_value = ir.tensor(array, name=name)
    options = TrainingOptions(optimizer=optimizer)
    state = initial_state(model, options)
    training = build_training_graph(model, options)
    session, fed = open_session(training), feedback(training)
    names = [value.name for value in training.graph.outputs]
    file = np.load(DIGITS / "test.npz")
    images, labels = file["image"].astype(np.float32), file["labels"].astype(np.int64)
    rate = np.array(0.02 if optimizer == "sgd" else 0.002, np.float32)
    losses = []
    for _ in range(60):
        rows = rng.integers(0, len(images), 32)
        feeds = {"image": images[rows], "labels": labels[rows], "learning_rate": rate, **state}
        got = dict(zip(names, session.run(names, feeds), strict=True))
        losses.append(float(got["loss"]))
        state = {fed[name]: got[name] for name in fed}
    assert losses[0] > 2.0
    assert np.mean(losses[-10:]) < 0.25


def test_names_of_inputs_and_outputs():
    training = build_training_graph(two_layers(), TrainingOptions(optimizer="adam", **MSE))
    parameters = ["w1", "b1", "w2", "b2"]
    moments = [f"{p}.{m}" for p in parameters for m in ("first_moment", "second_moment")]
    assert [value.name for value in training.graph.inputs] == [
        "data", "target", *parameters, *moments, "learning_rate", "step",
    ]  # fmt: skip
    outputs = [value.name for value in training.graph.outputs]
    assert outputs[:3] == ["loss", "updated.step", "updated.w1"]
    assert set(outputs) == {"loss", *(f"updated.{n}" for n in [*parameters, *moments, "step"])}
    for value in training.graph.outputs:
        base = value.name.removeprefix("updated.")
        source = next((v for v in training.graph.inputs if v.name == base), None)
        if source is not None:
            assert value.shape == source.shape
            assert value.dtype == source.dtype
    assert not set(training.graph.initializers) & set(parameters)
    onnx.checker.check_model(ir.to_proto(training), full_check=True)


def test_without_momentum_there_is_no_velocity():
    training = build_training_graph(two_layers(), TrainingOptions(momentum=0.0, **MSE))
    names = [value.name for value in (*training.graph.inputs, *training.graph.outputs)]
    assert not [name for name in names if "velocity" in name]


def test_the_model_stays_as_it_is_and_the_pass_works_in_place():
    model = digits()
    before = serialized(model)
    training = build_training_graph(model)
    assert serialized(model) == before
    result = Differentiate()(model)
    assert result.modified
    assert result.model is model
    assert serialized(model) == serialized(training)
    assert result.facts["parameters"] == 8
    assert result.facts["trained_elements"] == sum(
        array.size for name, array in initial_state(digits(), TrainingOptions()).items()
        if "velocity" not in name
    )  # fmt: skip
    assert {change.kind for change in result.changes} == {"loss", "differentiate", "train"}


def test_a_second_run_changes_nothing():
    model = digits()
    assert Differentiate()(model).modified
    before = serialized(model)
    second = Differentiate()(model)
    assert not second.modified
    assert serialized(model) == before
    with pytest.raises(RecipeError, match="training graph already"):
        build_training_graph(model)


def test_declared_name_and_semantics():
    assert Differentiate.name == "train.differentiate"
    assert Differentiate.semantics is EXACT


def test_only_standard_inference_operators():
    training = build_training_graph(digits(), TrainingOptions(optimizer="adam"))
    assert {node.domain for node in training.graph} == {""}
    assert list(training.opset_imports) == [""]
    assert not training.functions


def test_head_only_training_builds_nothing_below_the_head():
    options = TrainingOptions(trained=("fc2.*",))
    training = build_training_graph(digits(), options)
    behind = [n.op_type for n in training.graph if marking.phase(n) == marking.BACKWARD]
    assert "Conv" not in behind
    assert "ConvTranspose" not in behind
    assert behind.count("Gemm") == 1
    assert "conv1.weight" in training.graph.initializers
    kept = [value.name for value in stored_activations(training)]
    assert kept == ["relu3.out", "loss.LogSoftmax"]


def test_head_only_gradients_are_those_of_full_training():
    file = np.load(DIGITS / "test.npz")
    feeds = {"image": file["image"][:8], "labels": file["labels"][:8].astype(np.int64)}
    results = []
    for trained in ((), ("fc2.weight", "conv1.bias")):
        options = TrainingOptions(optimizer="none", trained=trained)
        training = build_training_graph(digits(), options)
        results.append(run_float(training, {**feeds, **initial_state(digits(), options)}))
    assert set(results[1]) == {"loss", "gradient.fc2.weight", "gradient.conv1.bias"}
    for name, array in results[1].items():
        np.testing.assert_array_equal(array, results[0][name])


def test_stored_activations():
    training = build_training_graph(digits())
    kept = stored_activations(training)
    assert [value.name for value in kept] == [
        "image", "relu1.out", "relu2.out", "pool.out.indices", "flatten.out", "relu3.out",
        "loss.LogSoftmax",
    ]  # fmt: skip
    floats = 64 + 8 * 64 + 16 * 64 + 16 * 16 + 32 + 10
    assert stored_bytes(kept) == 4 * floats + 8 * 16 * 16
    assert stored_bytes(kept, {"N": 32}) == 32 * stored_bytes(kept)
    with pytest.raises(InputError, match="no training graph"):
        stored_activations(digits())
    with pytest.raises(InputError, match="no training graph"):
        feedback(digits())


def test_a_softmax_before_cross_entropy_is_taken_off():
    text = "(float[N, 4] data) => (float[N, 3] y) {{ z = Gemm(data, w) {} }}"
    weight = np.random.default_rng(3).standard_normal((4, 3)).astype(np.float32)
    feeds = {
        "data": np.random.default_rng(4).standard_normal((5, 4)).astype(np.float32),
        "labels": np.int64([0, 1, 2, 0, 1]),
        "w": weight,
    }
    options = TrainingOptions(optimizer="none")
    results = []
    for end in ("y = Softmax(z)", "y = LogSoftmax<axis = 1>(z)", "y = Identity(z)"):
        training = build_training_graph(build(text.format(end), w=weight), options)
        assert "Softmax" not in operators(training)
        results.append(run_float(training, feeds))
    for other in results[1:]:
        for name, array in other.items():
            np.testing.assert_array_equal(array, results[0][name])


def test_a_label_that_is_no_class_is_an_error_of_the_runtime():
    training = build_training_graph(digits(), TrainingOptions(optimizer="none"))
    feeds = {"image": np.zeros((1, 1, 8, 8), np.float32), "labels": np.int64([10])}
    with pytest.raises(Exception, match=r"[Oo]ut of range"):
        run_float(training, {**feeds, **initial_state(digits(), TrainingOptions(optimizer="none"))})


def test_a_parameter_read_twice_gets_both_gradients():
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((4, 4)).astype(np.float32)
    model = build(
        "(float[N, 4] data) => (float[N, 4] y) { a = MatMul(data, w) y = MatMul(a, w) }", w=weight
    )
    options = TrainingOptions(optimizer="none", **MSE)
    data, target = rng.standard_normal((2, 3, 4)).astype(np.float32)
    got = run_float(
        build_training_graph(model, options), {"data": data, "target": target, "w": weight}
    )
    upstream = 2 * (data @ weight @ weight - target) / target.size
    want = (data @ weight).T @ upstream + data.T @ (upstream @ weight.T)
    np.testing.assert_allclose(got["gradient.w"], want, rtol=1e-4, atol=1e-5)


def test_two_parameters_with_one_gradient():
    """Both outputs exist although the graph computes one value."""
    model = build(
        "(float[2, 3] data) => (float[2, 3] y) { a = Add(data, p) y = Add(a, q) }",
        p=np.ones((2, 3)), q=np.ones((2, 3)),
    )  # fmt: skip
    options = TrainingOptions(optimizer="none", trained=("p", "q"), **MSE)
    feeds = {"data": np.zeros((2, 3), np.float32), "target": np.ones((2, 3), np.float32)}
    got = run_float(
        build_training_graph(model, options), {**feeds, **initial_state(model, options)}
    )
    np.testing.assert_allclose(got["gradient.p"], 1 / 3, rtol=1e-6)
    np.testing.assert_array_equal(got["gradient.p"], got["gradient.q"])


def test_values_of_the_model_give_way_to_the_names_of_the_interface():
    model = build(
        "(float[N, 4] data) => (float[N, 4] loss) { labels = MatMul(data, w) loss = Relu(labels) }",
        w=np.eye(4),
    )
    training = build_training_graph(model, TrainingOptions(optimizer="none"))
    feeds = {"data": np.ones((1, 4), np.float32), "labels": np.int64([1])}
    got = run_float(training, {**feeds, "w": np.eye(4, dtype=np.float32)})
    assert got["loss"] == pytest.approx(np.log(4))


@pytest.mark.parametrize("name", ["labels", "learning_rate"])
def test_an_input_with_a_name_of_the_interface_is_refused(name):
    model = build(
        f"(float[N, 4] {name}) => (float[N, 4] y) {{ y = MatMul({name}, w) }}", w=np.eye(4)
    )
    with pytest.raises(RecipeError, match=f"called '{name}'"):
        build_training_graph(model)


def test_an_unknown_pattern_is_refused():
    with pytest.raises(RecipeError, match=r"'fc9\.\*' of trained matches no float initializer"):
        build_training_graph(digits(), TrainingOptions(trained=("fc2.*", "fc9.*")))


def test_a_constant_that_has_no_gradient_is_no_parameter():
    model = two_layers("a = Clip(h, low)", low=np.float32(0.0))
    options = TrainingOptions(trained=("low",), **MSE)
    with pytest.raises(RecipeError, match="matches no float initializer"):
        build_training_graph(model, options)


def test_a_model_without_weights_is_refused():
    model = build("(float[N, 4] data) => (float[N, 4] y) { y = Relu(data) }")
    with pytest.raises(RecipeError, match="depends on no float weight"):
        build_training_graph(model)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "hinge"},
        {"optimizer": "lion"},
        {"momentum": 1.0},
        {"epsilon": 0.0},
        {"betas": (0.9, 1.0)},
        {"betas": (-0.1, 0.9)},
        {"lossy": 1},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValidationError):
        TrainingOptions(**options)


def test_operators_without_a_gradient_are_listed_and_the_model_stays():
    model = two_layers("r = Round(h) m = Hardmax(r) a = Add(m, h)")
    before = serialized(model)
    with pytest.raises(UnsupportedError) as caught:
        Differentiate(TrainingOptions(**MSE))(model)
    refusals = {refusal.operator: refusal for refusal in caught.value.refusals}
    assert set(refusals) == {"Round", "Hardmax"}
    assert "zero almost everywhere" in refusals["Round"].reason
    assert all(refusal.node and refusal.remedy for refusal in refusals.values())
    assert serialized(model) == before
    assert not any(value.uses() for value in model.graph.outputs)
    training = build_training_graph(model, TrainingOptions(trained=("w2", "b2"), **MSE))
    assert "updated.w2" in [value.name for value in training.graph.outputs]


def test_a_refusal_behind_a_pool_leaves_the_pool_as_it_was():
    model = build(
        "(float[N, 1, 4, 4] data) => (float[N, 2, 2, 2] y) { c = Conv(data, w) r = Round(c)"
        " p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r) y = Relu(p) }",
        w=np.ones((2, 1, 1, 1)),
    )
    before = serialized(model)
    with pytest.raises(UnsupportedError, match="Round"):
        Differentiate(TrainingOptions(**MSE))(model)
    assert serialized(model) == before


@pytest.mark.parametrize(
    ("text", "weights", "reason"),
    [
        (
            "x = Conv<auto_pad = \"SAME_UPPER\", strides = [2, 2]>(d, w) y = Relu(x)",
            {},
            "SAME padding",
        ),
        (
            "y = ConvTranspose<dilations = [3, 3], output_padding = [1, 1]>(d, w)",
            {},
            "not less than its stride",
        ),
        ("x = Conv(d, w) y = Dropout(x, half, yes)", {"half": 0.5, "yes": np.bool_(1)}, "random"),
        ("x = Conv(d, w) e = Relu(x) y = Pow(x, e)", {}, "depends on a parameter"),
        (
            'x = Conv(d, w) y = Resize<mode = "linear">(x, , scales)',
            {"scales": np.float32([1, 1, 2, 2])},
            "only at run time",
        ),
        (
            "x = Conv(d, w) y = AveragePool<kernel_shape = [2, 2], strides = [2, 2],"
            " ceil_mode = 1>(x)",
            {},
            "ceil_mode",
        ),
        (
            "x = Conv(d, w) y, m, v = BatchNormalization<training_mode = 1>(x, s, s, s, s)",
            {"s": np.ones(1)},
            "training_mode",
        ),
    ],
)  # fmt: skip
def test_refused_forms_say_why(text, weights, reason):
    try:
        model = build(
            f"(float[N, 1, H, W] d) => (float[N, a, b, c] y) {{ {text} }}",
            w=np.ones((1, 1, 1, 1)),
            **weights,
        )
    except UnsupportedError:
        pytest.skip("the reader refuses it already")
    with pytest.raises(UnsupportedError, match=reason) as caught:
        build_training_graph(model, TrainingOptions(trained=("w",), **MSE))
    assert len(caught.value.refusals) == 1


def test_cross_entropy_needs_classes():
    model = build(
        "(float[N, 1, 4, 4] data) => (float[N, 2, 4, 4] y) { y = Conv(data, w) }",
        w=np.ones((2, 1, 1, 1)),
    )
    with pytest.raises(UnsupportedError, match=r"\[N, classes\]"):
        build_training_graph(model)


def test_of_several_outputs_one_must_be_named():
    model = build(
        "(float[N, 4] data) => (float[N, 4] a, float[N, 4] b)"
        " { a = MatMul(data, v) b = MatMul(data, w) }",
        v=np.eye(4),
        w=np.eye(4),
    )
    with pytest.raises(RecipeError, match="2 outputs"):
        build_training_graph(model)
    with pytest.raises(RecipeError, match="no output 'c'"):
        build_training_graph(model, TrainingOptions(output="c"))
    training = build_training_graph(model, TrainingOptions(output="b", optimizer="none"))
    assert [value.name for value in training.graph.outputs] == ["loss", "gradient.w"]
    assert "v" not in training.graph.initializers


def test_an_old_opset_is_refused():
    model = digits()
    model.graph.opset_imports[""] = 17
    with pytest.raises(UnsupportedError, match="opset 17"):
        build_training_graph(model)
