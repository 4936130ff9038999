from __future__ import annotations

import numpy as np
import pytest

from intaglio.registry import load_pass
from tests.helpers import (
    assert_same_outputs,
    build,
    operators,
    random_inputs,
    reasons,
    run_float,
    run_pass,
)

RNG = np.random.default_rng(10)
W = RNG.standard_normal((4, 2, 3))
V = RNG.standard_normal((4, 4, 3))

WINDOWS = {
    "conv": ("Conv<strides = [2], pads = [1,0], dilations = [2]>(x, w)", W),
    "conv_same": ('Conv<auto_pad = "SAME_UPPER">(x, w)', W),
    "grouped": ("Conv<group = 2>(x, w)", RNG.standard_normal((4, 1, 3))),
    "transposed": (
        "ConvTranspose<strides = [2], output_padding = [1], pads = [1,1]>(x, w)",
        RNG.standard_normal((2, 3, 3)),
    ),
    "max_pool": ("MaxPool<kernel_shape = [3], strides = [2], pads = [1,1]>(x)", None),
    "average_pool": ("AveragePool<kernel_shape = [3], strides = [2]>(x)", None),
    "average_pool_counting": (
        "AveragePool<kernel_shape = [3], pads = [1,1], count_include_pad = 1>(x)",
        None,
    ),
    "global_average": ("GlobalAveragePool(x)", None),
}


@pytest.mark.parametrize("case", WINDOWS)
def test_windows_get_a_second_dimension(case):
    call, w = WINDOWS[case]
    weights = {} if w is None else {"w": w}
    model = build(f"(float[N,2,11] x) => (float y) {{ y = {call} }}", **weights)
    run_pass(model, "normalize_operators")
    kind = call.split("(")[0].split("<")[0]
    assert [op for op in operators(model) if op != "Pad"] == ["Unsqueeze", kind, "Squeeze"]
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_what_stands_between_follows():
    model = build(
        "(float[N,2,32] x) => (float y) { a = Conv(x, w) b = BatchNormalization(a, s, s, s, s)"
        " c = Relu(b) d = Conv<pads = [1,1]>(c, v) e = Add(d, c) f = PRelu(e, p)"
        " g = MaxPool<kernel_shape = [2], strides = [2]>(f) h = Flatten(g)"
        " y = Gemm<transB = 1>(h, u) }",
        w=W,
        v=V,
        s=RNG.random(4) + 0.5,
        p=RNG.random((4, 1)),
        u=RNG.standard_normal((5, 60)),
    )
    run_pass(model, "normalize_operators")
    assert "Squeeze" not in operators(model)
    assert operators(model).count("Unsqueeze") == 1
    run_pass(model, "fold_batch_norm")
    assert "BatchNormalization" not in operators(model)


def test_constants_of_a_channel_keep_their_axis():
    model = build(
        "(float[1,2,9] x) => (float y)"
        " { a = Conv(x, w) b = Add(a, c) d = Mul(b, e) f = Sub(g, d) y = Conv(f, v) }",
        w=W,
        v=V,
        c=RNG.standard_normal((4, 1)),
        e=RNG.standard_normal((1, 4, 1)),
        g=RNG.standard_normal(7),
    )
    run_pass(model, "normalize_operators")
    assert operators(model) == ["Unsqueeze", "Conv", "Add", "Mul", "Sub", "Conv", "Squeeze"]


def test_a_value_in_between_can_be_an_output():
    model = build(
        "(float[1,2,9] x) => (float r, float y) { a = Conv(x, w) r = Relu(a) y = Conv(r, v) }",
        w=W,
        v=V,
    )
    run_pass(model, "normalize_operators")
    assert [value.name for value in model.graph.outputs] == ["r", "y"]
    assert operators(model).count("Squeeze") == 2


def test_others_read_one_dimension_still():
    model = build(
        "(float[1,2,9] x) => (float y) { a = Conv(x, w) t = Transpose<perm = [0,2,1]>(a)"
        " y = Softmax(t) }",
        w=W,
    )
    run_pass(model, "normalize_operators")
    assert operators(model) == ["Unsqueeze", "Conv", "Squeeze", "Transpose", "Softmax"]


@pytest.mark.parametrize(("shape", "squeezed"), [([0, -1], False), ([0, 4, 0], True)])
def test_reshapes_that_copy_by_place_read_the_old_shape(shape, squeezed):
    model = build(
        "(float[3,2,9] x) => (float y) { a = Conv(x, w) y = Reshape(a, s) }", w=W, s=shape
    )
    run_pass(model, "normalize_operators")
    assert ("Squeeze" in operators(model)) == squeezed


def test_computed_weights_stay():
    model = build("(float[1,2,9] x, float[4,2,3] w) => (float y) { y = Conv(x, w) }")
    outcome = run_pass(model, "normalize_operators")
    assert operators(model) == ["Conv"]
    assert "not a constant" in reasons(outcome)


def test_weights_shared_by_two_convolutions():
    model = build(
        "(float[1,2,9] x, float[1,2,7] z) => (float y, float v) { y = Conv(x, w) v = Conv(z, w) }",
        w=W,
    )
    inputs = random_inputs(model)
    want = run_float(model, inputs)
    load_pass("canonicalize.normalize_operators")()(model)
    assert_same_outputs(run_float(model, inputs), want)
