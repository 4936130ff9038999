"""Functions of int16 tensors: sigmoids, softmax, products, maxima, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.transforms.logistic import (
    SIGMOID_TABLE,
    logistic_int16,
    logistic_scale,
    tanh_int16,
    tanh_scale,
)
from intaglio.transforms.softmax import int16_scale, int16_tables, softmax_int16
from tests.passes.dialect.one_node import INT16, run, scalars, to
from tests.passes.dialect.python_integers import rescale

EVERY = np.arange(-32768, 32768).astype(np.int16)
SCALES = [2.0**-12, 2.0**-11, 2.0**-13, 1e-5, 3.1e-4, 0.02, 2.5]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("name", "constants", "expected"),
    [
        ("SigmoidInteger16", logistic_scale, logistic_int16),
        ("TanhInteger16", tanh_scale, tanh_int16),
    ],
)
def test_sigmoids_of_every_input(name, constants, expected, scale):
    chosen = constants(scale)
    inputs = {
        "x": EVERY.reshape(256, 256),
        "table": np.array(SIGMOID_TABLE, np.int32),
        **scalars(multiplier=chosen.multiplier, shift=chosen.shift),
    }
    result = run(name, inputs, np.int16)
    np.testing.assert_array_equal(result, expected(EVERY, chosen).reshape(256, 256))


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("scale", [1e-5, 1e-4, 0.003])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_softmax_along_every_axis(axis, scale, precision):
    draw = np.random.default_rng(1)
    x = draw.integers(-32768, 32768, (3, 7, 40)).astype(np.int16)
    x[0], x[1, :, 0] = 5, 32767
    tables, factor = int16_tables(precision), int16_scale(scale)
    inputs = {
        "x": x,
        "exp_table": tables[0],
        "reciprocal_table": tables[1],
        **scalars(multiplier=int(factor.multiplier), shift=int(factor.shift)),
    }
    result = run("SoftmaxInteger16", inputs, np.int16, axis=axis)
    np.testing.assert_array_equal(result, softmax_int16(x, scale, tables, axis))


def test_products_of_two_wide_tensors_are_exact():
    a = np.full((2, 3, 300), -32768, np.int16)
    b = np.random.default_rng(0).integers(-32768, 32768, (2, 300, 4)).astype(np.int16)
    result = run("MatMulInteger16By16", {"a": a, "b": b}, np.int64)
    np.testing.assert_array_equal(result, a.astype(np.int64) @ b.astype(np.int64))


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize("name", ["Max", "Min"])
def test_extremes(name, dtype):
    draw = np.random.default_rng(2)
    limits = np.iinfo(dtype)
    a = draw.integers(limits.min, limits.max, (3, 4), endpoint=True).astype(dtype)
    b = draw.integers(limits.min, limits.max, (1, 4), endpoint=True).astype(dtype)
    chosen = {"Max": np.maximum, "Min": np.minimum}[name]
    np.testing.assert_array_equal(run(f"{name}Integer", {"a": a, "b": b}, dtype), chosen(a, b))
    inputs = {"x": a, "axes": np.array([-1])}
    reduced = run(f"Reduce{name}Integer", inputs, dtype, keepdims=1)
    np.testing.assert_array_equal(reduced, chosen.reduce(a, axis=1, keepdims=True))


@pytest.mark.parametrize("rounding", ["Double", "Single"])
def test_sums_and_magnitudes(rounding):
    x = np.random.default_rng(3).integers(-32768, 32768, (4, 50)).astype(np.int16)
    stage = scalars(zero_point=0, minimum=INT16.min, maximum=INT16.max)
    scale = scalars(multiplier=1717986918, shift=35)
    inputs = {"x": x, "axes": np.array([1]), **scalars(offset=-7), **scale, **stage}
    result = run(f"Sum{rounding}", inputs, np.int16, rank=1, keepdims=0, to=to(np.int16))
    total = (x.sum(axis=1, dtype=np.int64) - 7).astype(object)
    shared = (np.array(1717986918), np.array(35), 0, INT16.min, INT16.max)
    np.testing.assert_array_equal(result, rescale(rounding, total, *shared))
    result = run(f"Abs{rounding}", {"x": x, **scale, **stage}, np.int16, to=to(np.int16))
    size = np.abs(x.astype(np.int64)).astype(object)
    np.testing.assert_array_equal(result, rescale(rounding, size, *shared))


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize(
    ("kernel", "strides", "pads", "dilations"),
    [
        ([2, 2], [2, 2], [0, 0, 0, 0], [1, 1]),
        ([3, 2], [2, 1], [1, 0, 1, 1], [1, 1]),
        ([2, 3], [1, 2], [1, 2, 1, 2], [3, 2]),
        ([1, 1], [3, 3], [0, 0, 0, 0], [1, 1]),
    ],
)
def test_windows_have_their_largest_element(kernel, strides, pads, dilations, ceil):
    x = np.random.default_rng(4).integers(-32768, 32768, (2, 3, 9, 8)).astype(np.int16)
    attributes = {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": pads,
        "dilations": dilations,
        "ceil_mode": ceil,
    }
    result = run("MaxPoolInteger16", {"x": x}, np.int16, **attributes)
    expected = _max_pool(x.astype(np.float32), attributes)
    np.testing.assert_array_equal(result, expected.astype(np.int16))


def _max_pool(x, attributes):
    import onnx
    from onnx import helper

    from tests.passes.dialect.one_node import make_session

    info = helper.make_tensor_value_info
    node = helper.make_node("MaxPool", ["x"], ["y"], **attributes)
    graph = helper.make_graph([node], "g", [info("x", 1, x.shape)], [info("y", 1, [None] * 4)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return make_session(model).run(None, {"x": x})[0]
