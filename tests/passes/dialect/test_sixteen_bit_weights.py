"""Products of int8 activations and int16 weights against plain Python integers."""

from __future__ import annotations

import numpy as np
import onnx.reference
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.passes.dialect.sixteen_bit_weights import MOST_PRODUCTS
from tests.passes.dialect import python_integers as judge
from tests.passes.dialect.one_node import build_model, run
from tests.passes.dialect.test_convolution import geometries, integers

PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ZERO_POINTS = st.sampled_from((-128, -7, 0, 127))


@PROPERTY
@given(g=geometries(), zero_point=ZERO_POINTS, constant=st.booleans())
def test_conv_equals_python_integers(g, zero_point, constant):
    reach = [(k - 1) * d + 1 for k, d in zip(g["kernel"], g["dilations"], strict=True)]
    image = [max(size, r) for size, r in zip(g["image"], reach, strict=True)]
    generator = np.random.default_rng(g["seed"])
    x = integers(generator, np.int8, (g["batch"], g["channels"], *image), g["rails"])
    shape = (g["group"] * g["group_out"], g["channels"] // g["group"], *g["kernel"])
    w = integers(generator, np.int16, shape, g["rails"])
    attributes = {key: g[key] for key in ("strides", "pads", "dilations", "group")}
    inputs = {"x": x, "w": w, "x_zero_point": np.array(zero_point, np.int8)}
    constants = ["w", "x_zero_point"] if constant else ["x_zero_point"]
    result = run("ConvInteger8By16", inputs, np.int64, constants=constants, **attributes)
    # Padding is the real 0, which is 0 once the zero point is gone.
    expected = judge.conv(x.astype(np.int64) - zero_point, w, **attributes)
    np.testing.assert_array_equal(result, expected)


@PROPERTY
@given(
    sizes=st.tuples(st.integers(0, 4), st.integers(1, 40), st.integers(1, 5)),
    zero_point=ZERO_POINTS,
    seed=st.integers(0, 2**32 - 1),
    rails=st.booleans(),
)
def test_matmul_equals_python_integers(sizes, zero_point, seed, rails):
    rows, inner, columns = sizes
    generator = np.random.default_rng(seed)
    a = integers(generator, np.int8, (rows, inner), rails)
    b = integers(generator, np.int16, (inner, columns), rails)
    inputs = {"a": a, "b": b, "a_zero_point": np.array(zero_point, np.int8)}
    result = run("MatMulInteger8By16", inputs, np.int64)
    expected = judge.matmul(a.astype(np.int64) - zero_point, b)
    np.testing.assert_array_equal(result, expected)


#: Both ends, both sides of every carry between the bytes, and the middle.
WEIGHTS = [-32768, -32767, -32640, -257, -256, -255, -129, -128, -127, -1]
WEIGHTS += [0, 1, 127, 128, 255, 256, 32511, 32512, 32639, 32640, 32767]


@pytest.mark.parametrize("zero_point", [-128, -1, 0, 127])
def test_every_activation_by_every_kind_of_weight(zero_point):
    a = np.arange(-128, 128, dtype=np.int8).reshape(256, 1)
    b = np.array([WEIGHTS], np.int16)
    expected = (a.astype(np.int64) - zero_point) * b.astype(np.int64)
    zero = np.array(zero_point, np.int8)
    found = run("MatMulInteger8By16", {"a": a, "b": b, "a_zero_point": zero}, np.int64)
    np.testing.assert_array_equal(found, expected)
    inputs = {"x": a.reshape(256, 1, 1), "w": b.T.reshape(-1, 1, 1), "x_zero_point": zero}
    found = run("ConvInteger8By16", inputs, np.int64, constants=["x_zero_point"])
    np.testing.assert_array_equal(found[..., 0], expected)


@pytest.mark.parametrize("ends", [(-128, -32768), (-128, 32767), (127, -32768), (127, 32767)])
def test_the_longest_sum_of_extremes_is_exact(ends):
    a = np.full((1, MOST_PRODUCTS), ends[0], np.int8)
    b = np.full((MOST_PRODUCTS, 1), ends[1], np.int16)
    zero_point = 127 if ends[0] < 0 else -128
    inputs = {"a": a, "b": b, "a_zero_point": np.array(zero_point, np.int8)}
    result = run("MatMulInteger8By16", inputs, np.int64)
    assert result.item() == (ends[0] - zero_point) * ends[1] * MOST_PRODUCTS


def test_a_longer_sum_of_extremes_would_not_be():
    # The lower bytes alone: 255 * 255 for each product.
    count = MOST_PRODUCTS + 1
    inputs = {
        "a": np.full((1, count), 127, np.int8),
        "b": np.full((count, 1), 255, np.int16),
        "a_zero_point": np.array(-128, np.int8),
    }
    assert run("MatMulInteger8By16", inputs, np.int64).item() != 255 * 255 * count


def test_the_reference_evaluator_agrees():
    generator = np.random.default_rng(3)
    inputs = {
        "a": integers(generator, np.int8, (3, 9), False),
        "b": integers(generator, np.int16, (9, 4), True),
        "a_zero_point": np.array(-9, np.int8),
    }
    model = build_model("MatMulInteger8By16", inputs, np.int64, 2)
    (found,) = onnx.reference.ReferenceEvaluator(model).run(None, inputs)
    expected = (inputs["a"].astype(np.int64) + 9) @ inputs["b"].astype(np.int64)
    np.testing.assert_array_equal(found, expected)
