"""Gradients of operators that move or pick elements, against central differences."""

from __future__ import annotations

import numpy as np
import pytest

from tests.passes.differentiate.gradient_checks import check

#: Expression in x of shape [batch, 4, 4, 6], and its further constants.
MOVES = {
    "Reshape": ("Reshape(x, shape)", {"shape": np.int64([0, 2, -1])}),
    "Flatten": ("Flatten(x)", {}),
    "Flatten, axis 3": ("Flatten<axis = 3>(x)", {}),
    "Unsqueeze": ("Unsqueeze(x, axes)", {"axes": np.int64([0, 3])}),
    "Transpose": ("Transpose<perm = [2, 0, 3, 1]>(x)", {}),
    "Transpose, reversed": ("Transpose(x)", {}),
    "DepthToSpace": ("DepthToSpace<blocksize = 2>(x)", {}),
    "DepthToSpace, CRD": ('DepthToSpace<blocksize = 2, mode = "CRD">(x)', {}),
    "SpaceToDepth": ("SpaceToDepth<blocksize = 2>(x)", {}),
    "Tile": ("Tile(x, repeats)", {"repeats": np.int64([1, 2, 1, 3])}),
    "Slice": (
        "Slice(x, starts, ends, axes)",
        {"starts": np.int64([1, -4]), "ends": np.int64([3, 1000]), "axes": np.int64([1, -1])},
    ),
    "Slice, steps": (
        "Slice(x, starts, ends, axes, steps)",
        {
            "starts": np.int64([-1, 0]),
            "ends": np.int64([-1000, 6]),
            "axes": np.int64([2, 3]),
            "steps": np.int64([-1, 2]),
        },
    ),
    "Slice of the batch": (
        "Slice(x, starts, ends, axes)",
        {"starts": np.int64([1]), "ends": np.int64([2]), "axes": np.int64([0])},
    ),
    "Gather": ("Gather<axis = 3>(x, indices)", {"indices": np.int64([[0, 5], [5, 2]])}),
    "Gather, one": ("Gather<axis = 1>(x, indices)", {"indices": np.int64(-1)}),
    "Pad": ("Pad(x, pads)", {"pads": np.int64([0, 1, 0, 2, 0, 0, 3, 1])}),
    "Pad, value": (
        "Pad(x, pads, value)",
        {"pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1]), "value": np.float32(3)},
    ),
    "Pad, axes": (
        "Pad(x, pads, , axes)",
        {"pads": np.int64([1, 2, 0, 1]), "axes": np.int64([3, -2])},
    ),
    "Pad, negative": ("Pad(x, pads)", {"pads": np.int64([0, 1, -1, 2, 0, 0, 3, -1])}),
    "Pad, reflect": (
        'Pad<mode = "reflect">(x, pads)',
        {"pads": np.int64([0, 0, 1, 2, 0, 0, 2, 1])},
    ),
    "Pad, edge": ('Pad<mode = "edge">(x, pads)', {"pads": np.int64([0, 0, 1, 2, 0, 0, 2, 1])}),
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("dims", ["N, 4, 4, 6", "2, 4, 4, 6", "N, 4, H, W"])
def test_move(name, dims):
    expression, constants = MOVES[name]
    rank = {"Reshape": 3, "Flatten": 2, "Flatten, axis 3": 2, "Unsqueeze": 6}.get(name, 4)
    rank += {"Gather": 1, "Gather, one": -1}.get(name, 0)
    check(
        f"(float[{dims}] data) => (float[{', '.join('abcdef'[:rank])}] y)"
        f" {{ x = Mul(data, p) y = {expression} }}",
        ("p",),
        symbols={"N": 2, "H": 4, "W": 6},
        linear=True,
        p=np.random.default_rng(5).standard_normal((4, 1, 6)).astype(np.float32),
        **constants,
    )


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("dims", ["N, 12, 2, 3", "N, 12, H, W"])
def test_depth_to_space_keeps_channels_apart(mode, dims):
    check(
        f"(float[{dims}] data) => (float[a, b, c, d] y)"
        f' {{ x = Mul(data, p) y = DepthToSpace<blocksize = 2, mode = "{mode}">(x) }}',
        ("p",),
        symbols={"N": 2, "H": 2, "W": 3},
        linear=True,
        p=np.random.default_rng(5).standard_normal((12, 1, 1)).astype(np.float32),
    )


def test_squeeze():
    check(
        "(float[N, 1, 3, 1] data) => (float[N, 3] y) { x = Mul(data, p) y = Squeeze(x, axes) }",
        ("p",),
        symbols={"N": 2},
        p=np.float32([[[1], [2], [3]]]),
        axes=np.int64([1, 3]),
    )


@pytest.mark.parametrize("dims", ["N, 3, 4", "2, 3, 4", "N, M, 4"])
def test_expand(dims):
    check(
        f"(float[{dims}] data) => (float[{dims}] y)"
        " { shape = Shape(data) wide = Expand(p, shape) y = Mul(wide, data) }",
        ("p",),
        symbols={"N": 2, "M": 3},
        p=np.float32([[1.0], [2.0], [3.0]]),
    )


@pytest.mark.parametrize("axis", [1, -1])
def test_concat_of_trained_and_fixed(axis):
    check(
        "(float[N, 3, 3] data) => (float[N, a, b] y)"
        f" {{ x = Mul(data, p) z = Mul(data, w) y = Concat<axis = {axis}>(x, data, z) }}",
        ("p", "w"),
        symbols={"N": 2},
        p=np.float32([1, 2, 3]),
        w=np.float32([[4], [5], [6]]),
    )


def test_concat_of_sizes_known_at_run_time():
    check(
        "(float[N, 3] first, float[M, 3] second) => (float[K, 3] y)"
        " { x = Mul(first, p) z = Mul(second, w) y = Concat<axis = 0>(x, z) }",
        ("p", "w"),
        symbols={"N": 2, "M": 4},
        p=np.float32([1, 2, 3]),
        w=np.float32([4, 5, 6]),
    )


@pytest.mark.parametrize("used", ["Add(a, c)", "Mul(b, b)", "Sub(c, a)"])
def test_split_with_parts_that_nothing_reads(used):
    check(
        "(float[N, 6] data) => (float[N, 2] y)"
        f" {{ x = Mul(data, p) a, b, c = Split<axis = 1, num_outputs = 3>(x) y = {used} }}",
        ("p",),
        symbols={"N": 2},
        p=np.arange(1, 7, dtype=np.float32),
    )


def test_a_value_that_is_read_for_its_shape_only_gets_no_gradient():
    check(
        "(float[N, 6] data) => (float[N, 6] y)"
        " { x = Mul(data, p) shape = Shape(x) z = Reshape(data, shape) t = Mul(z, x)"
        " y = Tanh(t) }",
        ("p",),
        symbols={"N": 2},
        p=np.arange(1, 7, dtype=np.float32) / 4,
    )
