"""Layers with weights: read, they compute what LiteRT's reference kernels compute."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.errors import InputError, UnsupportedError
from tests.targets.tflite.one_operator import (
    Judge,
    T,
    check,
    constant,
    feed,
    lower,
    one,
    options,
    read,
    run_read,
)

QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6 = range(4)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    found = Judge(tmp_path_factory.mktemp("judge"))
    yield found
    found.close()


def random(shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def quantized_weight(shape, axis, seed=0):
    """int8 weights with a scale for each index of ``axis`` (none: one scale)."""
    rng = np.random.default_rng(seed)
    data = rng.integers(-127, 128, shape).astype(np.int8)
    count = 1 if axis is None else shape[axis]
    scale = rng.uniform(0.002, 0.02, count).astype(np.float32)
    return T(shape, "int8", data, scale if axis is not None else float(scale[0]), 0, axis or 0)


def quantized_bias(x_scale, weight, units, dtype="int32", seed=1):
    data = np.random.default_rng(seed).integers(-3000, 3000, units).astype(dtype)
    scale = np.float32(x_scale) * np.asarray(weight.scale, np.float32)
    return T((units,), dtype, data, scale)


def out_size(size, kernel, stride, dilation, padding):
    if padding == SAME:
        return -(-size // stride)
    return (size - (kernel - 1) * dilation - 1) // stride + 1


windows = st.fixed_dictionaries(
    {
        "size": st.tuples(st.integers(5, 9), st.integers(5, 9)),
        "kernel": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "dilation": st.integers(1, 2),
        "padding": st.sampled_from([SAME, VALID]),
        "activation": st.sampled_from([NONE, RELU, RELU_N1_TO_1, RELU6]),
        "seed": st.integers(0, 99),
    }
)


def convolution(name, window, channels, weight_shape, kind, dtype, **chosen):
    """A file of one CONV_2D or DEPTHWISE_CONV_2D."""
    (h, w), (kh, kw), (sh, sw) = window["size"], window["kernel"], window["stride"]
    dilation = window["dilation"] if (sh, sw) == (1, 1) else 1
    units = weight_shape[0] if name == "CONV_2D" else weight_shape[3]
    axis = 0 if name == "CONV_2D" else 3
    result = (
        1,
        out_size(h, kh, sh, dilation, window["padding"]),
        out_size(w, kw, sw, dilation, window["padding"]),
        units,
    )
    found = options(
        kind,
        padding=window["padding"],
        strideH=sh,
        strideW=sw,
        dilationHFactor=dilation,
        dilationWFactor=dilation,
        fusedActivationFunction=window["activation"],
        **chosen,
    )
    seed = window["seed"]
    if dtype == "float32":
        weight, bias = random(weight_shape, seed), random((units,), seed + 1)
        tensors = [
            T((1, h, w, channels)),
            T(weight_shape, data=weight),
            T((units,), data=bias),
        ]
        return one(name, tensors, [T(result)], found)
    zero, wide = (7, "int32") if dtype == "int8" else (0, "int64")
    scale = 0.04 if dtype == "int8" else 0.0002
    weight = quantized_weight(weight_shape, axis, seed)
    bias = quantized_bias(scale, weight, units, wide)
    x = T((1, h, w, channels), dtype, scale=scale, zero_point=zero)
    y = T(result, dtype, scale=scale * 2, zero_point=-zero)
    return one(name, [x, weight, bias], [y], found, version=3 if dtype == "int8" else 4)


@QUICK
@given(windows, st.integers(1, 4), st.integers(1, 4), st.sampled_from(["float32", "int8", "int16"]))
def test_a_convolution(judge, window, channels, units, dtype):
    shape = (units, *window["kernel"], channels)
    file = convolution("CONV_2D", window, channels, shape, "Conv2D", dtype)
    check(judge, file, integer=dtype != "float32", tolerance=1e-5, codes_off=1)


@QUICK
@given(windows, st.integers(1, 3), st.sampled_from(["float32", "int8"]))
def test_a_grouped_convolution(judge, window, depth, dtype):
    shape = (4, *window["kernel"], depth)
    file = convolution("CONV_2D", window, 2 * depth, shape, "Conv2D", dtype)
    check(judge, file, integer=dtype != "float32", tolerance=1e-5, codes_off=1)


@QUICK
@given(windows, st.integers(1, 4), st.integers(1, 3), st.sampled_from(["float32", "int8", "int16"]))
def test_a_depthwise_convolution_with_a_multiplier(judge, window, channels, multiplier, dtype):
    shape = (1, *window["kernel"], channels * multiplier)
    # The depthwise kernels have one stride for both dimensions.
    window["stride"] = (window["stride"][0],) * 2
    file = convolution(
        "DEPTHWISE_CONV_2D",
        window,
        channels,
        shape,
        "DepthwiseConv2D",
        dtype,
        depthMultiplier=multiplier,
    )
    check(judge, file, integer=dtype != "float32", tolerance=1e-5, codes_off=1)


@QUICK
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([SAME, VALID]),
    st.sampled_from(["float32", "int8"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_a_transposed_convolution(judge, size, kernel, stride, padding, dtype, biased, seed):
    if padding == SAME:
        target = [n * s for n, s in zip(size, stride, strict=True)]
    else:
        steps = zip(size, kernel, stride, strict=True)
        target = [(n - 1) * s + max(k, s) for n, k, s in steps]
    channels, units = 3, 2
    shape, result = (units, *kernel, channels), (1, *target, units)
    found = options("TransposeConv", padding=padding, strideH=stride[0], strideW=stride[1])
    where = constant(result)
    if dtype == "float32":
        inputs = [where, T(shape, data=random(shape, seed)), T((1, *size, channels))]
        bias = T((units,), data=random((units,), seed + 1))
        y = T(result)
    else:
        weight = quantized_weight(shape, 0, seed)
        inputs = [where, weight, T((1, *size, channels), "int8", scale=0.05, zero_point=-3)]
        bias = quantized_bias(0.05, weight, units)
        y = T(result, "int8", scale=0.1, zero_point=11)
    file = one("TRANSPOSE_CONV", [*inputs, *([bias] if biased else [])], [y], found, version=3)
    check(judge, file, integer=dtype != "float32", tolerance=1e-5, codes_off=1)


@QUICK
@given(
    st.sampled_from([(3, 8), (1, 1, 1, 8), (2, 3, 8), (2, 2, 4)]),
    st.booleans(),
    st.sampled_from(["float32", "int8", "int16"]),
    st.booleans(),
    st.sampled_from([NONE, RELU, RELU6]),
)
def test_a_fully_connected_layer(judge, shape, keep, dtype, biased, activation):
    depth, units = 8, 5
    if keep and shape[-1] != depth:
        shape = (3, depth)
    rows = int(np.prod(shape)) // depth
    result = (*shape[:-1], units) if keep else (rows, units)
    found = options("FullyConnected", keepNumDims=keep, fusedActivationFunction=activation)
    if dtype == "float32":
        weight, bias = T((units, depth), data=random((units, depth))), T((units,), data=random(5))
        x, y = T(shape), T(result)
    else:
        zero, wide = (4, "int32") if dtype == "int8" else (0, "int64")
        weight = quantized_weight((units, depth), None)
        bias = quantized_bias(0.03, weight, units, wide)
        x = T(shape, dtype, scale=0.03, zero_point=zero)
        y = T(result, dtype, scale=0.07, zero_point=-zero)
    inputs = [x, weight, *([bias] if biased else [])]
    file = one("FULLY_CONNECTED", inputs, [y], found, version=5)
    check(judge, file, integer=dtype != "float32", tolerance=1e-5, codes_off=1)


def test_a_fully_connected_layer_with_a_scale_for_each_unit(judge):
    weight = quantized_weight((5, 8), 0)
    x = T((2, 8), "int8", scale=0.03, zero_point=4)
    y = T((2, 5), "int8", scale=0.07, zero_point=-4)
    bias = quantized_bias(0.03, weight, 5)
    file = one("FULLY_CONNECTED", [x, weight, bias], [y], options("FullyConnected"), version=5)
    check(judge, file, integer=True, codes_off=1)


def test_weights_that_are_computed(judge):
    inputs = [T((3, 8)), T((5, 8))]
    file = one("FULLY_CONNECTED", inputs, [T((3, 5))], options("FullyConnected"))
    check(judge, file, tolerance=1e-5)


def test_eight_bit_weights_of_a_float_layer_are_read_as_floats():
    weight = quantized_weight((5, 8), None)
    file = one("FULLY_CONNECTED", [T((3, 8)), weight], [T((3, 5))], options("FullyConnected"))
    model = read(file)
    [x] = feed(model)
    [y] = run_read(model, [x])
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in model.graph}
    expected = x @ (np.asarray(weight.data, np.float32) * np.float32(weight.scale)).T
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_unsigned_weights_of_old_files(judge):
    rng = np.random.default_rng(5)
    weight = T((4, 3, 3, 2), "uint8", rng.integers(0, 256, (4, 3, 3, 2)), 0.01, 131)
    bias = T((4,), "int32", rng.integers(-900, 900, 4), 0.05 * 0.01)
    x = T((1, 6, 6, 2), "uint8", scale=0.05, zero_point=120)
    y = T((1, 6, 6, 4), "uint8", scale=0.09, zero_point=127)
    found = options("Conv2D", padding=SAME, strideH=1, strideW=1)
    model = check(judge, one("CONV_2D", [x, weight, bias], [y], found), codes_off=1)
    assert model.graph.inputs[0].dtype.numpy() == np.uint8
    assert lower(model).graph.inputs[0].dtype.numpy() == np.int8


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 4), (1, 2), (5, 3)])
@pytest.mark.parametrize("size", [(3, 3), (4, 5)])
def test_mediapipes_transposed_convolution_adds_its_bias(size, kernel, padding):
    """Against the scattering that its source describes."""
    stride = 2
    weight, bias = random((2, *kernel, 3)), random((2,), 4)
    pads = [
        max(0, k - (n - 1) % stride - 1) if padding == SAME else 0
        for n, k in zip(size, kernel, strict=True)
    ]
    full = [stride * (n - 1) + k for n, k in zip(size, kernel, strict=True)]
    target = [f - p for f, p in zip(full, pads, strict=True)]
    tensors = [T((1, *size, 3)), T(weight.shape, data=weight), T((2,), data=bias)]
    custom = struct.pack("<iii", 1 if padding == SAME else 2, stride, stride)
    model = read(one("Convolution2DTransposeBias", tensors, [T((1, *target, 2))], custom))
    [x] = feed(model)
    [y] = run_read(model, [x])
    whole = np.zeros((*full, 2))
    for row, column in np.ndindex(*size):
        patch = np.einsum("i,oyxi->yxo", x[0, row, column], weight)
        top, left = row * stride, column * stride
        whole[top : top + kernel[0], left : left + kernel[1]] += patch
    (top, left), (height, width) = [p // 2 for p in pads], target
    expected = whole[top : top + height, left : left + width] + bias
    np.testing.assert_allclose(y[0], expected, rtol=1e-5, atol=1e-5)


def test_a_bias_that_passes_32_bits_is_refused():
    weight = quantized_weight((5, 8), None)
    bias = T((5,), "int64", np.array([2**40, 0, 0, 0, 0]), 0.001)
    x = T((2, 8), "int16", scale=0.01)
    y = T((2, 5), "int16", scale=0.02)
    file = one("FULLY_CONNECTED", [x, weight, bias], [y], options("FullyConnected"), version=7)
    with pytest.raises(UnsupportedError, match="does not fit int32"):
        read(file)


def test_a_stride_of_nothing_is_damage():
    tensors = [T((1, 4, 4, 1)), T((1, 2, 2, 1), data=random((1, 2, 2, 1)))]
    with pytest.raises(InputError, match="stride 0x0"):
        read(one("CONV_2D", tensors, [T((1, 4, 4, 1))], None))


def test_weights_that_do_not_fit_the_input_are_damage():
    tensors = [T((1, 4, 4, 3)), T((1, 2, 2, 2), data=random((1, 2, 2, 2)))]
    found = options("Conv2D", strideH=1, strideW=1)
    with pytest.raises(InputError, match="3 input channels and weights for 2"):
        read(one("CONV_2D", tensors, [T((1, 4, 4, 1))], found))


def test_an_int32_bias_of_int16_inputs_is_read_with_a_warning():
    weight = quantized_weight((5, 8), None)
    bias = quantized_bias(0.01, weight, 5)
    x, y = T((2, 8), "int16", scale=0.01), T((2, 5), "int16", scale=0.02)
    file = one("FULLY_CONNECTED", [x, weight, bias], [y], options("FullyConnected"), version=7)
    assert "a bias of int32" in read(file).metadata_props["intaglio.warnings"]
