from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import build, operators, reasons, run_pass, weight

RNG = np.random.default_rng(6)


def norm(channels):
    return {
        "s": RNG.uniform(0.5, 2, channels),
        "b": RNG.standard_normal(channels),
        "m": RNG.standard_normal(channels),
        "v": RNG.uniform(0.1, 2, channels),
    }


BEHIND = {
    "conv": ("Conv(x, w)", (6, 4, 3, 3), 6),
    "conv_with_bias": ("Conv(x, w, c)", (6, 4, 3, 3), 6),
    "depthwise": ("Conv<group = 4>(x, w)", (4, 1, 3, 3), 4),
    "grouped": ("Conv<group = 2>(x, w)", (6, 2, 3, 3), 6),
    "depthwise_multiplier": ("Conv<group = 4>(x, w, c)", (8, 1, 3, 3), 8),
    "transposed": ("ConvTranspose<strides = [2,2]>(x, w)", (4, 5, 3, 3), 5),
    "transposed_with_bias": ("ConvTranspose(x, w, c)", (4, 5, 2, 2), 5),
    "transposed_grouped": ("ConvTranspose<group = 2>(x, w, c)", (4, 3, 3, 3), 6),
}


@pytest.mark.parametrize("case", BEHIND)
def test_behind_a_convolution_it_folds_into_weight_and_bias(case):
    call, shape, channels = BEHIND[case]
    bias = {"c": RNG.standard_normal(channels)} if "c)" in call else {}
    model = build(
        f"(float[2,4,7,6] x) => (float y) {{ a = {call} y = BatchNormalization(a, s, b, m, v) }}",
        w=RNG.standard_normal(shape),
        **bias,
        **norm(channels),
    )
    run_pass(model, "fold_batch_norm")
    assert operators(model) == [call.split("(")[0].split("<")[0]]
    assert len(model.graph.initializers) == 2


def test_behind_a_gemm():
    model = build(
        "(float[2,4] x) => (float y)"
        " { a = Gemm<transB = 1>(x, w) y = BatchNormalization<epsilon = 0.01>(a, s, b, m, v) }",
        w=RNG.standard_normal((3, 4)),
        **norm(3),
    )
    run_pass(model, "fold_batch_norm")
    assert operators(model) == ["Gemm"]


def test_a_bias_written_as_an_addition_between_is_fused_first():
    model = build(
        "(float[2,4,7,6] x) => (float y)"
        " { a = Conv(x, w) d = Add(c, a) y = BatchNormalization(d, s, b, m, v) }",
        w=RNG.standard_normal((3, 4, 3, 3)),
        c=RNG.standard_normal((3, 1, 1)),
        **norm(3),
    )
    run_pass(model, "fold_batch_norm")
    assert operators(model) == ["Conv"]


def test_the_numbers_are_narrowed_once():
    w = RNG.standard_normal((3, 1, 1, 1)).astype(np.float32)
    parameters = {k: np.asarray(v, np.float32) for k, v in norm(3).items()}
    model = build(
        "(float[1,1,2,2] x) => (float y) { a = Conv(x, w) y = BatchNormalization(a, s, b, m, v) }",
        w=w,
        **parameters,
    )
    run_pass(model, "fold_batch_norm")
    s, b, m, v = (parameters[k].astype(np.float64) for k in "sbmv")
    factor = s / np.sqrt(v + np.float64(np.float32(1e-5)))
    node = model.graph.node(0)
    np.testing.assert_array_equal(
        weight(model, node, 1), (w * factor[:, None, None, None]).astype(np.float32)
    )
    np.testing.assert_array_equal(weight(model, node, 2), (b - m * factor).astype(np.float32))


@pytest.mark.parametrize(
    ("call", "shape"), [("Conv(a, w)", (6, 4, 3, 3)), ("Conv<group = 2>(a, w)", (6, 2, 3, 3))]
)
def test_in_front_of_a_convolution_without_padding(call, shape):
    model = build(
        "(float[2,4,7,6] x) => (float y)"
        f" {{ r = Relu(x) a = BatchNormalization(r, s, b, m, v) y = {call} }}",
        w=RNG.standard_normal(shape),
        **norm(4),
    )
    run_pass(model, "fold_batch_norm")
    assert operators(model) == ["Relu", "Conv"]


