"""Means of the dialect against plain Python integers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.passes.dialect import python_integers as judge
from tests.passes.dialect.one_node import make_session, run, scalars, to

PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def integers(generator, dtype, shape, spread):
    limits = np.iinfo(dtype)
    if spread == "rails":
        return generator.choice(np.array([limits.min, limits.max], dtype), shape)
    low, high = (limits.min, limits.max) if spread == "full" else (-2, 2)
    return generator.integers(low, high, shape, endpoint=True).astype(dtype)


@pytest.mark.parametrize("rounding", ["Double", "Single"])
@PROPERTY
@given(data=st.data())
def test_mean_equals_python_integers(rounding, data):
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shape = data.draw(st.sampled_from(((2, 3, 5, 7), (1, 1, 1, 1), (0, 3, 2, 2), (1, 2, 31, 17))))
    axes = data.draw(st.sampled_from(((2, 3), (-1,), (1,), (0, 1, 2, 3), (3, 1))))
    dtype = data.draw(st.sampled_from((np.int8, np.int16)))
    spread = data.draw(st.sampled_from(("full", "rails", "near zero")))
    x = integers(generator, dtype, shape, spread)
    zero_point = data.draw(st.sampled_from((-128, 0, 7, 127))) if dtype == np.int8 else 0
    elements = int(np.prod([shape[axis] for axis in axes]))
    keepdims = data.draw(st.sampled_from((0, 1)))
    limits = np.iinfo(dtype)
    parameters = {
        "offset": -elements * zero_point,
        # The division by the number of elements may take the multiplier below 2^30.
        "multiplier": data.draw(st.integers(2**29, 2**31 - 1)),
        "shift": data.draw(st.integers(30, 44)),
        "zero_point": zero_point,
        "minimum": int(limits.min),
        "maximum": int(limits.max),
    }
    inputs = {"x": x, "axes": np.array(axes, np.int64), **scalars(**parameters)}
    rank = 4 if keepdims else 4 - len(axes)
    attributes = {"keepdims": keepdims, "to": to(dtype)}
    result = run(f"Mean{rounding}", inputs, dtype, rank=rank, **attributes)
    expected = judge.mean(rounding, x, axes, keepdims, parameters)
    np.testing.assert_array_equal(result, expected)


def test_mean_of_a_large_image_with_constant_parameters():
    generator = np.random.default_rng(1)
    x = integers(generator, np.int8, (1, 2, 224, 224), "rails")
    parameters = {
        "offset": 128 * 224 * 224,
        "multiplier": 2**30,
        "shift": 46,
        "zero_point": -128,
        "minimum": -128,
        "maximum": 127,
    }
    inputs = {"x": x, "axes": np.array([2, 3]), **scalars(**parameters)}
    constants = [name for name in inputs if name != "x"]
    result = run("MeanDouble", inputs, np.int8, constants=constants, to=to(np.int8))
    sums = x.astype(np.int64).sum(axis=(2, 3), keepdims=True) + parameters["offset"]
    expected = judge.rescale("Double", sums, 2**30, 46, -128, -128, 127)
    np.testing.assert_array_equal(result, expected)


@st.composite
def windows(draw):
    """An image and a pooling: pads below the kernel, kernel inside the padded image."""
    geometry = {"image": [], "kernel": [], "strides": [], "begin": [], "end": []}
    for _ in range(2):
        kernel = draw(st.integers(1, 5))
        begin, end = draw(st.integers(0, kernel - 1)), draw(st.integers(0, kernel - 1))
        smallest = max(1, kernel - begin - end)
        geometry["image"].append(draw(st.integers(smallest, smallest + 6)))
        geometry["kernel"].append(kernel)
        geometry["strides"].append(draw(st.integers(1, 7)))
        geometry["begin"].append(begin)
        geometry["end"].append(end)
    return geometry


@PROPERTY
@given(
    g=windows(),
    lead=st.sampled_from(((1, 1), (2, 3), (0, 2))),
    dtype=st.sampled_from((np.int8, np.int16)),
    spread=st.sampled_from(("full", "rails", "near zero")),
    ceil_mode=st.sampled_from((0, 1)),
    seed=st.integers(0, 2**32 - 1),
)
def test_average_pool_equals_python_integers(g, lead, dtype, spread, ceil_mode, seed):
    x = integers(np.random.default_rng(seed), dtype, (*lead, *g["image"]), spread)
    attributes = {
        "kernel_shape": tuple(g["kernel"]),
        "strides": tuple(g["strides"]),
        "pads": (*g["begin"], *g["end"]),
        "ceil_mode": ceil_mode,
    }
    result = run("AveragePoolInteger", {"x": x}, dtype, **attributes)
    expected = judge.average_pool(
        x, attributes["kernel_shape"], attributes["strides"], attributes["pads"], ceil_mode
    )
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize(
    ("image", "kernel", "strides", "pads"),
    [
        ((7, 6), (3, 2), (2, 3), (1, 0, 1, 1)),
        ((5, 5), (2, 2), (4, 4), (1, 1, 1, 1)),
        ((4, 9), (3, 3), (2, 2), (2, 2, 2, 2)),
        ((31, 20), (31, 20), (1, 1), (0, 0, 0, 0)),
    ],
)
def test_average_pool_has_the_windows_of_the_standard_operator(
    image, kernel, strides, pads, ceil_mode
):
    attributes = {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": ceil_mode}
    x = integers(np.random.default_rng(8), np.int8, (1, 2, *image), "full")
    result = run("AveragePoolInteger", {"x": x}, np.int8, **attributes)
    float_graph = helper.make_graph(
        [helper.make_node("AveragePool", ["x"], ["y"], **attributes)],
        "float_pool",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
    )
    opset = [helper.make_opsetid("", 21)]
    session = make_session(helper.make_model(float_graph, opset_imports=opset, ir_version=10))
    (exact,) = session.run(None, {"x": x.astype(np.float32)})
    assert result.shape == exact.shape
    assert np.abs(result - exact).max() <= 0.5 + 1e-4


def test_average_pool_rounds_ties_away_from_zero_by_default_attributes():
    x = np.array([[[[1, 2, -1, -2]]]], np.int8)
    result = run("AveragePoolInteger", {"x": x}, np.int8, kernel_shape=(1, 2))
    assert result.ravel().tolist() == [2, 1, -2]
