from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intaglio.transforms.scales import (
    BIAS_LIMIT,
    SMALLEST_SCALE,
    TensorQuantization,
    accumulator_bound,
    activation_quantization,
    bias_quantization,
    weight_quantization,
    weight_scales_for_bias,
)

END = st.floats(-1e30, 1e30, allow_subnormal=True)
DTYPE = st.sampled_from(["int8", "uint8", "int16"])


def end_errors(q: TensorQuantization, low: float, high: float) -> tuple[float, float]:
    """How far the ends of a range are outside the representable one, in steps."""
    bottom = Fraction(q.minimum - q.zero_point[0])
    top = Fraction(q.maximum - q.zero_point[0])
    scale = Fraction(q.scale[0])
    return float(bottom - Fraction(low) / scale), float(Fraction(high) / scale - top)


@settings(max_examples=500, deadline=None)
@given(END, END, DTYPE, st.sampled_from([None, True, False]))
@example(0.0, 5e-324, "int8", None)
@example(-1e30, 1e-30, "int16", False)
def test_activation_range_is_covered_and_zero_exact(
    a: float, b: float, dtype: str, symmetric: bool | None
) -> None:
    low, high = min(a, b), max(a, b)
    q = activation_quantization(low, high, dtype, symmetric)
    assert q.dequantize(q.quantize(0.0)) == 0.0
    # Half a step, and the float32 rounding of the scale over all levels.
    tolerance = 0.5 + (q.maximum - q.minimum) * 2.0**-24
    assert max(end_errors(q, min(low, 0.0), max(high, 0.0))) <= tolerance
    assert not q.per_channel
    assert np.float32(q.scale[0]) == q.scale[0] >= SMALLEST_SCALE


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 0.0), st.floats(1e-3, 1e6))
def test_asymmetric_steps_are_no_larger_than_the_range_needs(low: float, high: float) -> None:
    q = activation_quantization(low, high, "int8")
    assert q.scale[0] == float(np.float32((high - low) / 255))


def test_usual_ranges() -> None:
    relu6 = activation_quantization(0.0, 6.0)
    assert (relu6.scale, relu6.zero_point) == ((float(np.float32(6 / 255)),), (-128,))
    assert activation_quantization(0.0, 6.0, "uint8").zero_point == (0,)
    assert activation_quantization(-6.0, 0.0).zero_point == (127,)
    assert activation_quantization(2.0, 6.0) == relu6
    assert activation_quantization(-1.0, 127 / 128) == TensorQuantization("int8", (1 / 128,), (0,))
    int16 = activation_quantization(-1.0, 2.0, "int16")
    assert (int16.scale, int16.zero_point) == ((float(np.float32(2 / 32767)),), (0,))
    assert activation_quantization(-1.0, 2.0, "uint8", symmetric=True).zero_point == (128,)


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [("int8", 1 / 128, 0), ("uint8", 1 / 128, 128), ("int16", 1 / 32768, 0)],
)
def test_a_range_of_zero_gets_the_scale_of_one(dtype: str, scale: float, zero_point: int) -> None:
    q = activation_quantization(0.0, -0.0, dtype)
    assert q == TensorQuantization(dtype, (scale,), (zero_point,))


def test_without_widening_a_range_off_zero_is_finer_or_refused() -> None:
    # -128 - 1 / (2 / 255) is no int8.
    with pytest.raises(ValueError, match="zero point"):
        activation_quantization(1.0, 3.0, "int8", zero_in_range=False)
    q = activation_quantization(-1.0, 3.0, "int8", zero_in_range=False)
    assert q == activation_quantization(-1.0, 3.0, "int8")
    # Rounding puts the zero point on the last integer although 0.0 is outside the range.
    finer = activation_quantization(0.001, 1.0, "int8", zero_in_range=False)
    assert finer.zero_point == (-128,)
    assert finer.scale[0] < activation_quantization(0.001, 1.0, "int8").scale[0]


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 0.0), (math.nan, 1.0), (0.0, math.inf), (-1e300, 1e300)]
)
def test_impossible_ranges_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=r"range|float32"):
        activation_quantization(low, high)


