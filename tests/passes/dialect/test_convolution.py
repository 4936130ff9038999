"""Convolutions and products of the dialect against plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.passes.dialect import python_integers as judge
from tests.passes.dialect.one_node import run

PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def integers(generator, dtype, shape, rails):
    limits = np.iinfo(dtype)
    if rails:
        return generator.choice(np.array([limits.min, limits.max], dtype), shape)
    return generator.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def geometries(draw):
    """Sizes of a convolution: groups, odd shapes, stride above kernel, asymmetric pads."""
    group = draw(st.integers(1, 3))
    return {
        "batch": draw(st.integers(1, 2)),
        "group": group,
        "channels": group * draw(st.integers(1, 2)),
        "group_out": draw(st.integers(1, 2)),
        "image": draw(pairs(1, 6)),
        "kernel": draw(pairs(1, 4)),
        "strides": draw(pairs(1, 5)),
        "dilations": draw(pairs(1, 2)),
        "pads": draw(st.tuples(*[st.integers(0, 2)] * 4)),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "rails": draw(st.booleans()),
    }


@PROPERTY
@given(geometries())
def test_conv_of_int16_equals_python_integers(g):
    reach = [(k - 1) * d + 1 for k, d in zip(g["kernel"], g["dilations"], strict=True)]
    image = [max(size, r) for size, r in zip(g["image"], reach, strict=True)]
    generator = np.random.default_rng(g["seed"])
    x = integers(generator, np.int16, (g["batch"], g["channels"], *image), g["rails"])
    weight_shape = (g["group"] * g["group_out"], g["channels"] // g["group"], *g["kernel"])
    w = integers(generator, np.int8, weight_shape, g["rails"])
    attributes = {key: g[key] for key in ("strides", "pads", "dilations", "group")}
    result = run("ConvInteger16", {"x": x, "w": w}, np.int64, **attributes)
    np.testing.assert_array_equal(result, judge.conv(x, w, **attributes))


def test_conv_of_int16_without_attributes_and_with_kernel_shape():
    generator = np.random.default_rng(2)
    x = integers(generator, np.int16, (2, 3, 5, 4), False)
    w = integers(generator, np.int8, (4, 3, 2, 3), False)
    expected = judge.conv(x, w, (1, 1), (0, 0, 0, 0), (1, 1), 1)
    for attributes in ({}, {"kernel_shape": (2, 3)}):
        result = run("ConvInteger16", {"x": x, "w": w}, np.int64, constants=["w"], **attributes)
        np.testing.assert_array_equal(result, expected)


def test_conv_of_int16_beyond_32_bits():
    x = np.full((1, 600, 2, 2), -32768, np.int16)
    w = np.full((1, 600, 2, 2), 127, np.int8)
    result = run("ConvInteger16", {"x": x, "w": w}, np.int64)
    assert result.item() == -32768 * 127 * 2400 < -(2**31)


def test_conv_of_an_empty_batch():
    x, w = np.zeros((0, 2, 5, 5), np.int16), np.ones((3, 2, 3, 3), np.int8)
    assert run("ConvInteger16", {"x": x, "w": w}, np.int64).shape == (0, 3, 3, 3)


@PROPERTY
@given(
    sizes=st.tuples(st.integers(0, 4), st.integers(1, 40), st.integers(1, 5)),
    seed=st.integers(0, 2**32 - 1),
    rails=st.booleans(),
)
def test_matmul_of_int16_equals_python_integers(sizes, seed, rails):
    rows, inner, columns = sizes
    generator = np.random.default_rng(seed)
    a = integers(generator, np.int16, (rows, inner), rails)
    b = integers(generator, np.int8, (inner, columns), rails)
    result = run("MatMulInteger16", {"a": a, "b": b}, np.int64)
    np.testing.assert_array_equal(result, judge.matmul(a, b))


def test_batched_matmul_of_int16():
    generator = np.random.default_rng(4)
    a = integers(generator, np.int16, (2, 3, 4, 5), False)
    b = integers(generator, np.int8, (5, 6), False)
    result = run("MatMulInteger16", {"a": a, "b": b}, np.int64)
    np.testing.assert_array_equal(result, a.astype(np.int64) @ b.astype(np.int64))


def transposed(g, data):
    """Arrays and attributes of a ConvTranspose with an output of at least one element."""
    padding_limit = [max(s, d) - 1 for s, d in zip(g["strides"], g["dilations"], strict=True)]
    output_padding = [data.draw(st.integers(0, limit)) for limit in padding_limit]
    pads = list(g["pads"])
    for axis in range(2):
        size = (
            g["strides"][axis] * (g["image"][axis] - 1)
            + output_padding[axis]
            + (g["kernel"][axis] - 1) * g["dilations"][axis]
            + 1
        )
        pads[axis] = min(pads[axis], size - 1)
        pads[axis + 2] = min(pads[axis + 2], size - 1 - pads[axis])
    generator = np.random.default_rng(g["seed"])
    weight_shape = (g["channels"], g["group_out"], *g["kernel"])
    w = integers(generator, np.int8, weight_shape, g["rails"])
    attributes = {
        "strides": g["strides"],
        "pads": tuple(pads),
        "output_padding": tuple(output_padding),
        "dilations": g["dilations"],
        "group": g["group"],
    }
    shape = (g["batch"], g["channels"], *g["image"])
    return generator, shape, w, attributes


@PROPERTY
@given(g=geometries(), zero_point=st.sampled_from((-128, -5, 0, 127)), data=st.data())
def test_conv_transpose_equals_python_integers(g, zero_point, data):
    generator, shape, w, attributes = transposed(g, data)
    x = integers(generator, np.int8, shape, g["rails"])
    inputs = {"x": x, "w": w, "x_zero_point": np.array(zero_point, np.int8)}
    constants = ["w", "x_zero_point"] if data.draw(st.booleans()) else []
    result = run("ConvTransposeInteger", inputs, np.int32, constants=constants, **attributes)
    expected = judge.conv_transpose(x, w, zero_point, **attributes)
    np.testing.assert_array_equal(result, expected)


@PROPERTY
@given(g=geometries(), data=st.data())
def test_conv_transpose_of_int16_equals_python_integers(g, data):
    generator, shape, w, attributes = transposed(g, data)
    x = integers(generator, np.int16, shape, g["rails"])
    result = run("ConvTransposeInteger16", {"x": x, "w": w}, np.int64, **attributes)
    np.testing.assert_array_equal(result, judge.conv_transpose(x, w, 0, **attributes))


@pytest.mark.parametrize("batch", [0, 1])
def test_conv_transpose_with_a_kernel_larger_than_the_image_and_defaults(batch):
    generator = np.random.default_rng(5)
    x = integers(generator, np.int8, (batch, 1, 2, 1), False)
    w = integers(generator, np.int8, (1, 1, 9, 9), False)
    inputs = {"x": x, "w": w, "x_zero_point": np.array(3, np.int8)}
    result = run("ConvTransposeInteger", inputs, np.int32)
    expected = judge.conv_transpose(x, w, 3, (1, 1), (0, 0, 0, 0), (0, 0), (1, 1), 1)
    np.testing.assert_array_equal(result, expected)


def test_conv_transpose_of_a_super_resolution_head():
    generator = np.random.default_rng(6)
    x = integers(generator, np.int8, (1, 4, 6, 5), False)
    w = integers(generator, np.int8, (4, 1, 9, 9), False)
    attributes = {"strides": (4, 4), "pads": (4, 4, 4, 4), "output_padding": (3, 3)}
    inputs = {"x": x, "w": w, "x_zero_point": np.array(-128, np.int8)}
    result = run(
        "ConvTransposeInteger", inputs, np.int32, constants=["w", "x_zero_point"], **attributes
    )
    expected = judge.conv_transpose(x, w, -128, dilations=(1, 1), group=1, **attributes)
    assert result.shape == (1, 1, 24, 20)
    np.testing.assert_array_equal(result, expected)
