from __future__ import annotations

import numpy as np
import pytest

from intaglio.errors import RecipeError
from intaglio.passes.quantize.equalize_layers import EqualizeLayers
from intaglio.passes.quantize.layer_pairs import (
    find_pairs,
    input_ranges,
    move_scale,
    note_factors,
    output_ranges,
    replay_factors,
)
from tests.helpers import build, random_inputs, run_float

GENERATOR = np.random.default_rng(0)


def uneven(*shape):
    """Weights whose output and input channels differ widely in magnitude."""
    w = GENERATOR.standard_normal(shape)
    w *= np.exp2(GENERATOR.integers(-4, 5, (shape[0], *[1] * (len(shape) - 1))))
    return w * np.exp2(GENERATOR.integers(-4, 5, (1, shape[1], *[1] * (len(shape) - 2))))


CHAINS = {
    "conv-relu-conv": (
        """(float[1,3,8,8] x) => (float[1,4,6,6] y) {
            a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) y = Conv(r, w2, b2) }""",
        {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (4, 6, 3, 3), "b2": (4,)},
    ),
    "depthwise-chain": (
        """(float[1,6,8,8] x) => (float[1,4,6,6] y) {
            a = Conv(x, w1, b1) p = PRelu(a, slope) d = Conv<group=6, pads=[1,1,1,1]>(p, w2, b2)
            l = LeakyRelu(d) m = MaxPool<kernel_shape=[3,3]>(l) y = Conv(m, w3) }""",
        {
            "w1": (6, 6, 1, 1),
            "b1": (6,),
            "slope": (6, 1, 1),
            "w2": (6, 1, 3, 3),
            "b2": (6,),
            "w3": (4, 6, 1, 1),
        },
    ),
    "grouped-and-transposed": (
        """(float[1,4,5,5] x) => (float[1,3,9,9] y) {
            a = ConvTranspose<group=2, strides=[2,2]>(x, w1, b1) r = Relu(a)
            y = Conv<group=3>(r, w2, b2) }""",
        {"w1": (4, 3, 3, 3), "b1": (6,), "w2": (3, 2, 3, 3), "b2": (3,)},
    ),
    "gemm": (
        """(float[2,5] x) => (float[2,3] y) {
            a = Gemm<transB=1>(x, w1, b1) r = Relu(a) y = Gemm<transB=1>(r, w2, b2) }""",
        {"w1": (7, 5), "b1": (7,), "w2": (3, 7), "b2": (3,)},
    ),
}


def chain(name):
    text, shapes = CHAINS[name]
    weights = {
        key: uneven(*shape) if key[0] == "w" else GENERATOR.standard_normal(shape)
        for key, shape in shapes.items()
    }
    return build(text, **weights)


def imbalance(pair):
    """Spread of the ratio of both ranges over the channels, in bits."""
    return np.ptp(np.log2(output_ranges(pair.first) / input_ranges(pair.second)))


@pytest.mark.parametrize("name", CHAINS)
def test_ranges_meet_and_the_function_stays_the_same_to_the_bit(name):
    model = chain(name)
    inputs = random_inputs(model)
    before = run_float(model, inputs)
    pairs, _ = find_pairs(model.graph)
    assert max(imbalance(pair) for pair in pairs) > 4
    outcome = EqualizeLayers()(model)
    assert outcome.modified
    assert outcome.facts["pairs"] == len(pairs)
    assert max(imbalance(pair) for pair in pairs) <= 2 + 1e-6
    np.testing.assert_array_equal(run_float(model, inputs)["y"], before["y"])
    assert not EqualizeLayers()(model).modified


def test_clip_is_in_the_way_and_is_named():
    model = build(
        """(float[1,3,8,8] x) => (float[1,4,8,8] y) {
            a = Conv(x, w1) r = Clip(a, low, high) y = Conv(r, w2) }""",
        w1=uneven(6, 3, 1, 1),
        w2=uneven(4, 6, 1, 1),
        low=np.float32(0),
        high=np.float32(6),
    )
    outcome = EqualizeLayers()(model)
    assert not outcome.modified
    assert "upper bound" in outcome.skips[0].reason


@pytest.mark.parametrize(
    "text",
    [
        # Another reader, a graph output, an operator that mixes channels, shared weights.
        "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w) b = Conv(a, v) y = Add(a, b) }",
        "(float[1,4,8,8] x) => (float[1,4,8,8] y, float[1,4,8,8] a) "
        "{ a = Conv(x, w) y = Conv(a, v) }",
        "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w) s = Sigmoid(a) y = Conv(s, v) }",
        "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w) y = Conv(a, w) }",
    ],
)
def test_channels_that_are_not_free_are_left_alone(text):
    weights = {"w": uneven(4, 4, 1, 1), "v": uneven(4, 4, 1, 1)}
    used = {key: value for key, value in weights.items() if f", {key})" in text}
    model = build(text, **used)
    assert find_pairs(model.graph)[0] == []
    assert not EqualizeLayers()(model).modified


def test_noted_factors_are_replayed():
    model, other = chain("gemm"), None
    other = model.clone()
    (pair,) = find_pairs(model.graph)[0]
    factors = np.exp2(np.arange(-3.0, 4.0))
    move_scale(pair, factors)
    note_factors(model, {pair.first.outputs[0].name: factors})
    other.metadata_props.update(model.metadata_props)
    replay_factors(other)
    (copied,) = find_pairs(other.graph)[0]
    for index in (1, 2):
        np.testing.assert_array_equal(
            copied.first.inputs[index].const_value.numpy(),
            pair.first.inputs[index].const_value.numpy(),
        )
    np.testing.assert_array_equal(input_ranges(copied.second), input_ranges(pair.second))


@pytest.mark.parametrize("detail", ["[1]", "{", '{"a": [1]}', '{"b": [0,0,0,0,0,0,0]}', '{"a": 1}'])
def test_noted_factors_that_do_not_fit_are_refused(detail):
    model = chain("gemm")
    model.metadata_props["intaglio.done.calibrate.equalize_channels"] = detail
    with pytest.raises(RecipeError, match="channel factors"):
        replay_factors(model)


def test_a_quantized_model_is_left_alone():
    model = build(
        """(float[1,4] x) => (float[1,4] y) {
            q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }""",
        s=np.float32(0.1),
        z=np.int8(0),
    )
    outcome = EqualizeLayers()(model)
    assert not outcome.modified
    assert "quantized already" in outcome.skips[0].reason
