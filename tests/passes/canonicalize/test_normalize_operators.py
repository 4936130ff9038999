from __future__ import annotations

import math

import numpy as np
import pytest

from tests.helpers import build, operators, random_inputs, reasons, run_float, run_pass, weight

RNG = np.random.default_rng(4)
X = "(float[2,4] x) => (float y) "


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0)])
@pytest.mark.parametrize("bias", [None, (3,), (1, 3), (1,), ()])
def test_gemm_takes_one_form(trans_a, trans_b, alpha, beta, bias):
    weights = {"w": RNG.standard_normal((3, 4) if trans_b else (4, 3))}
    if bias is not None:
        weights["b"] = RNG.standard_normal(bias)
    x = "float[4,2] x" if trans_a else "float[2,4] x"
    model = build(
        f"({x}) => (float y) {{ y = Gemm<alpha = {alpha:f}, beta = {beta:f}, transA = {trans_a},"
        f" transB = {trans_b}>(x, w{', b' if bias is not None else ''}) }}",
        **weights,
    )
    run_pass(model, "normalize_operators")
    gemm = next(node for node in model.graph if node.op_type == "Gemm")
    assert gemm.attributes["transB"].as_int() == 1
    assert not gemm.attributes.get("transA") or gemm.attributes["transA"].as_int() == 0
    assert all(gemm.attributes[k].value == 1.0 for k in ("alpha", "beta") if k in gemm.attributes)
    assert weight(model, gemm, 1).shape == (3, 4)
    if len(gemm.inputs) > 2:
        assert weight(model, gemm, 2).shape == (3,)
    assert operators(model) == (["Transpose"] if trans_a else []) + ["Gemm"]


def test_a_bias_that_is_no_vector_is_added_after():
    model = build(
        f"{X}{{ y = Gemm<beta = 0.5>(x, w, b) }}",
        w=RNG.standard_normal((4, 3)),
        b=RNG.standard_normal((2, 3)),
    )
    run_pass(model, "normalize_operators")
    assert operators(model) == ["Gemm", "Mul", "Add"]


def test_a_computed_bias_is_added_after():
    model = build(
        "(float[2,4] x, float[1,3] b) => (float y) { y = Gemm(x, w, b) }",
        w=RNG.standard_normal((4, 3)),
    )
    run_pass(model, "normalize_operators")
    assert operators(model) == ["Gemm", "Add"]
    assert model.graph.outputs[0].name == "y"


@pytest.mark.parametrize("attributes", ["transA = 0", "transB = 1, alpha = 0.5, beta = 3.0"])
def test_gemm_of_two_computed_matrices_is_spelled_out(attributes):
    z = "float[3,4] z" if "transB" in attributes else "float[4,3] z"
    model = build(
        f"(float[2,4] x, {z}, float[3] b) => (float y) {{ y = Gemm<{attributes}>(x, z, b) }}"
    )
    run_pass(model, "normalize_operators")
    assert "Gemm" not in operators(model)
    assert operators(model).count("MatMul") == 1


def test_gemm_of_dequantized_weights_keeps_them():
    model = build(
        f"{X}{{ d = DequantizeLinear(q, s, z) y = Gemm<transB = 1>(x, d) }}",
        q=RNG.integers(-9, 9, (3, 4)).astype(np.int8),
        s=0.5,
        z=np.int8(0),
    )
    run_pass(model, "normalize_operators")
    assert operators(model) == ["DequantizeLinear", "Gemm"]


def test_matmul_by_a_constant_matrix_is_a_gemm():
    w = RNG.standard_normal((4, 3)).astype(np.float32)
    model = build(f"{X}{{ y = MatMul(x, w) }}", w=w)
    run_pass(model, "normalize_operators")
    assert operators(model) == ["Gemm"]
    np.testing.assert_array_equal(weight(model, model.graph.node(0), 1), w.T)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("(float[2,5,4] x) => (float y) { y = MatMul(x, w) }", (4, 3)),
        ("(float[2,4] x) => (float y) { y = MatMul(x, w) }", (7, 4, 3)),
        ("(float[3,2] x) => (float y) { y = MatMul(w, x) }", (4, 3)),
    ],
)
def test_other_products_stay(text, shape):
    model = build(text, w=RNG.standard_normal(shape))
    run_pass(model, "normalize_operators")
    assert operators(model) == ["MatMul"]


