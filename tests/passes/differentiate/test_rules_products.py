"""Gradients of convolutions and matrix products against central differences."""

from __future__ import annotations

import numpy as np
import pytest

from tests.passes.differentiate.gradient_checks import check


def normal(*shape: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


#: Channels in and out, kernel, attributes, input size.
CONVOLUTIONS = {
    "plain": (3, 4, (3, 3), "", (5, 6)),
    "pointwise": (3, 4, (1, 1), "", (3, 4)),
    "padded": (2, 3, (3, 3), "pads = [1, 1, 1, 1]", (5, 4)),
    "one-sided pads": (2, 3, (3, 2), "pads = [2, 0, 0, 1]", (5, 4)),
    "strided": (2, 3, (3, 3), "strides = [2, 2], pads = [1, 1, 1, 1]", (7, 7)),
    "strided with a remainder": (2, 3, (3, 3), "strides = [2, 3], pads = [1, 0, 1, 0]", (6, 8)),
    "stride beyond the kernel": (2, 3, (1, 2), "strides = [3, 3]", (6, 8)),
    "dilated": (2, 3, (3, 2), "dilations = [2, 3]", (7, 6)),
    "strided and dilated": (2, 2, (3, 2), "strides = [2, 3], dilations = [2, 1]", (9, 9)),
    "grouped": (4, 6, (3, 3), "group = 2, pads = [1, 1, 1, 1]", (4, 5)),
    "grouped and strided": (4, 6, (3, 3), "group = 2, strides = [2, 2]", (6, 5)),
    "depthwise": (4, 4, (3, 3), "group = 4, pads = [1, 1, 1, 1]", (4, 5)),
    "depthwise, two a channel": (3, 6, (3, 3), "group = 3, strides = [2, 2]", (6, 6)),
    "same upper": (2, 3, (3, 2), 'auto_pad = "SAME_UPPER", strides = [2, 2]', (6, 5)),
    "same lower": (2, 3, (4, 2), 'auto_pad = "SAME_LOWER"', (6, 5)),
    "valid": (2, 3, (3, 2), 'auto_pad = "VALID"', (6, 5)),
    "one dimension": (2, 3, (3,), "strides = [2], pads = [1, 0]", (8,)),
    "three dimensions": (2, 2, (2, 1, 2), "strides = [1, 2, 1]", (3, 4, 3)),
}


#: The padding of "same upper" depends on the sizes: refused where those are not known.
CASES = [
    (name, sizes)
    for name in CONVOLUTIONS
    for sizes in ("fixed", "batch", "all")
    if (name, sizes) != ("same upper", "all")
]


@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_conv(name, sizes):
    channels, results, kernel, attributes, space = CONVOLUTIONS[name]
    symbols = {"N": 2, **{f"S{axis}": size for axis, size in enumerate(space)}}
    dims = {
        "fixed": [2, channels, *space],
        "batch": ["N", channels, *space],
        "all": ["N", channels, *(f"S{axis}" for axis in range(len(space)))],
    }[sizes]
    group = next((int(t.split("=")[1]) for t in attributes.split(",") if "group" in t), 1)
    check(
        f"(float[{', '.join(map(str, dims))}] data) => (float[{', '.join('abcde'[: len(dims)])}] y)"
        f"{{ x = Mul(data, p) y = Conv<{attributes}>(x, w, b) }}",
        ("p", "w", "b"),
        symbols=symbols,
        p=normal(channels, *([1] * len(space))),
        w=normal(results, channels // group, *kernel, seed=6),
        b=normal(results, seed=7),
    )


TRANSPOSED = {
    "plain": (3, 2, (3, 3), "", (3, 4)),
    "strided": (2, 3, (3, 3), "strides = [2, 2], pads = [1, 1, 1, 1]", (3, 4)),
    "output padding": (
        2,
        3,
        (3, 3),
        "strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1]",
        (3, 4),
    ),
    "more output padding than padding": (
        2,
        1,
        (2, 3),
        "strides = [3, 3], pads = [0, 1, 0, 1], output_padding = [2, 2]",
        (3, 2),
    ),
    "dilated": (2, 3, (3, 2), "strides = [2, 1], dilations = [2, 2]", (3, 4)),
    "grouped": (4, 3, (3, 3), "group = 2, strides = [2, 2]", (3, 3)),
    "depthwise": (3, 1, (4, 4), "group = 3, strides = [2, 2], pads = [1, 1, 1, 1]", (3, 3)),
    "one dimension": (2, 3, (4,), "strides = [2]", (4,)),
}


@pytest.mark.parametrize("name", TRANSPOSED)
@pytest.mark.parametrize("dynamic", [False, True])
def test_conv_transpose(name, dynamic):
    channels, each, kernel, attributes, space = TRANSPOSED[name]
    sizes = [f"S{axis}" for axis in range(len(space))] if dynamic else list(space)
    dims = ["N" if dynamic else 2, channels, *sizes]
    group = next((int(t.split("=")[1]) for t in attributes.split(",") if "group" in t), 1)
    check(
        f"(float[{', '.join(map(str, dims))}] data) => (float[{', '.join('abcde'[: len(dims)])}] y)"
        f"{{ x = Mul(data, p) y = ConvTranspose<{attributes}>(x, w, b) }}",
        ("p", "w", "b"),
        symbols={f"S{axis}": size for axis, size in enumerate(space)},
        p=normal(channels, *([1] * len(space))),
        linear=True,  # onnx's reference implementation has no groups here
        w=normal(channels, each, *kernel, seed=6),
        b=normal(each * group, seed=7),
    )


@pytest.mark.parametrize("bias", [(), (5,), (1, 5), (3, 1), (3, 5)])
@pytest.mark.parametrize("transposed", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_gemm(transposed, bias):
    a, b = transposed
    check(
        "(float[1] one) => (float[3, 5] y) { x = Mul(one, p)"
        f" y = Gemm<transA = {a}, transB = {b}, alpha = 0.5, beta = 2.0>(x, w, c) }}",
        ("p", "w", "c"),
        p=normal(*((4, 3) if a else (3, 4))),
        w=normal(*((5, 4) if b else (4, 5)), seed=6),
        c=normal(*bias, seed=7),
    )


def test_gemm_without_bias_and_with_a_dynamic_batch():
    check(
        "(float[N, 4] data) => (float[N, 3] y) { x = Mul(data, p) y = Gemm<transB = 1>(x, w) }",
        ("p", "w"),
        symbols={"N": 5},
        p=normal(4),
        w=normal(3, 4, seed=6),
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4), (4, 2)),
        ((2, 3, 4), (4, 2)),
        ((2, 3, 4), (2, 4, 2)),
        ((2, 3, 4), (1, 4, 2)),
        ((3, 4), (2, 4, 2)),
        ((2, 1, 3, 4), (3, 4, 2)),
        ((4,), (4,)),
        ((4,), (4, 2)),
        ((4,), (2, 4, 3)),
        ((3, 4), (4,)),
        ((2, 3, 4), (4,)),
    ],
)
def test_matmul(left, right):
    axes = ", ".join("abcd"[: np.matmul(np.ones(left), np.ones(right)).ndim])
    check(
        f"(float[1] one) => (float[{axes}] y) {{ x = Add(p, one) z = MatMul(x, w)"
        " y = Mul(z, one) }",
        ("p", "w"),
        p=normal(*left),
        w=normal(*right, seed=6),
    )


@pytest.mark.parametrize("shape", ["N, 4", "N, M, 4"])
def test_matmul_by_a_matrix_with_dynamic_rows(shape):
    result = shape.replace("4", "3")
    check(
        f"(float[{shape}] data) => (float[{result}] y) {{ x = Mul(data, p) y = MatMul(x, w) }}",
        ("p", "w"),
        symbols={"N": 3, "M": 2},
        p=normal(4),
        w=normal(4, 3, seed=6),
    )
