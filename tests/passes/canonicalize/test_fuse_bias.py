from __future__ import annotations

import numpy as np
import pytest

from intaglio.passes.provenance import sources
from tests.helpers import build, operators, reasons, run_pass, weight

RNG = np.random.default_rng(7)
CONV = "a = Conv(x, w)"
W = RNG.standard_normal((5, 4, 3, 3))


def conv_then(rest, **weights):
    return build(f"(float[2,4,7,6] x) => (float y) {{ {CONV} {rest} }}", w=W, **weights)


FUSED = {
    "add_c11": ("y = Add(a, c)", (5, 1, 1)),
    "add_1c11": ("y = Add(c, a)", (1, 5, 1, 1)),
    "add_scalar": ("y = Add(a, c)", ()),
    "add_one": ("y = Add(a, c)", (1, 1, 1, 1)),
    "subtract": ("y = Sub(a, c)", (5, 1, 1)),
    "subtract_from": ("y = Sub(c, a)", (5, 1, 1)),
    "multiply": ("y = Mul(a, c)", (5, 1, 1)),
    "multiply_scalar": ("y = Mul(c, a)", (1,)),
    "divide": ("y = Div(a, c)", (5, 1, 1)),
    "chain": ("d = Add(a, c) e = Mul(d, c) f = Sub(e, c) y = Div(f, c)", (5, 1, 1)),
}


@pytest.mark.parametrize("case", FUSED)
def test_per_channel_constants_are_absorbed(case):
    rest, shape = FUSED[case]
    model = conv_then(rest, c=RNG.uniform(0.5, 2, shape))
    run_pass(model, "fuse_bias")
    assert operators(model) == ["Conv"]
    assert weight(model, model.graph.node(0), 2).shape == (5,)
    assert model.graph.node(0).outputs[0].name == "y"
    assert len(sources(model.graph.node(0))) == rest.count("=") + 1


LEFT = {
    "another_axis": ("y = Add(a, c)", (5, 1), "one number a channel"),
    "every_element": ("y = Add(a, c)", (5, 5, 4), "one number a channel"),
    "larger_result": ("y = Add(a, c)", (3, 1, 1, 1, 1), "one number a channel"),
    "larger_batch": ("y = Add(a, c)", (2, 5, 1, 1), "one number a channel"),
    "divided_into": ("y = Div(c, a)", (5, 1, 1), "divides by its input"),
    "read_twice": ("b = Add(a, c) d = Relu(a) y = Add(b, d)", (5, 1, 1), ""),
}


@pytest.mark.parametrize("case", LEFT)
def test_other_constants_stay(case):
    rest, shape, reason = LEFT[case]
    model = conv_then(rest, c=RNG.uniform(0.5, 2, shape))
    before = operators(model)
    outcome = run_pass(model, "fuse_bias")
    assert operators(model) == before
    assert reason in reasons(outcome)


def test_division_by_zero_stays():
    model = conv_then("y = Div(a, c)", c=np.zeros((5, 1, 1)))
    from intaglio.passes.canonicalize.fuse_bias import FuseBias

    outcome = FuseBias()(model)
    assert operators(model) == ["Conv", "Div"]
    assert "not be finite" in reasons(outcome)


def test_a_computed_operand_stays():
    model = build(
        "(float[2,4,7,6] x, float[5,1,1] c) => (float y) { a = Conv(x, w) y = Add(a, c) }", w=W
    )
    run_pass(model, "fuse_bias")
    assert operators(model) == ["Conv", "Add"]


def test_a_convolution_that_is_an_output_stays():
    model = build(
        "(float[2,4,7,6] x) => (float a, float y) { a = Conv(x, w) y = Add(a, c) }",
        w=W,
        c=RNG.standard_normal((5, 1, 1)),
    )
    run_pass(model, "fuse_bias")
    assert operators(model) == ["Conv", "Add"]


