from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import build, operators, reasons, run_pass

X = "(float[2,3,4,5] x) => (float y) "


def f(value):
    return np.float32(value)


MERGED = {
    "relu_relu": ("a = Relu(x) y = Relu(a)", {}, ("Relu", None, None)),
    "relu_6": ("a = Relu(x) y = Clip(a, zero, six)", {"zero": f(0), "six": f(6)}, ("Clip", 0, 6)),
    "relu_min": ("a = Relu(x) y = Min(a, six)", {"six": f(6)}, ("Clip", 0, 6)),
    "clip_relu": ("a = Clip(x, l, h) y = Relu(a)", {"l": f(-1), "h": f(1)}, ("Clip", 0, 1)),
    "clip_clip": (
        "a = Clip(x, l, h) y = Clip(a, m, n)",
        {"l": f(-1), "h": f(1), "m": f(-0.5), "n": f(2)},
        ("Clip", -0.5, 1),
    ),
    "clip_below": (
        "a = Clip(x, l, h) y = Clip(a, m, n)",
        {"l": f(1), "h": f(2), "m": f(-1), "n": f(0.5)},
        ("Clip", 0.5, 0.5),
    ),
    "max_zero": ("y = Max(x, zero)", {"zero": f(0)}, ("Relu", None, None)),
    "zero_max": ("y = Max(zero, x)", {"zero": np.zeros((1,), np.float32)}, ("Relu", None, None)),
    "min_max": ("a = Max(x, l) y = Min(h, a)", {"l": f(-1), "h": f(1)}, ("Clip", -1, 1)),
    "clip_zero": ("y = Clip(x, zero)", {"zero": f(0)}, ("Relu", None, None)),
    "three": (
        "a = Relu(x) b = Clip(a, zero, six) y = Min(b, three)",
        {"zero": f(0), "six": f(6), "three": f(3)},
        ("Clip", 0, 3),
    ),
    "bounded_already": (
        "a = Clip(x, l, h) y = Clip(a, m, n)",
        {"l": f(-1), "h": f(1), "m": f(-2), "n": f(2)},
        ("Clip", -1, 1),
    ),
    "open_below": ("y = Min(x, h)", {"h": f(1)}, ("Clip", None, 1)),
    "leaky_zero": ("y = LeakyRelu<alpha = 0.0>(x)", {}, ("Relu", None, None)),
}


@pytest.mark.parametrize("case", MERGED)
def test_bounds_in_a_row_become_one(case):
    nodes, weights, (op, low, high) = MERGED[case]
    model = build(f"{X}{{ {nodes} }}", **weights)
    run_pass(model, "fuse_activations")
    assert operators(model) == [op]
    if op == "Clip":
        bounds = [
            None if v is None else float(v.const_value.numpy())
            for v in model.graph.node(0).inputs[1:]
        ]
        assert bounds + [None] * (2 - len(bounds)) == [low, high]


KEPT = {
    "relu": ("y = Relu(x)", {}),
    "relu_6": ("y = Clip(x, zero, six)", {"zero": f(0), "six": f(6)}),
    "crossed_bounds": ("y = Clip(x, six, zero)", {"zero": f(0), "six": f(6)}),
    "crossed_bounds_then_relu": (
        "a = Clip(x, h, l) y = Relu(a)",
        {"l": f(-1), "h": f(1)},
    ),
    "max_of_a_vector": ("y = Max(x, v)", {"v": np.zeros(5, np.float32)}),
    "max_that_enlarges": ("y = Max(x, v)", {"v": np.zeros((1, 1, 1, 1, 1), np.float32)}),
    "max_of_three": ("a = Neg(x) y = Max(x, a, zero)", {"zero": f(0)}),
    "leaky": ("y = LeakyRelu<alpha = 0.1>(x)", {}),
    "steep_max": ("a = Mul(x, s) y = Max(x, a)", {"s": f(1.5)}),
    "negative_max": ("a = Mul(x, s) y = Max(x, a)", {"s": f(-0.5)}),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_is_no_interval_stays(case):
    nodes, weights = KEPT[case]
    model = build(f"{X}{{ {nodes} }}", **weights)
    before = operators(model)
    run_pass(model, "fuse_activations")
    assert operators(model) == before


def test_integers_are_left():
    model = build("(int64[2,3] x) => (int64 y) { y = Max(x, zero) }", zero=np.asarray(0, np.int64))
    run_pass(model, "fuse_activations")
    assert operators(model) == ["Max"]


def test_an_inner_bound_that_others_read_stays():
    model = build(
        "(float[2,3] x) => (float y, float z) { a = Relu(x) y = Clip(a, low, six) z = Neg(a) }",
        low=f(0),
        six=f(6),
    )
    outcome = run_pass(model, "fuse_activations")
    assert operators(model) == ["Relu", "Clip", "Neg"]
    assert "used elsewhere" in reasons(outcome)


def test_an_inner_bound_that_is_an_output_stays():
    model = build(
        "(float[2,3] x) => (float a, float y) { a = Relu(x) y = Clip(a, low, six) }",
        low=f(0),
        six=f(6),
    )
    run_pass(model, "fuse_activations")
    assert [value.name for value in model.graph.outputs] == ["a", "y"]
    assert operators(model) == ["Relu", "Clip"]


@pytest.mark.parametrize("order", ["Max(x, a)", "Max(a, x)"])
@pytest.mark.parametrize(
    ("slope", "wanted"),
    [(0.2, "LeakyRelu"), (np.linspace(0, 1, 3).reshape(3, 1, 1), "PRelu")],
)
def test_leaky_relu_written_as_a_maximum(order, slope, wanted):
    model = build(f"{X}{{ a = Mul(s, x) y = {order} }}", s=np.asarray(slope, np.float32))
    run_pass(model, "fuse_activations")
    assert operators(model) == [wanted]


def test_leaky_relu_of_slope_one_does_nothing():
    model = build(f"{X}{{ a = LeakyRelu<alpha = 1.0>(x) y = Neg(a) }}")
    run_pass(model, "fuse_activations")
    assert operators(model) == ["Neg"]
