"""Gradients of element-wise operators against central differences."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.passes.differentiate.build_training_graph import build_training_graph
from intaglio.passes.differentiate.config import TrainingOptions
from intaglio.passes.differentiate.table import RULES
from tests.helpers import build, run_float
from tests.passes.differentiate.gradient_checks import check


def normal(*shape: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def away_from(values: np.ndarray, *corners: float) -> np.ndarray:
    """``values``, moved so that none is near a corner."""
    for corner in corners:
        near = np.abs(values - corner) < 0.05
        values = np.where(near, corner + 0.1, values)
    return values.astype(np.float32)


#: Expression, and points that the inputs keep away from.
FUNCTIONS = {
    "Abs": ("Abs(x)", (0.0,)),
    "Relu": ("Relu(x)", (0.0,)),
    "LeakyRelu": ("LeakyRelu<alpha = 0.2>(x)", (0.0,)),
    "LeakyRelu, alpha negative": ("LeakyRelu<alpha = -0.2>(x)", (0.0,)),
    "LeakyRelu, alpha zero": ("LeakyRelu<alpha = 0.0>(x)", (0.0,)),
    "ThresholdedRelu": ("ThresholdedRelu<alpha = 0.5>(x)", (0.5,)),
    "Clip": ("Clip(x, low, high)", (-0.5, 1.0)),
    "Clip, one bound": ("Clip(x, low)", (-0.5,)),
    "Clip, other bound": ("Clip(x, , high)", (1.0,)),
    "Clip, no bound": ("Clip(x)", ()),
    "Sigmoid": ("Sigmoid(x)", ()),
    "Tanh": ("Tanh(x)", ()),
    "HardSigmoid": ("HardSigmoid<alpha = 0.4, beta = 0.5>(x)", (-1.25, 1.25)),
    "HardSwish": ("HardSwish(wide)", ()),
    "Exp": ("Exp(x)", ()),
    "Log": ("Log(positive)", ()),
    "Sqrt": ("Sqrt(positive)", ()),
    "Reciprocal": ("Reciprocal(positive)", ()),
    "Neg": ("Neg(x)", ()),
    "Sin": ("Sin(x)", ()),
    "Cos": ("Cos(x)", ()),
    "Softplus": ("Softplus(x)", ()),
    "Softsign": ("Softsign(x)", (0.0,)),
    "Elu": ("Elu<alpha = 0.7>(x)", (0.0,)),
    "Celu": ("Celu<alpha = 0.7>(x)", (0.0,)),
    "Selu": ("Selu(x)", (0.0,)),
    "Erf": ("Erf(x)", ()),
    "Gelu": ("Gelu(x)", ()),
    "Gelu, tanh": ('Gelu<approximate = "tanh">(x)', ()),
    "Mish": ("Mish(x)", ()),
    "Pow": ("Pow(positive, exponent)", ()),
    "Pow, square": ("Pow(x, two)", ()),
    "Pow, integer exponents": ("Pow(positive, integers)", ()),
    "Identity": ("Identity(x)", ()),
    "Dropout": ("Dropout(x)", ()),
    "Cast": ("Cast<to = 1>(x)", ()),
    "Softmax": ("Softmax(x)", ()),
    "Softmax, axis 1": ("Softmax<axis = 1>(x)", ()),
    "LogSoftmax": ("LogSoftmax<axis = -1>(x)", ()),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name):
    expression, corners = FUNCTIONS[name]
    constants = {
        "low": np.float32(-0.5),
        "high": np.float32(1.0),
        "exponent": np.float32([1.5, 0.0, 1.0, -2.0]),
        "integers": np.int64([3, 0, 1, -2]),
        "two": np.float32(2.0),
        "one": np.float32(1.0),
        "three": np.float32(3.0),
    }
    used = {key: value for key, value in constants.items() if key in expression}
    before = "x = Identity(p) "
    if "positive" in expression:
        used["one"] = constants["one"]
        before = "size = Abs(p) positive = Add(size, one) "
    elif "wide" in expression:
        used["three"] = constants["three"]
        before = "wide = Mul(p, three) "
    check(
        f"(float[N, 3, 4] data) => (float[N, 3, 4] y) {{ {before}"
        f" z = {expression} y = Mul(z, data) }}",
        ("p",),
        p=away_from(normal(2, 3, 4), 0.0, *corners),
        linear=name == "Cast",  # in float64 it would be another operator
        # onnx's reference implementation has the error function in float32 only.
        step=1e-2 if name in ("Erf", "Gelu") else None,
        tolerance=1e-3 if name in ("Erf", "Gelu") else 2e-4,
        **used,
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((2, 3, 4), (2, 3, 4)),
        ((2, 3, 4), (4,)),
        ((2, 3, 4), (3, 1)),
        ((2, 3, 4), ()),
        ((1, 3, 1), (2, 1, 4)),
        ((3, 4), (2, 1, 1)),
        ((1, 1, 1), (1, 1, 1)),
    ],
)
@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "PRelu"])
def test_two_operands(operator, left, right):
    shape = np.broadcast_shapes(left, right)
    if operator == "PRelu" and shape != left:
        return  # ONNX broadcasts the slope only
    axes = ", ".join("abcd"[: len(shape)])
    second = normal(*right, seed=6) if right else np.float32(0.7)
    if operator == "Div":
        second = np.sign(second) * (np.abs(second) + 1)
    check(
        f"(float[1] one) => (float[{axes}] y) {{ x = Identity(p) z = {operator}(x, w)"
        " y = Mul(z, one) }",
        ("p", "w"),
        p=normal(*left),
        w=np.asarray(second, np.float32),
    )


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
def test_sizes_that_are_known_only_at_run_time(swapped, rows):
    """Both operands have symbols of their own; one of the sizes is 1, or none is broadcast."""
    operands = "a, b" if not swapped else "b, a"
    check(
        "(float[N, M] first, float[K, L] second) => (float[P, Q] y)"
        f" {{ a = Mul(first, p) b = Mul(second, w) y = Sub({operands}) }}",
        ("p", "w"),
        symbols={"N": 3, "M": 4, "K": rows, "L": 4},
        p=np.float32([[1.5]]),
        w=np.float32([0.5]),
    )


def test_dynamic_batch_of_both_operands():
    check(
        "(float[N, 3] data) => (float[N, 3] y) { a = Mul(data, p) b = Add(data, w) y = Mul(a, b) }",
        ("p", "w"),
        symbols={"N": 4},
        p=normal(3),
        w=normal(3, seed=6),
    )


def test_where():
    check(
        "(bool[N, 3] chosen, float[1] one) => (float[N, 3] y)"
        " { x = Mul(p, one) y = Where(chosen, x, w) }",
        ("p", "w"),
        symbols={"N": 4},
        p=normal(4, 3),
        w=normal(3, seed=6),
    )


def test_a_value_read_three_times_gets_the_sum():
    check(
        "(float[N, 3] data) => (float[N, 3] y)"
        " { x = Mul(data, p) a = Tanh(x) b = Sigmoid(x) c = Mul(a, b) y = Sub(c, x) }",
        ("p",),
        p=normal(3),
    )


def test_batch_normalization():
    check(
        "(float[N, 3, 4, 5] data) => (float[N, 3, 4, 5] y) { x = Mul(data, p)"
        " y = BatchNormalization<epsilon = 0.1>(x, scale, shift, mean, variance) }",
        ("p", "scale", "shift"),
        p=normal(3, 1, 1),
        scale=normal(3, seed=6),
        shift=normal(3, seed=7),
        mean=normal(3, seed=8),
        variance=np.abs(normal(3, seed=9)),
    )


def test_ties_share_evenly():
    same = normal(2, 3)
    model = build(
        "(float[1] one) => (float[2, 3] y) { x = Mul(p, one) y = Max(x, w) }", p=same, w=same
    )
    options = TrainingOptions(loss="mean-squared-error", optimizer="none", trained=("p", "w"))
    feeds = {"one": np.ones(1, np.float32), "target": np.zeros((2, 3), np.float32)}
    training = build_training_graph(model, options)
    got = run_float(training, {**feeds, "p": same, "w": same})
    np.testing.assert_allclose(got["gradient.p"], same / 6, rtol=1e-6)
    np.testing.assert_allclose(got["gradient.w"], same / 6, rtol=1e-6)


def test_every_rule_is_checked_somewhere():
    elsewhere = {
        "AveragePool", "BatchNormalization", "Concat", "Conv", "ConvTranspose", "DepthToSpace",
        "Expand", "Flatten", "Gather", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "MatMul",
        "MaxPool", "Pad", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Reshape",
        "Resize", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
        "Where",
    }  # fmt: skip
    here = {name.split(",")[0] for name in FUNCTIONS}
    here |= {"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "PRelu"}
    assert here | elsewhere == set(RULES)
