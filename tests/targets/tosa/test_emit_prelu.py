"""PRelu without a comparison: slopes of every kind give the integer graph's bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from intaglio.targets.tosa.emitters.prelu import Line, kinds_of
from tests.property.lowering_checks import Options, canonical
from tests.targets.tosa.emission import assert_same_bits, emit_float

CHANNELS = 6


def prelu(slopes, shape=(1, CHANNELS, 4, 5)) -> onnx.ModelProto:
    # Behind a convolution channels lie last, as in networks.
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"]),
        helper.make_node("PRelu", ["c", "slopes"], ["y"]),
    ]
    kernel = np.eye(CHANNELS, dtype=np.float32).reshape(CHANNELS, CHANNELS, 1, 1)
    graph = helper.make_graph(
        nodes,
        "prelu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(np.asarray(slopes, np.float32), "slopes"),
            numpy_helper.from_array(kernel, "kernel"),
        ],
    )
    opset = [helper.make_opsetid("", 21)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def emission_of(slopes, profile="tflm"):
    proto = canonical(prelu(slopes))
    feeds = {"x": np.random.default_rng(1).normal(size=(1, CHANNELS, 4, 5)).astype(np.float32)}
    return emit_float(proto, feeds, Options(activations="int8", profile=profile))


SLOPES = {
    "below one": np.array([0.1, 0.25, -0.3, 0.9, 0.0, 0.01]),
    "above one": np.array([1.5, 2.0, 3.0, 1.2, 4.0, 1.1]),
    "of both kinds": np.array([0.1, 2.0, -0.5, 1.5, 0.0, 0.6]),
    "hardly apart": np.array([0.1, 2.0, 1.0, 0.999, 1.001, 0.5]),
}
COMPARISONS = {"GREATER", "SELECT", "GREATER_EQUAL", "EQUAL"}


@pytest.mark.parametrize("profile", ["tflm", "tosa-single"])
@pytest.mark.parametrize("kind", SLOPES)
def test_slopes_for_each_channel(environment, kind, profile):
    emission = emission_of(SLOPES[kind].reshape(CHANNELS, 1, 1), profile)
    assert emission.emitted.refusals == ()
    assert not COMPARISONS & set(emission.emitted.operators)
    assert assert_same_bits(emission, range(4)) > 0


def test_lines_of_one_kind_need_one_extreme():
    operators = emission_of(SLOPES["below one"].reshape(CHANNELS, 1, 1)).emitted.operators
    assert operators.count("MAXIMUM") == 1
    assert "MINIMUM" not in operators
    operators = emission_of(SLOPES["of both kinds"].reshape(CHANNELS, 1, 1)).emitted.operators
    assert (operators.count("MAXIMUM"), operators.count("MINIMUM")) == (1, 1)


@pytest.mark.parametrize("profile", ["tflm", "tosa-single"])
def test_a_slope_for_each_element(environment, profile):
    slopes = np.random.default_rng(2).uniform(-2, 2, (CHANNELS, 4, 5))
    emission = emission_of(slopes, profile)
    assert not COMPARISONS & set(emission.emitted.operators)
    assert assert_same_bits(emission, range(4)) > 0


@pytest.mark.parametrize("kind", SLOPES)
def test_halves_give_the_same_bits(environment, kind, monkeypatch):
    monkeypatch.setattr("intaglio.targets.tosa.emitters.prelu.kinds_of", lambda *_: None)
    emission = emission_of(SLOPES[kind].reshape(CHANNELS, 1, 1))
    assert "ADD" in emission.emitted.operators
    assert assert_same_bits(emission, range(4)) > 0


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.integers(1 << 30, (1 << 31) - 1), st.integers(29, 36)),
    st.tuples(st.integers(1 << 30, (1 << 31) - 1), st.integers(33, 42)),
    st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
    st.booleans(),
    st.integers(-128, 127),
)
def test_a_kind_is_the_function_in_plain_integers(above, below, points, double, slope):
    def rescaled(acc, line):
        nudge = 1 << (line.shift - 1)
        if double and line.shift > 31:
            nudge += 1 << 30 if acc >= 0 else -(1 << 30)
        return (acc * line.multiplier + nudge) >> line.shift

    first, second = (Line(*line, points, double) for line in (above, below))
    kinds = kinds_of(first, second, np.array([slope], np.int8))
    for x in range(-128, 128):
        v = x - points[0]
        ends = [rescaled(v, first) + points[1], rescaled(v * slope, second) + points[1]]
        ends = [min(max(end, -128), 127) for end in ends]
        if kinds is not None:
            assert (max if kinds[0] else min)(ends) == ends[v < 0]
    beyond = second.beyond
    assert rescaled(beyond, second) >= 256
    assert rescaled(-beyond, second) <= -256