def test_huge_but_possible_ranges_do_not_overflow() -> None:
    # The width of this range is beyond float32, its step is not.
    largest = float(np.finfo(np.float32).max)
    q = activation_quantization(-largest, largest)
    assert max(end_errors(q, -largest, largest)) <= 0.5001


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1e5, 1e5), min_size=1, max_size=20),
    st.floats(1e-6, 1e3),
    st.integers(-128, 127),
)
def test_quantize_is_the_nearest_integer_ties_to_even_then_clipped(
    x: list[float], scale: float, zero_point: int
) -> None:
    q = TensorQuantization("int8", (scale,), (zero_point,))
    expected = [min(max(round(v / q.scale[0]) + zero_point, -128), 127) for v in x]
    result = q.quantize(x)
    assert result.dtype == np.int8
    assert result.tolist() == expected


def test_halves_go_to_the_even_quotient_before_the_zero_point() -> None:
    q = TensorQuantization("int8", (2.0,), (1,))
    assert q.quantize([-3.0, -1.0, 1.0, 3.0, 5.0]).tolist() == [-1, 1, 1, 3, 3]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_every_integer_survives_dequantize_and_quantize(dtype: str) -> None:
    q = activation_quantization(-0.7, 2.3, dtype)
    integers = np.arange(q.minimum, q.maximum + 1).astype(q.numpy_dtype)
    real = q.dequantize(integers)
    assert real.dtype == np.float32
    np.testing.assert_array_equal(q.quantize(real), integers)


def test_quantize_saturates_infinity_and_refuses_nan() -> None:
    q = TensorQuantization("int8", (SMALLEST_SCALE,), (3,))
    assert q.quantize([math.inf, -math.inf, 1e38, 1e300]).tolist() == [127, -128, 127, 127]
    with pytest.raises(ValueError, match="NaN"):
        q.quantize([0.0, math.nan])
    wide = TensorQuantization("int64", (1.0,), (0,))
    assert wide.quantize([1e30, -1e30, 2.0**60]).tolist() == [2**63 - 1024, -(2**63), 2**60]


def test_channels_use_their_own_scale_on_any_axis() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    q = TensorQuantization("int16", (1.0, 0.5, 0.25), (0, 1, 2), axis=1)
    for channel in range(3):
        alone = TensorQuantization("int16", (q.scale[channel],), (q.zero_point[channel],))
        np.testing.assert_array_equal(q.quantize(x)[:, channel], alone.quantize(x[:, channel]))
    np.testing.assert_array_equal(q.dequantize(q.quantize(x)), x)
    from_the_end = TensorQuantization("int16", q.scale, q.zero_point, axis=-2)
    np.testing.assert_array_equal(from_the_end.quantize(x), q.quantize(x))
    with pytest.raises(ValueError, match="channels"):
        q.quantize(x.transpose(1, 0, 2))
    with pytest.raises(ValueError, match="axis"):
        q.quantize(x[0, 0])


@pytest.mark.parametrize(
    "fields",
    [
        ("int4", (1.0,), (0,), None),
        ("int8", (), (), None),
        ("int8", (1.0,), (0, 0), None),
        ("int8", (1.0, 2.0), (0, 0), None),
        ("int8", (0.0,), (0,), None),
        ("int8", (-1.0,), (0,), None),
        ("int8", (math.nan,), (0,), None),
        ("int8", (1e39,), (0,), None),
        ("int8", (1e-60,), (0,), None),
        ("int8", (1.0,), (128,), None),
        ("uint8", (1.0,), (-1,), None),
    ],
)
def test_contradictory_quantization_is_refused(fields: tuple) -> None:
    with pytest.raises(ValueError):
        TensorQuantization(*fields)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(1e-37, 1e37), min_size=1, max_size=4), st.booleans())
def test_json_round_trip_is_exact(scales: list[float], per_channel: bool) -> None:
    scales = scales if per_channel else scales[:1]
    q = TensorQuantization("int8", tuple(scales), (0,) * len(scales), 0 if per_channel else None)
    assert TensorQuantization.from_dict(json.loads(json.dumps(q.to_dict()))) == q