@pytest.mark.parametrize("pads", ["pads = [1,1,1,1]", 'auto_pad = "SAME_UPPER"'])
def test_in_front_of_padding_it_stands_alone(pads):
    """The padded zeros are not normalized, so folding would be wrong."""
    model = build(
        "(float[2,4,7,6] x) => (float y)"
        f" {{ r = Relu(x) a = BatchNormalization(r, s, b, m, v) y = Conv<{pads}>(a, w) }}",
        w=RNG.standard_normal((6, 4, 3, 3)),
        **norm(4),
    )
    run_pass(model, "fold_batch_norm")
    assert operators(model) == ["Relu", "Conv", "Conv"]
    assert model.graph.node(1).attributes["group"].as_int() == 4


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ("2,4,5,6", ["Relu", "Conv"]),
        ("2,4,5", ["Relu", "Mul", "Add"]),
        ("2,4", ["Relu", "Mul", "Add"]),
    ],
)
def test_alone(shape, wanted):
    model = build(
        f"(float[{shape}] x) => (float y) {{ r = Relu(x) y = BatchNormalization(r, s, b, m, v) }}",
        **norm(4),
    )
    run_pass(model, "fold_batch_norm")
    assert operators(model) == wanted


def test_a_convolution_that_others_read_keeps_its_output():
    model = build(
        "(float[2,4,7,6] x) => (float y, float z)"
        " { a = Conv(x, w) y = BatchNormalization(a, s, b, m, v) z = Relu(a) }",
        w=RNG.standard_normal((3, 4, 3, 3)),
        **norm(3),
    )
    outcome = run_pass(model, "fold_batch_norm")
    assert operators(model) == ["Conv", "Conv", "Relu"]
    assert "used elsewhere" in outcome.changes[0].why


def test_a_convolution_that_is_an_output_keeps_its_output():
    model = build(
        "(float[2,4,7,6] x) => (float a, float y)"
        " { a = Conv(x, w) y = BatchNormalization(a, s, b, m, v) }",
        w=RNG.standard_normal((3, 4, 3, 3)),
        **norm(3),
    )
    run_pass(model, "fold_batch_norm")
    assert [value.name for value in model.graph.outputs] == ["a", "y"]
    assert operators(model) == ["Conv", "Conv"]


def test_weights_shared_by_two_convolutions_are_told_apart():
    model = build(
        "(float[2,4,7,6] x) => (float y, float z) { a = Conv(x, w, c)"
        " y = BatchNormalization(a, s, b, m, v) z = Conv(x, w, c) }",
        w=RNG.standard_normal((3, 4, 3, 3)),
        c=RNG.standard_normal(3),
        **norm(3),
    )
    run_pass(model, "fold_batch_norm")
    assert operators(model) == ["Conv", "Conv"]
    first, second = model.graph
    assert first.inputs[1] is not second.inputs[1]
    assert first.inputs[2] is not second.inputs[2]


def test_training_mode_is_left():
    model = build(
        "(float[2,4,7,6] x) => (float y) { a = Conv(x, w)"
        " y, rm, rv = BatchNormalization<training_mode = 1>(a, s, b, m, v) }",
        w=RNG.standard_normal((3, 4, 3, 3)),
        **norm(3),
    )
    outcome = run_pass(model, "fold_batch_norm")
    assert operators(model) == ["Conv", "BatchNormalization"]
    assert "training mode" in reasons(outcome)


def test_computed_parameters_are_left():
    model = build(
        "(float[2,3,7,6] x, float[3] s) => (float y) { y = BatchNormalization(x, s, b, m, v) }",
        **{k: v for k, v in norm(3).items() if k != "s"},
    )
    outcome = run_pass(model, "fold_batch_norm")
    assert operators(model) == ["BatchNormalization"]
    assert "not constants" in reasons(outcome)


def test_computed_weights_let_it_stand_alone():
    model = build(
        "(float[2,4,7,6] x, float[3,4,3,3] w) => (float y)"
        " { a = Conv(x, w) y = BatchNormalization(a, s, b, m, v) }",
        **norm(3),
    )
    outcome = run_pass(model, "fold_batch_norm")
    assert operators(model) == ["Conv", "Conv"]
    assert "not a constant" in outcome.changes[0].why