def test_two_products_may_share_their_matrix():
    model = build(
        "(float[2,4] x, float[3,4] z) => (float y, float v) { y = MatMul(x, w) v = MatMul(z, w) }",
        w=RNG.standard_normal((4, 3)),
    )
    run_pass(model, "normalize_operators")
    assert operators(model) == ["Gemm", "Gemm"]


def test_sums_are_additions():
    model = build(
        "(float[2,4] x, float[1,4] z, float[2,1] v) => (float y) { y = Sum(x, z, v) }",
    )
    run_pass(model, "normalize_operators")
    assert operators(model) == ["Add", "Add"]


def test_a_partial_sum_has_its_own_shape():
    model = build(
        "(float[1,3,1] x, float[3,1] z, float[1,1,4] v) => (float y) { y = Sum(x, z, v) }"
    )
    run_pass(model, "normalize_operators")
    assert [list(node.outputs[0].shape) for node in model.graph] == [[1, 3, 1], [1, 3, 4]]


@pytest.mark.parametrize("count", [2, 3])
def test_split_has_its_sizes(count):
    names = ", ".join(f"y{i}" for i in range(count))
    outs = ", ".join(f"float y{i}" for i in range(count))
    model = build(
        f"(float[2,7] x) => ({outs}) {{ {names} = Split<axis = -1, num_outputs = {count}>(x) }}"
    )
    run_pass(model, "normalize_operators")
    assert weight(model, model.graph.node(0), 1).sum() == 7
    assert "num_outputs" not in model.graph.node(0).attributes


def test_axes_are_positive():
    model = build(
        "(float[2,1,4] x) => (float y) { a = Softmax(x) b = Concat<axis = -2>(a, a)"
        " c = Unsqueeze(b, u) d = Squeeze(c, u) y = ReduceMean(d, r) }",
        u=[-1],
        r=[-1, -2],
    )
    run_pass(model, "normalize_operators")
    nodes = list(model.graph)
    assert [nodes[i].attributes["axis"].as_int() for i in (0, 1)] == [2, 1] or (
        nodes[1].attributes["axis"].as_int() == 1
    )
    assert weight(model, nodes[2], 1).tolist() == [3]
    assert weight(model, nodes[4], 1).tolist() == [1, 2]


def test_infinite_bounds_are_left_out():
    model = build(
        f"{X}{{ y = Clip(x, low, high) }}", low=np.float32(0), high=np.finfo(np.float32).max
    )
    run_pass(model, "normalize_operators")
    assert model.graph.node(0).inputs[1] is not None
    assert len([v for v in model.graph.node(0).inputs if v is not None]) == 2