def test_from_dict_refuses_unknown_and_missing_keys() -> None:
    good = TensorQuantization("int8", (1.0,), (0,)).to_dict()
    with pytest.raises(ValueError, match="keys"):
        TensorQuantization.from_dict({**good, "scales": [1.0]})
    del good["scale"]
    with pytest.raises(ValueError, match="keys"):
        TensorQuantization.from_dict(good)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2), st.sampled_from(["int8", "int16"]))
def test_weights_fill_the_narrow_range_of_each_channel(seed: int, axis: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    w = (rng.normal(size=(2, 3, 4)) * 10.0 ** rng.integers(-30, 30)).astype(np.float32)
    q = weight_quantization(w, axis, dtype)
    maximum = np.iinfo(dtype).max
    integers = q.quantize(w).astype(np.int64)
    others = tuple(i for i in range(3) if i != axis)
    assert (np.abs(integers).max(axis=others) == maximum).all()
    assert q.zero_point == (0,) * w.shape[axis]
    assert q.axis == axis


def test_per_tensor_and_single_channel_weights() -> None:
    w = np.array([[[-1.27, 0.5]]])
    assert weight_quantization(w, None).scale == weight_quantization(w, 0).scale
    assert weight_quantization(w, None).axis is None
    assert weight_quantization(w, -1).axis == 2
    assert weight_quantization(w, 0).scale == (float(np.float32(0.01)),)


def test_wide_weights_use_the_most_negative_integer() -> None:
    q = weight_quantization(np.array([-1.28, 0.5]), None, narrow=False)
    assert q.scale == (float(np.float32(0.01)),)
    assert q.quantize([-1.28]) == -128
    assert weight_quantization(np.array([-0.5, 1.27]), None, narrow=False).scale == q.scale


def test_channels_of_zeros_take_the_largest_scale() -> None:
    q = weight_quantization(np.array([[1.27, 0.0], [0.0, 0.0], [2.54, 1.0]]), 0)
    assert q.scale == tuple(float(np.float32(s)) for s in (0.01, 0.02, 0.02))
    assert weight_quantization(np.zeros((2, 2)), 0).scale == (1.0, 1.0)
    assert weight_quantization(np.full((1, 2), 1e-45), 0).scale == (SMALLEST_SCALE,)


def test_impossible_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        weight_quantization(np.array([np.inf]), None)
    with pytest.raises(ValueError, match="empty"):
        weight_quantization(np.zeros((0, 2)), 0)
    with pytest.raises(ValueError, match="axis"):
        weight_quantization(np.zeros((2, 2)), 2)
    with pytest.raises(ValueError, match="uint8"):
        weight_quantization(np.zeros((2, 2)), 0, "uint8")


def test_bias_scale_is_the_float32_product() -> None:
    weight = TensorQuantization("int8", (0.1, 0.3), (0, 0), axis=3)
    bias = bias_quantization(0.7, weight)
    x = np.float32(0.7)
    assert bias.scale == tuple(float(np.float32(float(x) * s)) for s in weight.scale)
    assert (bias.dtype, bias.zero_point, bias.axis) == ("int32", (0, 0), 0)
    assert bias_quantization(0.7, TensorQuantization("int8", (0.1,), (0,))).axis is None
    with pytest.raises(ValueError, match="times"):
        bias_quantization(1e-30, TensorQuantization("int8", (1e-30,), (0,)))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3),
    st.floats(1e-20, 1e3),
    st.lists(st.floats(1e-20, 1e3), min_size=3, max_size=3),
    st.sampled_from([BIAS_LIMIT, 2**31 - 1, 1000]),
)
def test_raised_scales_are_the_smallest_that_hold_the_bias(
    bias: list[float], input_scale: float, scales: list[float], limit: int
) -> None:
    x = np.float32(input_scale)
    result = weight_scales_for_bias(bias, input_scale, scales, limit)

    def fits(b: float, scale: np.float32) -> bool:
        product = np.float32(float(x) * float(scale))
        return float(product) >= SMALLEST_SCALE and abs(b) / float(product) <= limit * (1 + 1e-15)

    for i, (b, old, new) in enumerate(zip(bias, scales, result.scales, strict=True)):
        assert fits(b, np.float32(new))
        if i in result.channels:
            assert new > np.float32(old)
            assert not fits(b, np.nextafter(np.float32(new), np.float32(0)))
        else:
            assert new == np.float32(old)


