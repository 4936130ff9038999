"""Channels behind a Relu6 are shifted and scaled into the range of their tensor."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.errors import RecipeError
from intaglio.fitting.data import open_data
from intaglio.fitting.fit_channels import FitChannels
from intaglio.fitting.observe_ranges import ObserveRanges
from intaglio.fitting.runner import Runner, activation_plan
from intaglio.passes.marks import done_detail, mark_done
from intaglio.passes.quantize.channel_maps import MAPS_PASS, find_links, replay_maps
from intaglio.passes.quantize.plan_tensors import PlanTensors
from intaglio.targets.base import spec_of
from intaglio.transforms.metrics import sqnr_db
from tests.helpers import build

TEXT = """(float[N,3,10,10] x) => (float[N,4] y) {
    c1 = Conv<pads=[1,1,1,1]>(x, w1, b1) r1 = Clip(c1, zero, six)
    c2 = Conv(r1, w2, b2) r2 = Clip(c2, zero, six)
    g = GlobalAveragePool(r2) f = Flatten(g)
    y = Gemm<transB=1>(f, w3, b3) }"""

#: Two channels are narrow, and begin far above zero.
NARROW = np.array([1.0, 0.05, 0.05, 1.0])


def network(*, pads=False, widths=NARROW):
    generator = np.random.default_rng(3)
    w1 = generator.uniform(-1, 1, (4, 3, 1, 1)) * widths.reshape(4, 1, 1, 1)
    text = TEXT.replace("c1 = Conv<pads=[1,1,1,1]>", "c1 = Conv")
    if pads:
        text = text.replace("c2 = Conv", "c2 = Conv<pads=[1,1,1,1]>")
    b1 = np.array([2.0, 4.0, 3.0, 2.5])
    w2 = generator.uniform(-1, 1, (6, 4, 3, 3)) / NARROW.reshape(1, 4, 1, 1) / 8
    return build(
        text,
        w1=w1,
        b1=b1,
        w2=w2,
        b2=3.0 - np.einsum("oikl,i->o", w2, b1),
        w3=generator.standard_normal((4, 6)),
        b3=generator.standard_normal(4),
        zero=np.float32(0),
        six=np.float32(6),
    )


def pictures(count, seed):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3, 10, 10)).astype(np.float32)


def samples(model, count=48):
    return open_data({"x": pictures(count, 1)}, [spec_of(v) for v in model.graph.inputs])


def fitted(*, pads=False, **options):
    model = network(pads=pads)
    result = FitChannels(FitChannels.Config(**options), samples(model))(model)
    return model, result


def fidelity(model, reference):
    """SQNR of the output with ``r1`` quantized, on samples that nothing was fitted to."""
    data = samples(model)
    ObserveRanges(None, data)(model)
    PlanTensors()(model)
    x = pictures(64, 9)
    want = Runner(reference).run({"x": x})["y"]
    plan = {"r1": activation_plan(model)["r1"]}
    found = Runner(model, quantized=plan).run({"x": x})["y"]
    return sqnr_db(want, found)


def test_the_function_stays_for_inputs_like_the_samples():
    model, result = fitted()
    x = pictures(48, 1)
    assert result.modified
    want = Runner(network()).run({"x": x})["y"]
    np.testing.assert_allclose(Runner(model).run({"x": x})["y"], want, rtol=1e-3, atol=1e-3)


def test_quantized_activations_come_closer_to_the_float_model():
    model, _ = fitted()
    assert fidelity(model, network()) > fidelity(network(), network()) + 6.0


def test_shifts_need_a_reader_that_does_not_pad():
    padded, _ = fitted(pads=True)
    x = pictures(8, 1)
    want = Runner(network(pads=True)).run({"x": x})["y"]
    np.testing.assert_allclose(Runner(padded).run({"x": x})["y"], want, rtol=1e-3, atol=1e-3)
    assert [link.takes_offsets for link in find_links(padded.graph)] == [False]
    assert [link.takes_offsets for link in find_links(network().graph)] == [True]


def test_a_channel_that_never_changes_is_not_shifted():
    model = network(widths=np.array([1.0, 0.0, 0.05, 1.0]))
    FitChannels(FitChannels.Config(margin=0.0), samples(model))(model)
    assert all(np.isfinite(v.const_value.numpy()).all() for v in model.graph.initializers.values())
    assert np.isfinite(Runner(model).run({"x": pictures(4, 1)})["y"]).all()


def test_without_offsets_channels_are_scaled_only():
    _, result = fitted(offsets=False)
    assert all("0 of 4 shifted" in change.after for change in result.changes)


def test_the_values_reach_up_to_the_bound_and_no_further():
    model, _ = fitted(margin=0.0)
    found = Runner(model, ["r1"]).run({"x": pictures(48, 1)})["r1"]
    tops = found.max(axis=(0, 2, 3))
    np.testing.assert_allclose(tops[1:3], 6.0, rtol=0.02)
    assert found.min() >= 0.0


def test_a_plan_repeats_the_maps():
    model, _ = fitted()
    again = network()
    mark_done(again, MAPS_PASS, done_detail(model, MAPS_PASS))
    replay_maps(again)
    x = pictures(4, 2)
    for name in ("r1", "y"):
        np.testing.assert_array_equal(
            Runner(model, [name]).run({"x": x})[name], Runner(again, [name]).run({"x": x})[name]
        )


@pytest.mark.parametrize(
    "detail",
    [
        "not json",
        '{"r1": [1, 2]}',
        '{"r1": [[1.0], [0.0]]}',
        '{"nowhere": [[1, 1, 1, 1], [0, 0, 0, 0]]}',
        '{"r1": [[1, 1, 1, -1], [0, 0, 0, 0]]}',
    ],
)
def test_a_plan_that_does_not_fit_is_refused(detail):
    model = network()
    mark_done(model, MAPS_PASS, detail)
    with pytest.raises(RecipeError, match="channel maps"):
        replay_maps(model)


def test_channels_behind_a_plain_relu_are_left_alone():
    model = network()
    for node in list(model.graph):
        if node.op_type == "Clip":
            node.op_type = "Relu"
            node.resize_inputs(1)
    result = FitChannels(None, samples(model))(model)
    assert not result.modified
    assert result.facts["links"] == 0