SIX = {"three": 3.0, "zero": 0.0, "six": 6.0, "sixth": 1 / 6}
HALF = {"half": 0.5, "one": 1.0, "root": math.sqrt(2), "inverse": math.sqrt(0.5)}
TANH = {
    "half": 0.5,
    "one": 1.0,
    "c": 0.044715,
    "k": math.sqrt(2 / math.pi),
    "cube": 3.0,
}
RECOMPOSED = {
    "hard_sigmoid": ("a = Add(x, three) b = Clip(a, zero, six) y = Div(b, six)", SIX),
    "hard_sigmoid_times": ("a = Add(three, x) b = Clip(a, zero, six) y = Mul(b, sixth)", SIX),
    "hard_swish_last": (
        "a = Add(x, three) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, six)",
        SIX,
    ),
    "hard_swish_last_times": (
        "a = Add(x, three) b = Clip(a, zero, six) c = Mul(b, x) y = Mul(sixth, c)",
        SIX,
    ),
    "hard_swish_first": (
        "a = Add(x, three) b = Clip(a, zero, six) c = Div(b, six) y = Mul(x, c)",
        SIX,
    ),
    "hard_swish_gate": ("a = HardSigmoid<alpha = 0.16666667>(x) y = Mul(x, a)", {}),
    "gelu_half_last": (
        "a = Div(x, root) b = Erf(a) c = Add(b, one) d = Mul(x, c) y = Mul(d, half)",
        HALF,
    ),
    "gelu_half_first": (
        "a = Mul(x, inverse) b = Erf(a) c = Add(one, b) d = Mul(x, half) y = Mul(d, c)",
        HALF,
    ),
    "gelu_half_inside": (
        "a = Mul(x, inverse) b = Erf(a) c = Add(one, b) d = Mul(half, c) y = Mul(x, d)",
        HALF,
    ),
    "gelu_tanh_power": (
        "p = Pow(x, cube) q = Mul(c, p) r = Add(x, q) s = Mul(k, r) t = Tanh(s)"
        " u = Add(t, one) v = Mul(x, half) y = Mul(v, u)",
        TANH,
    ),
    "gelu_tanh_product": (
        "o = Mul(x, x) p = Mul(o, x) q = Mul(p, c) r = Add(q, x) s = Mul(r, k) t = Tanh(s)"
        " u = Add(one, t) v = Mul(x, u) y = Mul(half, v)",
        TANH,
    ),
}
WANTED = {"hard_sigmoid": "HardSigmoid", "hard_swish": "HardSwish", "gelu": "Gelu"}


@pytest.mark.parametrize("case", RECOMPOSED)
def test_activations_are_put_together(case):
    nodes, weights = RECOMPOSED[case]
    model = build(f"{X}{{ {nodes} }}", **weights)
    run_pass(model, "normalize_operators", 1e-6)
    wanted = next(name for prefix, name in WANTED.items() if case.startswith(prefix))
    assert operators(model) == [wanted]
    assert not model.graph.initializers


CHANGED = [
    (case, name)
    for case, (nodes, weights) in RECOMPOSED.items()
    for name in ("three", "six", "root", "inverse", "half", "k", "c")
    if name in weights and (f"{name})" in nodes or f"{name}," in nodes)
]


@pytest.mark.parametrize(("case", "name"), CHANGED)
def test_other_constants_are_other_functions(case, name):
    nodes, weights = RECOMPOSED[case]
    model = build(f"{X}{{ {nodes} }}", **{**weights, name: weights[name] * 1.01})
    outcome = run_pass(model, "normalize_operators")
    assert not {"HardSwish", "Gelu"} & set(operators(model))
    if case.startswith("gelu") or name == "three":
        assert "not" in reasons(outcome)


def test_a_gate_that_others_read_stays_for_them():
    model = build(
        "(float[2,4] x) => (float y, float z)"
        " { a = HardSigmoid<alpha = 0.16666667>(x) y = Mul(x, a) z = Neg(a) }"
    )
    run_pass(model, "normalize_operators")
    assert sorted(operators(model)) == ["HardSigmoid", "HardSwish", "Neg"]


def test_gelu_of_something_else_is_left():
    model = build(
        "(float[2,4] x, float[2,4] z) => (float y) { a = Mul(x, inverse) b = Erf(a)"
        " c = Add(one, b) d = Mul(half, c) y = Mul(z, d) }",
        **HALF,
    )
    run_pass(model, "normalize_operators")
    assert "Gelu" not in operators(model)


def test_new_names_are_the_same_every_time():
    def names():
        model = build(
            f"{X}{{ a = MatMul(x, w) y = Gemm<alpha = 0.5>(a, v, b) }}",
            w=np.ones((4, 3)),
            v=np.ones((3, 3)),
            b=np.ones((1, 3)),
        )
        run_pass(model, "normalize_operators")
        run_float(model, random_inputs(model))
        return list(model.graph.initializers), [node.name for node in model.graph]

    assert names() == names()
