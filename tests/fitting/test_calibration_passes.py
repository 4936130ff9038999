"""The passes that look at samples, on a small network with known weaknesses."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.errors import InputError, RecipeError
from intaglio.fitting.choose_precision import ChoosePrecision
from intaglio.fitting.correct_bias import CorrectBias, rounded_weights
from intaglio.fitting.data import open_data
from intaglio.fitting.equalize_channels import EqualizeChannels
from intaglio.fitting.layers import array_of, find_layers, set_array
from intaglio.fitting.observe_ranges import ObserveRanges
from intaglio.fitting.round_weights import RoundWeights
from intaglio.fitting.runner import Runner, activation_plan
from intaglio.passes.annotations import (
    all_values,
    get_extremes,
    get_precision,
    get_quantization,
    get_range,
)
from intaglio.passes.quantize.plan_tensors import PlanTensors
from intaglio.targets.base import spec_of
from intaglio.transforms.metrics import sqnr_db
from tests.helpers import build, run_float

TEXT = """(float[N,3,12,12] x) => (float[N,5] y) {
    c1 = Conv<pads=[1,1,1,1]>(x, w1, b1) r1 = Relu(c1)
    c2 = Conv<group=8, pads=[1,1,1,1]>(r1, w2, b2) r2 = Relu(c2)
    c3 = Conv<strides=[2,2]>(r2, w3, b3) r3 = Relu(c3)
    g = GlobalAveragePool(r3) f = Flatten(g)
    y = Gemm<transB=1>(f, w4, b4) }"""


def network(seed=0):
    generator = np.random.default_rng(seed)
    w1 = generator.standard_normal((8, 3, 3, 3)) / 5
    w1 *= np.exp2(np.arange(8) - 4).reshape(8, 1, 1, 1)
    w3 = generator.standard_normal((8, 8, 3, 3)) / 8
    w3 *= np.exp2(4.0 - np.arange(8)).reshape(1, 8, 1, 1)
    return build(
        TEXT,
        w1=w1,
        b1=generator.standard_normal(8) / 8,
        w2=generator.standard_normal((8, 1, 3, 3)) / 3,
        b2=generator.standard_normal(8) / 8,
        w3=w3,
        b3=generator.standard_normal(8) / 4,
        w4=generator.standard_normal((5, 8)),
        b4=generator.standard_normal(5),
    )


def pictures(count, seed):
    """Smooth positive images: neighbors are alike, as in real ones."""
    noise = np.random.default_rng(seed).random((count, 3, 14, 14))
    smooth = sum(noise[:, :, i : i + 12, j : j + 12] for i in range(3) for j in range(3)) / 9
    return smooth.astype(np.float32)


def samples(model, count=64, seed=1):
    return open_data({"x": pictures(count, seed)}, [spec_of(v) for v in model.graph.inputs])


def planned(*, equalized=False, observer="mse"):
    model = network()
    data = samples(model)
    if equalized:
        EqualizeChannels(None, data)(model)
    ObserveRanges(ObserveRanges.Config(observer=observer), data)(model)
    PlanTensors()(model)
    return model, data


def fidelity(model, activations=True, tensor="y"):
    """SQNR in dB of a tensor of the quantized model on samples that nothing was fitted to."""
    x = pictures(100, 9)
    want = Runner(network(), [tensor]).run({"x": x})[tensor]
    plan = activation_plan(model) if activations else {}
    weights = rounded_weights(find_layers(model)[0])
    runner = Runner(model, [tensor], quantized=plan, weights=weights)
    return sqnr_db(want, runner.run({"x": x})[tensor])


ALL = [EqualizeChannels, ObserveRanges, ChoosePrecision, RoundWeights, CorrectBias]


@pytest.mark.parametrize("kind", [EqualizeChannels, ObserveRanges])
def test_data_is_asked_for(kind):
    with pytest.raises(RecipeError, match=f"{kind.name} needs calibration data") as caught:
        kind()(network())
    assert "--calibration" in caught.value.remedy


@pytest.mark.parametrize("kind", ALL)
def test_quantized_models_are_left_alone_without_data(kind):
    model = build(
        """(float[1,4] x) => (float[1,4] y) {
            q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }""",
        s=np.float32(0.1),
        z=np.int8(0),
    )
    outcome = kind()(model)
    assert not outcome.modified
    assert "quantized already" in outcome.skips[0].reason


@pytest.mark.parametrize("observer", ["minmax", "percentile", "entropy", "mse"])
def test_every_activation_gets_a_range_within_its_extremes(observer):
    model = network()
    data = samples(model)
    seen = []
    step = ObserveRanges(ObserveRanges.Config(observer=observer), data)
    step.progress = lambda done, total: seen.append((done, total))
    outcome = step(model)
    assert seen[-1] == (64, 64)
    names = ["x", "c1", "r1", "c2", "r2", "c3", "r3", "g", "f", "y"]
    found = Runner(model, names).run({"x": pictures(64, 1)})
    for value in all_values(model):
        if value.is_initializer():
            assert get_range(value) is None
            continue
        low, high = get_range(value)
        top, bottom = float(found[value.name].max()), float(found[value.name].min())
        assert bottom - 1e-4 <= low <= high <= top + 1e-4
        if observer == "minmax":
            np.testing.assert_allclose((low, high), (bottom, top), rtol=1e-4, atol=1e-5)
        elif get_extremes(value) is not None:
            np.testing.assert_allclose(get_extremes(value), (bottom, top), rtol=1e-4, atol=1e-5)
    assert outcome.facts == {"observer": observer, "samples": 64, "tensors": 10}
    assert not ObserveRanges(None, data)(model).modified


def test_weights_that_overflow_are_named():
    model = network()
    weight = model.graph.initializers["w3"]
    data = samples(model)
    set_array(weight, array_of(weight) * np.float32(np.inf))
    with pytest.raises(InputError, match="tensor 'c3' becomes NaN or infinite"):
        ObserveRanges(None, data)(model)


def test_equalized_channels_keep_the_function_and_help():
    model = network()
    x = pictures(10, 3)
    before = run_float(model, {"x": x})["y"]
    outcome = EqualizeChannels(None, samples(model))(model)
    assert outcome.facts["pairs"] == 2
    assert outcome.facts["equalized"] == 2
    np.testing.assert_array_equal(run_float(model, {"x": x})["y"], before)
    assert not EqualizeChannels(None, samples(model))(model).modified
    plain, even = planned()[0], planned(equalized=True)[0]
    assert fidelity(even) > fidelity(plain) + 2


def test_rounding_reduces_the_error_of_weights():
    model, data = planned()
    before = fidelity(model, activations=False)
    outcome = RoundWeights(None, data)(model)
    assert outcome.facts == {"layers": 4, "samples": 64}
    assert fidelity(model, activations=False) > before + 6
    assert not RoundWeights(None, data)(model).modified


def test_rounded_weights_lie_on_their_grid():
    model, data = planned()
    before = {layer.weight.name: layer.matrix() for layer in find_layers(model)[0]}
    RoundWeights(None, data)(model)
    for layer in find_layers(model)[0]:
        array = layer.weight.const_value.numpy()
        scheme = get_quantization(layer.weight)
        np.testing.assert_array_equal(scheme.dequantize(scheme.quantize(array)), array)
        steps = (layer.matrix() - before[layer.weight.name]) / layer.scales(scheme)[..., None]
        assert np.abs(steps).max() <= 1 + 1e-5


def test_rounding_the_same_samples_twice_gives_the_same_bits():
    first, second = planned(), planned()
    for model, data in (first, second):
        RoundWeights(RoundWeights.Config(rows=256), data)(model)
    for name in ("w1", "w2", "w3", "w4", "b1"):
        np.testing.assert_array_equal(
            first[0].graph.initializers[name].const_value.numpy(),
            second[0].graph.initializers[name].const_value.numpy(),
        )


@pytest.mark.parametrize("kind", [RoundWeights, CorrectBias])
def test_without_a_plan_there_is_nothing_to_do(kind):
    model = network()
    outcome = kind(None, samples(model))(model)
    assert not outcome.modified
    assert any("no plan" in s.reason or "have a plan" in s.reason for s in outcome.skips)


def test_corrected_biases_keep_the_mean_output_of_every_layer():
    model, data = planned()
    x = pictures(64, 1)
    want = Runner(network(), ["c1", "c2", "c3"]).run({"x": x})

    before = fidelity(model)
    outcome = CorrectBias(None, data)(model)
    assert outcome.facts == {"layers": 4}
    assert fidelity(model) > before
    plan = activation_plan(model)
    weights = rounded_weights(find_layers(model)[0])
    for name, wanted in want.items():
        rest = {key: spec for key, spec in plan.items() if key != name}
        got = Runner(model, [name], quantized=rest, weights=weights).run({"x": x})[name]
        axes = (0, 2, 3) if got.ndim == 4 else (0,)
        np.testing.assert_allclose(got.mean(axes), wanted.mean(axes), atol=1e-4)
    assert not CorrectBias(None, data)(model).modified


def observed():
    model = network()
    data = samples(model)
    ObserveRanges(None, data)(model)
    return model, data


def test_without_a_budget_precisions_stay():
    model, data = observed()
    outcome = ChoosePrecision(None, data)(model)
    assert not outcome.modified
    assert "no budget" in outcome.skips[0].reason


def test_ranking_covers_every_group_once_and_starts_with_the_worst():
    model, data = observed()
    outcome = ChoosePrecision(ChoosePrecision.Config(rank_only=True), data)(model)
    assert not outcome.modified
    ranking = outcome.facts["ranking"]
    tensors = [name for group in ranking for name in group["tensors"]]
    assert len(tensors) == len(set(tensors))
    assert set(tensors) == set(activation_plan(planned()[0]))
    decibels = [group["sqnr_db"] for group in ranking]
    assert decibels == sorted(decibels)


@pytest.mark.parametrize("gain", [3.0, 8.0])
def test_a_budget_is_met_with_few_tensors(gain):
    model, data = observed()
    none = ChoosePrecision(ChoosePrecision.Config(max_sixteen_bit=0), data)(model)
    budget = none.facts["activation_sqnr_db"] + gain
    config = ChoosePrecision.Config(budget_sqnr_db=budget, border=True)
    outcome = ChoosePrecision(config, data)(model)
    assert outcome.facts["activation_sqnr_db"] >= budget
    raised = outcome.facts["sixteen_bit_groups"]
    assert 0 < raised < len(outcome.facts["ranking"])
    assert len(outcome.changes) == raised
    fewer, again = observed()
    less = ChoosePrecision.Config(max_sixteen_bit=raised - 1, border=True)
    assert ChoosePrecision(less, again)(fewer).facts["activation_sqnr_db"] < budget
    PlanTensors()(model)
    wide = {n for n, q in activation_plan(model).items() if q.dtype == "int16"}
    assert wide == {v.name for v in all_values(model) if get_precision(v) == "int16"}
    assert not ChoosePrecision(config, data)(model).modified


def test_the_border_stays_at_eight_bits_unless_it_may_be_raised():
    model, data = observed()
    outcome = ChoosePrecision(ChoosePrecision.Config(budget_sqnr_db=150.0), data)(model)
    assert get_precision(model.graph.inputs[0]) is None
    assert get_precision(model.graph.outputs[0]) is None
    assert "out of reach" in outcome.skips[0].reason


def test_precision_without_ranges_is_refused():
    model = network()
    config = ChoosePrecision.Config(budget_sqnr_db=40.0)
    with pytest.raises(RecipeError, match="no calibrated range"):
        ChoosePrecision(config, samples(model))(model)


def test_a_layer_with_huge_columns_is_rounded_to_the_nearest():
    # The moments of columns of 60,000 elements would take 28 GiB.
    columns = 60_000
    generator = np.random.default_rng(0)
    model = build(
        f"(float[N,{columns}] x) => (float[N,2] y) {{ y = Gemm<transB=1>(x, w, b) }}",
        w=generator.standard_normal((2, columns)),
        b=np.zeros(2),
    )
    x = generator.random((4, columns)).astype(np.float32)
    data = open_data({"x": x}, [spec_of(v) for v in model.graph.inputs])
    ObserveRanges(None, data)(model)
    PlanTensors()(model)
    result = RoundWeights(None, data)(model)
    assert not result.modified
    assert any("60,000 elements" in skip.reason for skip in result.skips)
