"""Dead channels become shifted copies of others."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.errors import RecipeError
from intaglio.fitting.data import open_data
from intaglio.fitting.layers import array_of, find_layers, set_array
from intaglio.fitting.observe_ranges import ObserveRanges
from intaglio.fitting.reuse_channels import ReuseChannels
from intaglio.fitting.runner import Runner, activation_plan
from intaglio.passes.marks import done_detail, mark_done
from intaglio.passes.quantize.channel_copies import (
    COPIES_PASS,
    Copies,
    apply_copies,
    find_chains,
    replay_copies,
)
from intaglio.passes.quantize.plan_tensors import PlanTensors
from intaglio.targets.base import spec_of
from intaglio.transforms.metrics import sqnr_db
from tests.helpers import build

PLAIN = """(float[N,3,10,10] x) => (float[N,5,8,8] y) {
    c1 = Conv(x, w1, b1) r1 = Relu(c1)
    y = Conv(r1, w3, b3) }"""
DEPTHWISE = """(float[N,3,10,10] x) => (float[N,5,8,8] y) {
    c1 = Conv(x, w1, b1) r1 = Relu(c1)
    c2 = Conv<group=6, pads=[1,1,1,1]>(r1, w2, b2) r2 = Relu(c2)
    y = Conv(r2, w3, b3) }"""

#: Channels 2 and 5 are dead; channel 0 is what the output depends on most.
DEAD = (2, 5)


def network(text):
    generator = np.random.default_rng(5)
    w1 = generator.uniform(-1, 1, (6, 3, 1, 1))
    b1 = np.full(6, 2.0)
    b1[list(DEAD)] = -8.0
    w1[list(DEAD)] *= 0.1
    w3 = generator.uniform(-1, 1, (5, 6, 3, 3)) / 20
    w3[:, 0] *= 30
    w2 = generator.uniform(0.1, 0.3, (6, 1, 3, 3))
    parameters = {"w1": w1, "b1": b1, "w3": w3, "b3": np.zeros(5)}
    if "w2" in text:
        parameters |= {"w2": w2, "b2": generator.uniform(0.0, 0.2, 6)}
    return build(text, **parameters)


def pictures(count, seed):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3, 10, 10)).astype(np.float32)


def samples(model):
    return open_data({"x": pictures(48, 1)}, [spec_of(v) for v in model.graph.inputs])


def calibrated(text):
    model = network(text)
    ObserveRanges(None, samples(model))(model)
    return model


def fidelity(model, reference, values):
    """SQNR of the output with some activations quantized, on samples that nothing was fitted to."""
    PlanTensors()(model)
    x = pictures(64, 9)
    want = Runner(reference).run({"x": x})["y"]
    plan = {name: found for name, found in activation_plan(model).items() if name in values}
    return sqnr_db(want, Runner(model, quantized=plan).run({"x": x})["y"])


@pytest.mark.parametrize("text", [PLAIN, DEPTHWISE], ids=["plain", "depthwise"])
def test_the_function_stays(text):
    model = calibrated(text)
    result = ReuseChannels(None, samples(model))(model)
    assert result.facts["dead_channels"] >= len(DEAD)
    assert result.modified
    x = pictures(16, 2)
    want, found = Runner(network(text)).run({"x": x})["y"], Runner(model).run({"x": x})["y"]
    assert sqnr_db(want, found) > 55.0


@pytest.mark.parametrize("text", [PLAIN, DEPTHWISE], ids=["plain", "depthwise"])
def test_rounding_errors_fall(text):
    model = calibrated(text)
    ReuseChannels(None, samples(model))(model)
    gain = fidelity(model, network(text), ("r1", "r2")) - fidelity(
        calibrated(text), network(text), ("r1", "r2")
    )
    # Two channels more for the one that matters: three steps in the place of one, 9.5 dB at most.
    assert gain > 5.0


def test_a_copy_is_shifted_by_half_a_step():
    model = network(PLAIN)
    (chain,) = find_chains(model.graph)
    apply_copies(chain, [Copies((0, 2), (0.5,))])
    found = Runner(model, ["c1"]).run({"x": pictures(4, 2)})["c1"]
    np.testing.assert_allclose(found[:, 2] - found[:, 0], 0.25, atol=1e-6)


def test_no_channel_is_overwritten_that_lives_for_some_samples():
    model = calibrated(PLAIN)
    before = Runner(model, ["c1"]).run({"x": pictures(8, 2)})["c1"]
    ReuseChannels(None, samples(model))(model)
    after = Runner(model, ["c1"]).run({"x": pictures(8, 2)})["c1"]
    step = activation_step(model)
    for channel in set(range(6)) - set(DEAD):
        assert np.abs(after[:, channel] - before[:, channel]).max() <= step


def activation_step(model):
    PlanTensors()(model)
    return activation_plan(model)["r1"].scale[0]


def test_a_channel_near_zero_does_not_count_as_dead():
    model = network(PLAIN)
    (layer, _), _ = find_layers(model)
    assert layer.bias is not None
    bias = array_of(layer.bias).copy()
    # Zero for every input, but by a fifth of what it varies on either side.
    reach = np.abs(array_of(layer.weight)).sum(axis=(1, 2, 3))
    bias[list(DEAD)] = -1.2 * reach[list(DEAD)]
    set_array(layer.bias, bias)
    ObserveRanges(None, samples(model))(model)
    result = ReuseChannels(None, samples(model))(model)
    assert result.facts["dead_channels"] == 0
    assert not result.modified


def test_a_plan_repeats_the_copies():
    model = calibrated(DEPTHWISE)
    ReuseChannels(None, samples(model))(model)
    again = network(DEPTHWISE)
    mark_done(again, COPIES_PASS, done_detail(model, COPIES_PASS))
    replay_copies(again)
    x = pictures(4, 2)
    for name in ("r1", "r2", "y"):
        np.testing.assert_array_equal(
            Runner(model, [name]).run({"x": x})[name], Runner(again, [name]).run({"x": x})[name]
        )


@pytest.mark.parametrize(
    "detail",
    [
        "not json",
        '{"r1": [[[0, 2]]]}',
        '{"r1": [[[0, 9], [0.1]]]}',
        '{"r1": [[[0, 2], [0.1, 0.1]]]}',
        '{"r1": [[[0, 2], [-0.1]]]}',
        '{"nowhere": [[[0, 2], [0.1]]]}',
    ],
)
def test_a_plan_that_does_not_fit_is_refused(detail):
    model = network(PLAIN)
    mark_done(model, COPIES_PASS, detail)
    with pytest.raises(RecipeError, match="copies"):
        replay_copies(model)
