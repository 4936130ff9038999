"""Every kernel bit for bit against integers worked out by hand, in every profile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.passes.lower.float_graphs import (
    GRAPHS,
    Graph,
    binary,
    conv,
    conv_relu,
    conv_transpose,
    matmul,
    mean,
    resize,
    unary,
)
from tests.property import unit_judge as judge
from tests.property.lowering_checks import Options, convert, run

PROFILES = ("tflm", "litert", "tosa-single")
SYMBOLS = {"N": 3}


def _concat() -> onnx.ModelProto:
    g = Graph()
    g.op("Concat", ["x", "z"], "y", axis=1)
    return g.model({"x": [2, 3, 4], "z": [2, 1, 4]})


def _clip() -> onnx.ModelProto:
    g = Graph()
    g.op("Clip", ["x", g.const("lo", np.float32(-0.7)), g.const("hi", np.float32(1.23))], "y")
    return g.model({"x": [2, 3, 4]})


#: name -> (graph, judge)
UNITS: dict[str, tuple[Callable[[], onnx.ModelProto], Callable[[judge.Case], Any]]] = {
    "conv": (conv, judge.conv),
    "conv_window": (
        lambda: conv(strides=[2, 1], dilations=[1, 2], pads=[1, 2, 0, 3], group=2),
        judge.conv,
    ),
    "conv_relu": (lambda: conv_relu(None), lambda c: judge.conv(c, 0.0)),
    "conv_clip": (lambda: conv_relu(0.9), lambda c: judge.conv(c, 0.0, 0.9)),
    "depthwise": (lambda: conv(group=4, outputs=8, pads=[1, 1, 1, 1]), judge.conv),
    "conv_transpose": (
        lambda: conv_transpose(strides=[2, 3], pads=[1, 0, 1, 2], output_padding=[1, 0]),
        judge.conv_transpose,
    ),
    "conv_transpose_grouped": (
        lambda: conv_transpose(group=2, strides=[2, 2]),
        judge.conv_transpose,
    ),
    "gemm": (GRAPHS["gemm"][0], judge.gemm),
    "matmul_constant": (lambda: matmul(True), lambda c: judge.matmul(c, "w")),
    "matmul_computed": (lambda: matmul(False), lambda c: judge.matmul(c, "z")),
    "add": (lambda: binary("Add"), lambda c: judge.add(c, "z", 1)),
    "add_relu": (lambda: binary("Add", relu=True), lambda c: judge.add(c, "z", 1, 0.0)),
    "add_constant": (lambda: binary("Add", constant=True), lambda c: judge.add(c, "c", 1)),
    "sub": (lambda: binary("Sub"), lambda c: judge.add(c, "z", -1)),
    "mul": (lambda: binary("Mul"), lambda c: judge.mul(c, "z")),
    "mul_constant": (lambda: binary("Mul", constant=True), lambda c: judge.mul(c, "c")),
    "mean": (lambda: mean([1, 3], 0), lambda c: judge.mean(c, (1, 3), False)),
    "global_average": (
        lambda: unary("GlobalAveragePool"),
        lambda c: judge.mean(c, (2, 3), True),
    ),
    "prelu": (GRAPHS["prelu"][0], judge.prelu),
    "average_pool": (GRAPHS["average_pool_padded"][0], judge.average_pool),
    "softmax": (lambda: unary("Softmax", axis=1), lambda c: judge.softmax(c, 1)),
    "resize": (
        lambda: resize("linear", "half_pixel", [1, 1, 2, 3]),
        lambda c: judge.resize(c, 10, 18, "half_pixel"),
    ),
    "resize_asymmetric": (
        lambda: resize("linear", "asymmetric", [1, 1, 2, 2]),
        lambda c: judge.resize(c, 10, 12, "asymmetric"),
    ),
    "concat": (_concat, lambda c: judge.concat(c, ["x", "z"], 1)),
    "clip": (_clip, lambda c: judge.requantize(c, "x", -0.7, 1.23)),
    "leaky_relu": (lambda: unary("LeakyRelu", alpha=0.13), lambda c: judge.leaky_relu(c, 0.13)),
}
#: What has no 16-bit kernel of its own.
EIGHT_BIT_ONLY = frozenset({"softmax"})


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    dims = value.type.tensor_type.shape.dim
    return [SYMBOLS[d.dim_param] if d.dim_param else d.dim_value for d in dims]


def _compare(
    name: str, dtype: str, profile: str, seed: int, scales: list[float], per_channel: bool = True
) -> None:
    build, expected = UNITS[name]
    proto = build()
    rng = np.random.default_rng(seed)
    feeds = {
        i.name: (rng.standard_normal(_shape(i)) * s + s * rng.uniform(-1, 1)).astype(np.float32)
        for i, s in zip(proto.graph.input, scales, strict=False)
    }
    options = Options(activations=dtype, profile=profile, per_channel=per_channel)
    converted = convert(proto, feeds, options)
    limits = np.iinfo(dtype)
    codes = {
        k: rng.integers(limits.min, limits.max, v.shape, endpoint=True).astype(dtype)
        for k, v in feeds.items()
    }
    for array in codes.values():
        array.reshape(-1)[:2] = limits.min, limits.max
    actual = run(converted.integer, codes)["y"]
    case = judge.Case(ir.to_proto(converted.quantized), codes, profile)
    np.testing.assert_array_equal(actual, expected(case))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("name", UNITS)
def test_integers_are_those_worked_out_by_hand(name, dtype, profile):
    if dtype == "int16" and name in EIGHT_BIT_ONLY:
        pytest.skip("there is no 16-bit kernel")
    _compare(name, dtype, profile, seed=len(name), scales=[1.0, 0.37])


@pytest.mark.parametrize("name", [n for n in UNITS if n not in EIGHT_BIT_ONLY])
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_integers_are_those_worked_out_by_hand_at_any_scale(name, data):
    scales = st.sampled_from([1e-6, 0.003, 0.5, 1.0, 7.3, 4e4])
    _compare(
        name,
        data.draw(st.sampled_from(["int8", "int16"])),
        data.draw(st.sampled_from(PROFILES)),
        data.draw(st.integers(0, 1000)),
        [data.draw(scales), data.draw(scales)],
        data.draw(st.booleans()),
    )


@pytest.mark.long
@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("seed", range(30))
def test_integers_are_those_worked_out_by_hand_many_times(name, seed):
    rng = np.random.default_rng(seed)
    dtype = "int8" if name in EIGHT_BIT_ONLY or seed % 2 else "int16"
    scales = (10.0 ** rng.uniform(-5, 2, 2)).tolist()
    _compare(name, dtype, PROFILES[seed % 3], seed, scales, bool(rng.integers(2)))