def test_a_bias_shared_by_two_convolutions_is_told_apart():
    model = build(
        "(float[2,4,7,6] x) => (float y, float z)"
        " { a = Conv(x, w, b) y = Add(a, c) z = Conv(x, w, b) }",
        w=W,
        b=RNG.standard_normal(5),
        c=RNG.standard_normal((5, 1, 1)),
    )
    run_pass(model, "fuse_bias")
    assert operators(model) == ["Conv", "Conv"]
    first, second = model.graph
    assert first.inputs[1] is second.inputs[1]
    assert first.inputs[2] is not second.inputs[2]


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_transposed_convolutions(group, op):
    model = build(
        f"(float[2,4,7,6] x) => (float y)"
        f" {{ a = ConvTranspose<group = {group}, strides = [2,2]>(x, w) y = {op}(a, c) }}",
        w=RNG.standard_normal((4, 3, 3, 3)),
        c=RNG.standard_normal((3 * group, 1, 1)),
    )
    run_pass(model, "fuse_bias")
    assert operators(model) == ["ConvTranspose"]


@pytest.mark.parametrize("shape", [(3,), (1, 3), ()])
@pytest.mark.parametrize("op", ["Add", "Mul", "Sub"])
def test_gemm(shape, op):
    model = build(
        f"(float[2,4] x) => (float y) {{ a = Gemm<transB = 1>(x, w) y = {op}(a, c) }}",
        w=RNG.standard_normal((3, 4)),
        c=RNG.standard_normal(shape),
    )
    run_pass(model, "fuse_bias")
    assert operators(model) == ["Gemm"]


def test_gemm_plus_a_matrix_stays():
    model = build(
        "(float[2,4] x) => (float y) { a = Gemm<transB = 1>(x, w) y = Add(a, c) }",
        w=RNG.standard_normal((3, 4)),
        c=RNG.standard_normal((2, 3)),
    )
    run_pass(model, "fuse_bias")
    assert operators(model) == ["Gemm", "Add"]


def test_a_scalar_moves_through_operators_that_move_values():
    model = build(
        "(float[1,4,7,6] x) => (float y)"
        " { a = Conv(x, w) d = DepthToSpace<blocksize = 2>(a)"
        " t = Transpose<perm = [0,2,3,1]>(d) y = Add(t, c) }",
        w=RNG.standard_normal((8, 4, 3, 3)),
        c=np.full((1, 1, 1, 1), 0.25),
    )
    run_pass(model, "fuse_bias")
    assert operators(model) == ["Conv", "DepthToSpace", "Transpose"]
    assert [value.name for value in model.graph.outputs] == ["y"]
    inner = {node.outputs[0].name for node in model.graph} - {"y"}
    assert not inner & {"a", "d", "t"}, "these values are others than the file's of that name"


def test_a_vector_does_not():
    model = build(
        "(float[1,4,7,6] x) => (float y)"
        " { a = Conv(x, w) d = DepthToSpace<blocksize = 2>(a) y = Add(d, c) }",
        w=RNG.standard_normal((8, 4, 3, 3)),
        c=RNG.standard_normal((2, 1, 1)),
    )
    run_pass(model, "fuse_bias")
    assert operators(model) == ["Conv", "DepthToSpace", "Add"]


def test_every_linear_operator_gets_a_bias():
    model = build(
        "(float[2,4,7,6] x) => (float y) { a = Conv(x, w) b = ConvTranspose(a, v)"
        " c = GlobalAveragePool(b) d = Flatten(c) y = Gemm<transB = 1>(d, u) }",
        w=W,
        v=RNG.standard_normal((5, 6, 2, 2)),
        u=RNG.standard_normal((3, 6)),
    )
    run_pass(model, "fuse_bias")
    for node, size in zip([n for n in model.graph if len(n.inputs) > 2], (5, 6, 3), strict=True):
        np.testing.assert_array_equal(weight(model, node, 2), np.zeros(size, np.float32))


def test_dequantized_weights_are_left():
    model = build(
        "(float[2,4,7,6] x) => (float y)"
        " { k = DequantizeLinear(q, s, z) a = Conv(x, k) y = Mul(a, c) }",
        q=RNG.integers(-9, 9, (5, 4, 3, 3)).astype(np.int8),
        s=0.5,
        z=np.int8(0),
        c=RNG.standard_normal((5, 1, 1)),
    )
    outcome = run_pass(model, "fuse_bias")
    assert operators(model) == ["DequantizeLinear", "Conv", "Mul"]
    assert "not a constant" in reasons(outcome)
