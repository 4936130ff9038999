"""Element-wise operators and pooling: read, they compute what LiteRT's reference kernels do."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.errors import InputError, UnsupportedError
from tests.targets.tflite.one_operator import (
    Judge,
    T,
    check,
    constant,
    one,
    options,
    read,
    run_read,
)

SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6, TANH, SIGN_BIT = range(6)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    found = Judge(tmp_path_factory.mktemp("judge"))
    yield found
    found.close()


def floats(shape, low=-3.0, high=3.0, seed=0):
    return [np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)]


UNARY = {
    "ABS": None,
    "COS": None,
    "EXP": "Exp",
    "FLOOR": None,
    "GELU": "Gelu",
    "HARD_SWISH": "HardSwish",
    "LEAKY_RELU": "LeakyRelu",
    "LOGISTIC": None,
    "LOG_SOFTMAX": "LogSoftmax",
    "NEG": "Neg",
    "RELU": None,
    "RELU6": None,
    "RELU_0_TO_1": None,
    "RELU_N1_TO_1": None,
    "SIGN": "Sign",
    "SIN": None,
    "SOFTMAX": "Softmax",
    "SQUARE": "Square",
    "TANH": None,
}


@pytest.mark.parametrize("name", sorted(UNARY))
def test_a_float_function_of_one_tensor(judge, name):
    fields = {"LEAKY_RELU": {"alpha": 0.2}, "SOFTMAX": {"beta": 1.0}}.get(name, {})
    chosen = options(UNARY[name], **fields) if UNARY[name] else None
    check(judge, one(name, [T((2, 3, 5))], [T((2, 3, 5))], chosen), tolerance=2e-6)


@pytest.mark.parametrize("name", ["LOG", "SQRT", "RSQRT"])
def test_a_float_function_of_positive_numbers(judge, name):
    data = one(name, [T((2, 3, 5))], [T((2, 3, 5))])
    check(judge, data, tolerance=2e-6, inputs=floats((2, 3, 5), 0.1, 9))


def test_the_approximate_gelu(judge):
    chosen = options("Gelu", approximate=True)
    check(judge, one("GELU", [T((4, 5))], [T((4, 5))], chosen), tolerance=2e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CEIL", [-2, -1, 0, 1, 2, 3]),
        ("ELU", [*(np.exp([-2.5, -1.5, -0.5]) - 1), 0.5, 1.5, 2.5]),
        ("ROUND", [-2, -2, 0, 0, 2, 2]),  # at a tie to the even number
    ],
)
def test_functions_that_the_judge_lacks(name, expected):
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
    [y] = run_read(read(one(name, [T((6,))], [T((6,))])), [x])
    np.testing.assert_allclose(y, expected, rtol=1e-6)


@pytest.mark.parametrize("beta", [0.5, 2.0])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_softmax_with_beta(judge, beta, dtype):
    chosen = options("Softmax", beta=beta)
    x, y = T((3, 7)), T((3, 7))
    if dtype == "int8":
        x = T((3, 7), "int8", scale=0.06, zero_point=5)
        y = T((3, 7), "int8", scale=1 / 256, zero_point=-128)
    data = one("SOFTMAX", [x], [y], chosen, version=2)
    check(judge, data, integer=dtype == "int8", tolerance=1e-6, codes_off=1)


BINARY = {
    "ADD": "Add",
    "DIV": "Div",
    "FLOOR_DIV": "FloorDiv",
    "MAXIMUM": "MaximumMinimum",
    "MINIMUM": "MaximumMinimum",
    "MUL": "Mul",
    "SQUARED_DIFFERENCE": "SquaredDifference",
    "SUB": "Sub",
}


@pytest.mark.parametrize("name", sorted(BINARY))
@pytest.mark.parametrize("other", [(2, 3, 5), (5,), (3, 1), ()])
def test_two_float_tensors_broadcast(judge, name, other):
    inputs = floats((2, 3, 5)) + floats(other, 0.5, 2.0, seed=1)
    data = one(name, [T((2, 3, 5)), T(other)], [T((2, 3, 5))], options(BINARY[name]))
    check(judge, data, tolerance=1e-6, inputs=inputs)


@pytest.mark.parametrize("activation", [NONE, RELU, RELU_N1_TO_1, RELU6])
@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL"])
@pytest.mark.parametrize("dtype", ["float32", "int8", "int16"])
def test_a_fused_activation(judge, name, activation, dtype):
    chosen = options(BINARY[name], fusedActivationFunction=activation)
    if dtype == "float32":
        tensors = [T((1, 4, 4, 3))] * 3
    elif dtype == "int8":
        scales = ((0.05, 3), (0.03, -8), (0.09, 11))
        tensors = [T((1, 4, 4, 3), "int8", scale=s, zero_point=z) for s, z in scales]
    else:
        tensors = [T((1, 4, 4, 3), "int16", scale=s) for s in (2e-4, 1e-4, 3e-4)]
    data = one(name, tensors[:2], tensors[2:], chosen, version=2)
    check(judge, data, integer=dtype != "float32", tolerance=1e-6, codes_off=1)


def test_an_unknown_fused_activation_is_refused_by_name():
    chosen = options("Add", fusedActivationFunction=SIGN_BIT)
    with pytest.raises(UnsupportedError, match="ADD version 1 't2': its fused activation is SIGN"):
        read(one("ADD", [T((4,)), T((4,))], [T((4,))], chosen))
    chosen = options("Add", fusedActivationFunction=77)
    with pytest.raises(InputError, match="unknown activation 77"):
        read(one("ADD", [T((4,)), T((4,))], [T((4,))], chosen))


def test_plain_integers_are_added_as_they_are(judge):
    data = one("ADD", [T((4,), "int32"), T((4,), "int32")], [T((4,), "int32")], options("Add"))
    check(judge, data)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("EQUAL", "Equal"),
        ("NOT_EQUAL", "NotEqual"),
        ("GREATER", "Greater"),
        ("GREATER_EQUAL", "GreaterEqual"),
        ("LESS", "Less"),
        ("LESS_EQUAL", "LessEqual"),
    ],
)
def test_a_comparison(judge, name, kind, dtype):
    x = np.array([1, 2, 3, 4], dtype)
    y = np.array([1, 3, 2, 4], dtype)
    data = one(name, [T((4,), dtype), T((4,), dtype)], [T((4,), "bool")], options(kind))
    check(judge, data, inputs=[x, y])


def test_a_power(judge):
    data = one("POW", [T((5,)), constant([2.0], "float32")], [T((5,))], options("Pow"))
    check(judge, data, tolerance=1e-5)


def test_a_slope_for_each_channel(judge):
    slope = T((1, 1, 3), data=np.array([[[0.1, -0.5, 2.0]]]))
    check(judge, one("PRELU", [T((1, 4, 4, 3)), slope], [T((1, 4, 4, 3))]), tolerance=1e-6)


def test_a_choice_between_two_tensors(judge):
    inputs = [T((2, 3), "bool"), T((2, 3)), T((3,))]
    data = one("SELECT_V2", inputs, [T((2, 3))], options("SelectV2"))
    condition = np.array([[True, False, True], [False, False, True]])
    check(judge, data, inputs=[condition, *floats((2, 3)), *floats((3,), seed=2)])


def pool(name, size, kernel, stride, padding, dtype, activation=NONE, signature=None):
    chosen = options(
        "Pool2D",
        padding=padding,
        filterHeight=kernel[0],
        filterWidth=kernel[1],
        strideH=stride[0],
        strideW=stride[1],
        fusedActivationFunction=activation,
    )
    pairs = list(zip(size, kernel, stride, strict=True))
    if padding == SAME:
        result = [-(-n // s) for n, _, s in pairs]
    else:
        result = [(n - k) // s + 1 for n, k, s in pairs]
    quantized = {} if dtype == "float32" else {"scale": 0.05, "zero_point": -9}
    x = T((1, *size, 3), dtype, signature=signature, **quantized)
    version = 1 if dtype == "float32" else 2
    return one(name, [x], [T((1, *result, 3), dtype, **quantized)], chosen, version)


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [((7, 6), (3, 2), (2, 1)), ((5, 5), (5, 5), (1, 1))]
)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("name", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pooling(judge, name, dtype, size, kernel, stride, padding):
    data = pool(name, size, kernel, stride, padding, dtype)
    check(judge, data, integer=dtype == "int8", tolerance=1e-6, codes_off=1)


@pytest.mark.parametrize("name", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pooling_with_an_activation(judge, name):
    data = pool(name, (6, 6), (2, 2), (2, 2), VALID, "int8", RELU)
    check(judge, data, integer=True, codes_off=1)


def test_the_root_of_an_average_of_squares(judge):
    check(judge, pool("L2_POOL_2D", (6, 6), (2, 2), (2, 2), VALID, "float32"), tolerance=1e-6)


def test_padding_of_an_open_size_is_left_to_the_runtime():
    data = pool("MAX_POOL_2D", (7, 6), (3, 2), (2, 1), SAME, "float32", signature=(1, -1, -1, 3))
    [node] = [n for n in read(data).graph if n.op_type == "MaxPool"]
    assert node.attributes["auto_pad"].value == "SAME_UPPER"
    [node] = [n for n in read(data, {"t0": (1, 7, 6, 3)}).graph if n.op_type == "MaxPool"]
    assert "auto_pad" not in node.attributes
    assert list(node.attributes["pads"].value) == [1, 0, 1, 1]
