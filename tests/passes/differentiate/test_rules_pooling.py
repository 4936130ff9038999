"""Gradients of pooling, reductions and resizing against central differences."""

from __future__ import annotations

import numpy as np
import pytest

from tests.passes.differentiate.gradient_checks import check


def normal(*shape: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def distinct(*shape: int) -> np.ndarray:
    """Numbers that are far from each other, in random order."""
    size = int(np.prod(shape))
    numbers = np.linspace(-1, 1, size, dtype=np.float32)
    return np.random.default_rng(3).permutation(numbers).reshape(shape)


def pooled(operator: str, size: tuple[int, ...], dynamic: bool, linear: bool = False) -> None:
    names = [f"S{axis}" for axis in range(len(size))]
    dims = ["N", 3, *names] if dynamic else [2, 3, *size]
    check(
        f"(float[{', '.join(map(str, dims))}] data) => (float[{', '.join('abcde'[: len(dims)])}] y)"
        f" {{ x = Add(p, data) y = {operator}(x) }}",
        ("p",),
        symbols={"N": 2, **dict(zip(names, size, strict=True))},
        linear=linear,
        # The data are added in the same size: p carries the whole tensor.
        p=distinct(2, 3, *size),
    )


MAXIMA = {
    "plain": ("kernel_shape = [2, 2], strides = [2, 2]", (4, 6)),
    "with a remainder": ("kernel_shape = [2, 2], strides = [2, 2]", (5, 5)),
    "overlapping": ("kernel_shape = [3, 3], strides = [1, 2]", (5, 6)),
    "padded": ("kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]", (5, 6)),
    "ceil": ("kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1", (5, 5)),
    "dilated": ("kernel_shape = [2, 2], dilations = [2, 2]", (5, 5)),
    "same": ('kernel_shape = [3, 3], auto_pad = "SAME_UPPER"', (4, 5)),
    "one dimension": ("kernel_shape = [3], strides = [2]", (7,)),
    "three dimensions": ("kernel_shape = [2, 1, 2]", (3, 2, 3)),
}


@pytest.mark.parametrize("name", MAXIMA)
@pytest.mark.parametrize("dynamic", [False, True])
def test_max_pool(name, dynamic):
    attributes, size = MAXIMA[name]
    pooled(f"MaxPool<{attributes}>", size, dynamic)


AVERAGES = {
    "plain": ("kernel_shape = [2, 3], strides = [2, 2]", (4, 7)),
    "overlapping": ("kernel_shape = [3, 2]", (4, 5)),
    "padded": ("kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]", (5, 6)),
    "padding counts": (
        "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 0, 1], count_include_pad = 1",
        (5, 6),
    ),
    "same": ('kernel_shape = [3, 3], strides = [2, 2], auto_pad = "SAME_UPPER"', (5, 6)),
    "dilated": ("kernel_shape = [2, 2], dilations = [2, 2], strides = [2, 1]", (6, 5)),
    "one dimension": ("kernel_shape = [3], strides = [2], pads = [1, 1]", (7,)),
}


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("dynamic", [False, True])
def test_average_pool(name, dynamic):
    attributes, size = AVERAGES[name]
    if dynamic and name == "same":
        return  # refused: its padding is not known, see test_refusals
    pooled(f"AveragePool<{attributes}>", size, dynamic, linear=True)


@pytest.mark.parametrize("counted", [0, 1])
def test_average_pool_whose_last_window_reaches_over_the_end(counted):
    """The reference is PyTorch's definition: what lies behind the padding does not count."""
    pooled(
        "AveragePool<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], ceil_mode = 1,"
        f" count_include_pad = {counted}>",
        (6, 6),
        False,
        linear=True,
    )


@pytest.mark.parametrize("operator", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_global_pool(operator, dynamic):
    pooled(operator, (3, 4), dynamic)


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize(
    ("attributes", "axes", "result"),
    [
        ("keepdims = 1", [1], "N, 1, 4"),
        ("keepdims = 0", [-1], "N, 3"),
        ("keepdims = 0", [0, 2], "3"),
        ("keepdims = 1", [0, 1, 2], "1, 1, 1"),
        ("keepdims = 0", None, ""),
        ("noop_with_empty_axes = 1", None, "N, 3, 4"),
    ],
)
@pytest.mark.parametrize("batch", ["N", "2"])
def test_reduction(operator, attributes, axes, result, batch):
    inputs = "x, axes" if axes is not None else "x"
    check(
        f"(float[{batch}, 3, 4] data) => (float[{result.replace('N', batch)}] y)"
        f" {{ x = Add(p, data) y = {operator}<{attributes}>({inputs}) }}",
        ("p",),
        p=distinct(2, 3, 4),
        **({} if axes is None else {"axes": np.int64(axes)}),
    )


@pytest.mark.parametrize("batch", ["N", "2"])
def test_softmax_cross_entropy(batch):
    """The whole loss, with and without a Softmax at the end."""
    for end in ("y = Identity(x)", "y = LogSoftmax(x)"):
        training = check(
            f"(float[{batch}, 4] data) => (float[{batch}, 3] y) {{ x = Gemm(data, w, b) {end} }}",
            ("w", "b"),
            loss="cross-entropy",
            symbols={"N": 5},
            w=normal(4, 3),
            b=normal(3, seed=6),
        )
        assert [node.op_type for node in training.graph].count("LogSoftmax") == 1


RESIZES = {
    "nearest, twice": ('mode = "nearest"', "scales", [1, 1, 2, 2], (3, 4)),
    "nearest, sizes": ('mode = "nearest"', "sizes", [2, 3, 6, 12], (3, 4)),
    "nearest, asymmetric": (
        'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"',
        "scales",
        [1, 1, 2, 3],
        (3, 4),
    ),
    "nearest, odd": ('mode = "nearest", nearest_mode = "ceil"', "sizes", [2, 3, 5, 7], (3, 4)),
    "nearest, twice, upwards": (
        'mode = "nearest", nearest_mode = "ceil"',
        "scales",
        [1, 1, 2, 2],
        (3, 4),
    ),
    "nearest, channels too": ('mode = "nearest"', "scales", [1, 2, 2, 1], (3, 4)),
    "nearest, smaller": ('mode = "nearest"', "sizes", [2, 3, 2, 3], (3, 4)),
    "linear, twice": ('mode = "linear"', "scales", [1, 1, 2, 2], (3, 4)),
    "linear, corners": (
        'mode = "linear", coordinate_transformation_mode = "align_corners"',
        "sizes",
        [2, 3, 5, 7],
        (3, 4),
    ),
    "linear, odd scale": ('mode = "linear"', "scales", [1, 1, 1.5, 0.6], (4, 5)),
    "cubic": ('mode = "cubic", cubic_coeff_a = -0.5', "scales", [1, 1, 2, 2], (4, 4)),
}


@pytest.mark.parametrize("name", RESIZES)
@pytest.mark.parametrize("batch", ["N", "2"])
def test_resize(name, batch):
    attributes, kind, numbers, size = RESIZES[name]
    if kind == "sizes" and batch == "N":
        return  # the sizes fix the batch
    typed = np.float32(numbers) if kind == "scales" else np.int64(numbers)
    inputs = "x, , scales" if kind == "scales" else "x, , , sizes"
    check(
        f"(float[{batch}, 3, {size[0]}, {size[1]}] data) => (float[{batch}, 3, h, w] y)"
        f" {{ x = Mul(p, data) y = Resize<{attributes}>({inputs}) }}",
        ("p",),
        linear=True,
        p=normal(2, 3, *size),
        **{kind: typed},
    )


def test_resize_of_dynamic_sizes_by_a_whole_factor():
    check(
        "(float[N, 3, H, W] data) => (float[N, 3, h, w] y)"
        ' { x = Mul(p, data) y = Resize<mode = "nearest">(x, , scales) }',
        ("p",),
        symbols={"N": 2, "H": 3, "W": 2},
        linear=True,
        p=normal(3, 1, 1),
        scales=np.float32([1, 1, 3, 2]),
    )