def test_raised_scales_really_keep_the_bias_in_int32() -> None:
    bias, input_scale, scales = [5000.0, 1.0, 0.0], 1e-5, [1e-4, 1e-4, 1e-4]
    raised = weight_scales_for_bias(bias, input_scale, scales)
    assert raised.channels == (0,)
    q = bias_quantization(input_scale, TensorQuantization("int8", raised.scales, (0,) * 3, axis=0))
    np.testing.assert_allclose(q.dequantize(q.quantize(bias)), bias, rtol=1e-6)
    assert abs(int(q.quantize(bias)[0])) <= BIAS_LIMIT


def test_one_scale_serves_all_biases() -> None:
    raised = weight_scales_for_bias([1.0, -2000.0], 1e-3, [1e-5])
    assert raised.channels == (0,)
    assert 2000 / (1e-3 * raised.scales[0]) == pytest.approx(BIAS_LIMIT, rel=1e-6)


def test_impossible_biases_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        weight_scales_for_bias([math.nan], 1.0, [1.0])
    with pytest.raises(ValueError, match="2 biases"):
        weight_scales_for_bias([1.0, 2.0], 1.0, [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="no float32"):
        weight_scales_for_bias([1e300], 1.0, [1.0])
    with pytest.raises(ValueError, match="limit"):
        weight_scales_for_bias([1.0], 1.0, [1.0], limit=0)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(-128, 127), min_size=3, max_size=3), min_size=1, max_size=3),
    st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(-5, 5)),
    st.integers(-100, 100),
)
def test_accumulator_bound_is_reached_and_never_passed(
    weights: list[list[int]], ends: tuple[int, int, int], bias: int
) -> None:
    low, high, zero_point = min(ends[:2]), max(ends[:2]), ends[2]
    bounds = accumulator_bound(weights, low, high, zero_point, [bias] * len(weights))
    # Brute force: every input, a padded element being a difference of 0; the bias first, last
    # or absent.
    differences = {0, *(v - zero_point for v in range(low, high + 1))}
    for row, bound in zip(weights, bounds, strict=True):
        largest = 0
        for inputs in itertools.product(differences, repeat=3):
            products = [w * d for w, d in zip(row, inputs, strict=True)]
            for start in (0, bias):
                partial = list(itertools.accumulate([start, *products]))
                largest = max(largest, *(abs(p) for p in partial))
        assert bound == largest


def test_accumulator_bound_of_an_int8_layer() -> None:
    weights = np.full((2, 3, 3, 64), 127, np.int8)
    weights[1] = -127
    bounds = accumulator_bound(weights, -128, 127, -128, np.array([1000, -7], np.int32))
    assert bounds.dtype == np.int64
    assert bounds.tolist() == [576 * 127 * 255 + 1000, 576 * 127 * 255 + 7]
    assert accumulator_bound(weights, -128, 127, -128, None).tolist() == [576 * 127 * 255] * 2


def test_accumulator_bound_saturates_instead_of_wrapping() -> None:
    bias = np.array([2**63 - 1, -(2**63)], np.int64)
    bounds = accumulator_bound(np.ones((2, 1), np.int8), -128, 127, 0, bias)
    assert bounds.tolist() == [2**63 - 1, 2**63 - 1]


def test_accumulator_bound_refuses_bad_operands() -> None:
    with pytest.raises(ValueError, match="integer"):
        accumulator_bound(np.ones((2, 2)), 0, 1, 0, None)
    with pytest.raises(ValueError, match="biases"):
        accumulator_bound(np.ones((2, 2), np.int8), 0, 1, 0, [1])
    with pytest.raises(ValueError, match="range"):
        accumulator_bound(np.ones((2, 2), np.int8), 1, 0, 0, None)
