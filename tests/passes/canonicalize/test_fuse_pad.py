from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import build, operators, reasons, run_pass

RNG = np.random.default_rng(8)
W = RNG.standard_normal((3, 2, 3, 3))
PADS = [0, 0, 1, 2, 0, 0, 0, 1]


def padded(rest, shape="1,2,6,7", first="", data="x", **weights):
    weights.setdefault("p", PADS)
    return build(f"(float[{shape}] x) => (float y) {{ {first} {rest} }}", **weights)


@pytest.mark.parametrize(
    ("rest", "weights"),
    [
        ("a = Pad(x, p) y = Conv(a, w)", {}),
        ("a = Pad(x, p, z) y = Conv<pads = [1,0,0,1], strides = [2,1]>(a, w)", {"z": 0.0}),
        ("a = Pad(x, p, , axes) y = Conv(a, w)", {"p": [2, 1, 0, 1], "axes": [3, -2]}),
    ],
)
def test_zeros_in_front_of_a_convolution(rest, weights):
    model = padded(rest, w=W, **weights)
    run_pass(model, "fuse_pad")
    assert operators(model) == ["Conv"]


def test_symbolic_sizes():
    model = padded("a = Pad(x, p) y = Conv(a, w)", shape="N,2,H,V", w=W)
    run_pass(model, "fuse_pad")
    assert operators(model) == ["Conv"]


@pytest.mark.parametrize(
    ("rest", "weights", "reason"),
    [
        ("a = Pad(x, p, z) y = Conv(a, w)", {"z": 1.0}, "it pads with 1"),
        ('a = Pad<mode = "reflect">(x, p) y = Conv(a, w)', {}, "mode is reflect"),
        ("a = Pad(x, p) y = Conv(a, w)", {"p": [0, 0, -1, 0, 0, 0, 0, 0]}, "it crops"),
        ("a = Pad(x, p) y = Conv(a, w)", {"p": [1, 0, 0, 0, 0, 0, 0, 0]}, "batch or channels"),
    ],
)
def test_other_padding_in_front_of_a_convolution_stays(rest, weights, reason):
    model = padded(rest, w=W, **weights)
    outcome = run_pass(model, "fuse_pad")
    assert operators(model) == ["Pad", "Conv"]
    assert reason in reasons(outcome)


def test_a_pad_that_others_read_stays_for_them():
    model = build(
        "(float[1,2,6,7] x) => (float y, float z) { a = Pad(x, p) y = Conv(a, w) z = Relu(a) }",
        p=PADS,
        w=W,
    )
    run_pass(model, "fuse_pad")
    assert sorted(operators(model)) == ["Conv", "Pad", "Relu"]


def test_two_convolutions_behind_one_pad():
    model = build(
        "(float[1,2,6,7] x) => (float y, float z) { a = Pad(x, p) y = Conv(a, w) z = Conv(a, v) }",
        p=PADS,
        w=W,
        v=W + 1,
    )
    run_pass(model, "fuse_pad")
    assert operators(model) == ["Conv", "Conv"]


POOL = "y = MaxPool<kernel_shape = [3,3], strides = [2,2]>(a)"
SMALL = [0, 0, 1, 2, 0, 0, 2, 1]


@pytest.mark.parametrize(
    "first", ["r = Relu(x)", "r = Sigmoid(x)", "r = Clip(x, low)", "q = Abs(x) r = Flatten(q)"]
)
def test_zeros_in_front_of_a_max_pool_of_what_is_not_negative(first):
    if "Flatten" in first:
        first = "q = Abs(x) r = Transpose<perm = [0,1,3,2]>(q)"
    extra = {"low": np.float32(0)} if "Clip" in first else {}
    model = padded(f"a = Pad(r, p) {POOL}", first=first, p=SMALL, **extra)
    run_pass(model, "fuse_pad")
    assert "Pad" not in operators(model)


def test_minus_infinity_in_front_of_a_max_pool():
    model = padded(f"a = Pad(x, p, z) {POOL}", p=SMALL, z=np.float32(-np.inf))
    run_pass(model, "fuse_pad")
    assert operators(model) == ["MaxPool"]


@pytest.mark.parametrize(
    ("first", "pool", "pads", "reason"),
    [
        ("r = Neg(x)", POOL, SMALL, "may be negative"),
        ("r = Clip(x, low)", POOL, SMALL, "may be negative"),
        ("r = Relu(x)", POOL, [0, 0, 3, 0, 0, 0, 0, 0], "not smaller than the window"),
        (
            "r = Relu(x)",
            "y = MaxPool<kernel_shape = [3,3], dilations = [2,2]>(a)",
            SMALL,
            "dilated",
        ),
        (
            "r = Relu(x)",
            "y = MaxPool<kernel_shape = [4,4], pads = [1,1,1,1]>(a)",
            SMALL,
            "already pads",
        ),
        (
            "r = Relu(x)",
            "y = MaxPool<kernel_shape = [3,3], strides = [2,2], ceil_mode = 1>(a)",
            SMALL,
            "rounds its size up",
        ),
    ],
)
def test_other_padding_in_front_of_a_max_pool_stays(first, pool, pads, reason):
    extra = {"low": np.float32(-1)} if "Clip" in first else {}
    model = padded(f"a = Pad(r, p) {pool}", first=first, p=pads, **extra)
    outcome = run_pass(model, "fuse_pad")
    assert "Pad" in operators(model)
    assert reason in reasons(outcome)


def test_zeros_count_in_a_mean():
    model = padded("a = Pad(x, p) y = AveragePool<kernel_shape = [3,3]>(a)")
    outcome = run_pass(model, "fuse_pad")
    assert operators(model) == ["Pad", "AveragePool"]
    assert "count in the mean" in reasons(outcome)
