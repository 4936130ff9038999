"""``calibrate.fit_codec`` on a small random network in integers: budgets, options, refusals."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.errors import RecipeError
from intaglio.fitting.choose_cut import ChooseCut, ChooseCutConfig
from intaglio.fitting.data import open_data
from intaglio.fitting.fit_codec import FitCodec, FitCodecConfig
from intaglio.fitting.split.probe import Probe
from intaglio.passes.split.marks import read_codec
from intaglio.pipeline import prepare_for_target, run_recipe
from intaglio.recipe import load_recipe
from intaglio.settings import build_config
from intaglio.targets.base import spec_of
from intaglio.targets.reading import read_model
from intaglio.transforms.split.coding import decode_features, encode_features, feature_codes
from intaglio.transforms.split.entropy import ideal_bits
from intaglio.transforms.split.frames import read_frame, write_frame
from tests.helpers import build

LOWER = ("lower.shift_unsigned", "lower.to_integer")
SAMPLES = 16

#: Two branches that meet again: a cut of one tensor (a) or of two (b, c); p and h follow.
TEXT = """
    (float[1,2,8,5] x) => (float[1,5] y)
    {
        a0 = Conv <pads=[1,1,1,1]> (x, w0)
        a = Relu(a0)
        b0 = Conv <pads=[1,1,1,1], strides=[2,2]> (a, w1)
        b = Relu(b0)
        c = Conv <strides=[2,2]> (a, w2)
        d0 = Add(b, c)
        d = Relu(d0)
        p = GlobalAveragePool(d)
        f = Flatten(p)
        h0 = Gemm(f, w3)
        h = Relu(h0)
        y = Gemm(h, w4)
    }
"""
SHAPES = {
    "w0": (6, 2, 3, 3), "w1": (8, 6, 3, 3), "w2": (8, 6, 1, 1), "w3": (8, 12), "w4": (12, 5),
}  # fmt: skip


@pytest.fixture(scope="module")
def lowered(tmp_path_factory):
    """The integer graph, and calibration samples that are smooth as pictures are."""
    generator = np.random.default_rng(0)
    weights = {
        name: generator.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        for name, shape in SHAPES.items()
    }
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    ir.save(build(TEXT, **weights), path)
    noise = generator.normal(0, 1, (SAMPLES, 2, 10, 7))
    smooth = sum(noise[:, :, i : i + 8, j : j + 5] for i in range(3) for j in range(3)) / 3
    arrays = {"x": smooth.astype(np.float32)}
    model = read_model(path, {})
    data = open_data(arrays, [spec_of(value) for value in model.graph.inputs])
    recipe = load_recipe("int8")
    model = run_recipe(model, recipe, data=data).model
    prepare_for_target(model, LOWER, recipe, "test")
    return model, data


@pytest.fixture(scope="module")
def cuts(lowered):
    """The graph cut at planes, at two tensors, and at a vector."""
    made = {}
    for name, at in {"planes": "a", "two": "b,c", "vector": "h"}.items():
        model = lowered[0].clone(deep_copy=True)
        ChooseCut(ChooseCutConfig(at=at), None)(model)
        made[name] = model
    return made


@pytest.fixture(scope="module")
def probes(lowered, cuts):
    """What runs the server half, made once for each cut."""
    from intaglio.passes.split.cuts import get_cut

    data = lowered[1]
    return {
        name: Probe(model, get_cut(model), data, SAMPLES, lambda done, total: None)
        for name, model in cuts.items()
    }


@pytest.fixture(scope="module")
def fit_anew(lowered, cuts):
    """Fits a codec to one of the cuts: its specification and the facts."""

    def run(cut="planes", **options):
        model = cuts[cut].clone(deep_copy=True)
        done = FitCodec(FitCodecConfig(**options), lowered[1])(model)
        assert done.modified
        specification = read_codec(model)
        assert specification is not None
        return specification.check(), done.facts

    return run


@pytest.fixture(scope="module")
def fit(fit_anew):
    """The same, but what was fitted before is remembered."""
    known = {}

    def run(cut="planes", **options):
        key = (cut, *sorted(options.items()))
        if key not in known:
            known[key] = fit_anew(cut, **options)
        return known[key]

    return run


def check(specification, facts, probe):
    """The codec as numpy defines it gives the noise and the bits that the pass says."""
    codes, ranges = encode_features(specification, probe.features)
    restored = decode_features(specification, codes, ranges)
    assert probe.noise(restored) == pytest.approx(facts["noise"], rel=1e-9, abs=1e-12)
    bits = 8.0 * specification.side_bytes
    for feature, planes in feature_codes(specification, codes):
        if specification.coding == "rans":
            bits += ideal_bits(planes, feature) / len(codes)
        elif specification.coding == "raw":
            bits += 8 * feature.codes
        else:
            rows, columns = feature.code_plane
            for stripe in feature.stripes:
                used = stripe.channels * rows * columns * stripe.bits if stripe.levels > 1 else 0
                bits += 8 * -(-used // 8)
    assert bits / specification.elements == pytest.approx(facts["bits_per_element"])
    data = write_frame(specification, codes, ranges)
    frame = read_frame(specification, data, len(codes))
    assert np.array_equal(frame.codes, codes)
    # What is promised is what is sent, but for states and the last words.
    lanes = max(feature.lanes for feature in specification.features)
    sent = 8 * (len(data) - 18) / len(codes)
    assert sent <= 1.01 * bits + 8 * 8 * lanes / len(codes) + 8
    assert facts["samples"] == SAMPLES


OPTIONS = {
    "nothing": {},
    "little noise": {"noise": 0.0005},
    "much noise": {"noise": 0.3},
    "bits": {"bits_per_element": 0.8},
    "entropy of 2 bits": {"bits": 2},
    "uniform": {"quantizer": "uniform"},
    "uniform, 4 bits": {"quantizer": "uniform", "bits": 4},
    "uniform, clipped": {"quantizer": "uniform", "bits": 3, "clip": 0.7},
    "uniform, budget": {"quantizer": "uniform", "bits_per_element": 1.0},
    "one stripe": {"stripes": 1},
    "two stripes": {"stripes": 2, "order": "range"},
    "similarity": {"order": "similarity"},
    "shared channels": {"share_channels": 2, "share_patch": 1},
    "shared patch": {"share_patch": 3},
    "both shared": {"share_channels": 2, "share_patch": 2, "order": "none"},
    "no contexts": {"contexts": False},
    "packed": {"coding": "packed"},
    "packed, budget": {"coding": "packed", "bits_per_element": 1.5},
    "raw": {"coding": "raw"},
    "three lanes": {"lanes": 3},
    "dynamic": {"ranges": "dynamic"},
    "dynamic, 3 bits": {"ranges": "dynamic", "bits": 3},
    "dynamic, tiles": {"ranges": "dynamic", "tile": 4, "stripes": 2},
    "dynamic, shared": {"ranges": "dynamic", "share_channels": 2, "share_patch": 2},
    "dynamic, packed": {"ranges": "dynamic", "coding": "packed", "bits": 4},
    "dynamic, budget": {"ranges": "dynamic", "bits_per_element": 2.5},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_codec_is_what_the_facts_say(fit, probes, name):
    specification, facts = fit("planes", **OPTIONS[name])
    check(specification, facts, probes["planes"])


@pytest.mark.parametrize("options", [{}, {"ranges": "dynamic"}, {"coding": "packed"}])
@pytest.mark.parametrize("cut", ["two", "vector"])
def test_two_tensors_and_vectors(fit, probes, cut, options):
    specification, facts = fit(cut, **options)
    assert [len(f.shape) for f in specification.features] == {"two": [3, 3], "vector": [1]}[cut]
    check(specification, facts, probes[cut])


@pytest.mark.parametrize("cut", ["planes", "two", "vector"])
@pytest.mark.parametrize(("noise", "bits"), [(0.3, None), (0.05, None), (0.005, 8)])
def test_a_budget_of_noise_is_met(fit, cut, noise, bits):
    """Codes of 16 levels, the most by default, are not enough for every noise: 8 bits are."""
    _, facts = fit(cut, noise=noise, bits=bits)
    assert facts["noise"] <= noise


def test_more_noise_takes_fewer_bits(fit):
    bits = [fit(noise=noise)[1]["bits_per_element"] for noise in (0.02, 0.05, 0.3, 1.0)]
    assert bits == sorted(bits, reverse=True)
    assert bits[3] < bits[0] / 2


@pytest.mark.parametrize(
    ("quantizer", "budget"), [("entropy", 0.3), ("entropy", 1.5), ("uniform", 1.0)]
)
@pytest.mark.parametrize("cut", ["planes", "two"])
def test_a_budget_of_bits_is_met_and_used(fit, cut, budget, quantizer):
    _, facts = fit(cut, bits_per_element=budget, quantizer=quantizer)
    assert facts["bits_per_element"] <= budget
    if quantizer == "entropy":
        assert facts["bits_per_element"] > 0.4 * budget or facts["noise"] < 0.01


def test_many_bits_are_spent_on_more_levels(fit):
    """Sixteen levels take four bits at most."""
    found, facts = fit(bits_per_element=6.0)
    assert 4 < facts["bits_per_element"] <= 6.0
    assert max(s.levels for feature in found.features for s in feature.stripes) > 16


def test_the_user_hears_of_a_budget_that_is_missed_and_of_loud_noise(fit):
    assert fit()[1]["warnings"] == []
    [missed] = fit(noise=1e-5, bits=1)[1]["warnings"]
    assert "above the 1e-05 asked for" in missed
    [loud] = fit(bits_per_element=0.02)[1]["warnings"]
    assert "check the accuracy" in loud


def test_a_filter_on_the_server_saves_bits_at_the_same_noise(fit):
    found, facts = fit(noise=0.05)
    plain, plain_facts = fit(noise=0.05, restoration=False)
    [feature] = found.features
    assert feature.restoration.kernel == (3, 3)
    assert facts["features"][0]["restoration"] == "3 x 3, each channel alone"
    assert plain.features[0].restoration is None
    assert plain_facts["features"][0]["restoration"] == "none"
    assert facts["bits_per_element"] < plain_facts["bits_per_element"]
    assert facts["noise"] <= 0.05


def test_what_is_exact_is_not_filtered(fit):
    found, facts = fit(quantizer="uniform", bits=8, clip=1.0, share_patch=1)
    assert facts["noise"] == 0
    assert found.features[0].restoration is None


def test_more_bits_leave_less_noise(fit):
    noise = [fit(bits_per_element=bits)[1]["noise"] for bits in (0.3, 1.5)]
    assert noise == sorted(noise, reverse=True)


def test_options_show_in_the_specification(fit):
    feature = fit(**OPTIONS["both shared"])[0].features[0]
    assert (feature.share_channels, feature.share_patch, feature.code_channels) == (2, 2, 3)
    assert feature.order == tuple(range(6))
    feature = fit(**OPTIONS["dynamic, tiles"])[0].features[0]
    assert (feature.ranges, feature.tile, len(feature.stripes)) == ("dynamic", 4, 2)
    assert feature.side_bytes == 2 * 2 * 2 * 2
    feature = fit(**OPTIONS["three lanes"])[0].features[0]
    assert feature.lanes == 3
    feature = fit(**OPTIONS["no contexts"])[0].features[0]
    assert feature.contexts == 1
    assert feature.references == (-1,) * 6
    feature = fit(**OPTIONS["uniform, 4 bits"])[0].features[0]
    assert {stripe.levels for stripe in feature.stripes} == {16}
    feature = fit(**OPTIONS["dynamic, 3 bits"])[0].features[0]
    assert {stripe.levels for stripe in feature.stripes} == {8}
    feature = fit(**OPTIONS["entropy of 2 bits"])[0].features[0]
    assert max(stripe.levels for stripe in feature.stripes) <= 4
    assert fit(coding="packed")[0].coding == "packed"
    assert all(not s.frequencies for s in fit(coding="raw")[0].features[0].stripes)


def test_contexts_save_bits_of_the_same_codes(fit):
    with_contexts = fit(share_patch=1)[1]
    without = fit(share_patch=1, contexts=False)[1]
    assert with_contexts["noise"] == without["noise"]
    assert with_contexts["bits_per_element"] < without["bits_per_element"]


def test_the_clip_shows_in_the_decoder(fit, probes):
    options = {"quantizer": "uniform", "bits": 8, "share_patch": 1}
    whole = fit(clip=1.0, **options)[0].features[0]
    half = fit(clip=0.5, **options)[0].features[0]
    feature = probes["planes"].features[whole.name]
    for channel in range(6):
        values = feature[:, channel].astype(int)
        spans = [f.decode[channel][-1] - f.decode[channel][0] for f in (whole, half)]
        assert spans[0] == np.ptp(values)
        assert abs(spans[1] - spans[0] / 2) <= 1


def test_uniform_codes_of_8_bits_and_no_clip_are_exact(fit):
    _, facts = fit(quantizer="uniform", bits=8, clip=1.0, share_patch=1)
    assert facts["noise"] == 0


@pytest.mark.parametrize("name", ["nothing", "shared channels", "dynamic", "uniform, budget"])
def test_a_second_fit_gives_the_same_codec(fit, fit_anew, name):
    assert fit(**OPTIONS[name]) == fit_anew(**OPTIONS[name])


def test_a_model_that_has_a_codec_is_left_alone(lowered, cuts):
    model = cuts["planes"].clone(deep_copy=True)
    FitCodec(FitCodecConfig(), lowered[1])(model)
    before = dict(model.metadata_props)
    again = FitCodec(FitCodecConfig(noise=0.5), lowered[1])(model)
    assert not again.modified
    assert [skip.reason for skip in again.skips] == ["the codec is fitted already"]
    assert dict(model.metadata_props) == before


def test_nothing_but_the_metadata_changes(lowered, cuts):
    model = cuts["two"].clone(deep_copy=True)
    before = [(n.op_type, [v.name for v in n.outputs]) for n in model.graph]
    FitCodec(FitCodecConfig(), lowered[1])(model)
    assert [(n.op_type, [v.name for v in n.outputs]) for n in model.graph] == before


def test_the_changes_name_both_tensors(lowered, cuts):
    model = cuts["two"].clone(deep_copy=True)
    done = FitCodec(FitCodecConfig(), lowered[1])(model)
    features = read_codec(model).features
    assert [change.node for change in done.changes] == [f.source for f in features]
    assert {f.source for f in features} == {"b", "c"}


def test_fewer_samples_are_taken(fit):
    assert fit(samples=5)[1]["samples"] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 2}, r"tile is for dynamic ranges.*ranges=dynamic"),
        ({"clip": 0.5}, r"clip is for uniform.*quantizer=uniform"),
        ({"clip": 0.5, "quantizer": "uniform", "ranges": "dynamic"}, r"clip is for uniform"),
        ({"coding": "packed", "lanes": 2}, r"lanes is for coding rans.*leave it out"),
        ({"coding": "raw", "lanes": 2}, r"lanes is for coding rans"),
        ({"share_channels": 4}, r"share_channels is 4.*does not divide the 6 .*divisor"),
        ({"coding": "packed", "contexts": True}, r"contexts is for coding rans"),
        ({"noise": 0.1, "bits_per_element": 1.0}, r"two budgets.*give one"),
        ({"ranges": "dynamic", "quantizer": "entropy"}, r"quantizer=entropy is for static"),
        ({"ranges": "dynamic", "restoration": True}, r"restoration is for static ranges"),
        ({"share_patch": 9}, r"share_patch is 9.*planes of .* are \d by \d.*at most"),
        ({"stripes": 7}, r"stripes is 7.*6 channels.*at most 6"),
        ({"stripes": 4, "share_channels": 2}, r"stripes is 4.*3 channels.*at most 3"),
    ],
)
def test_options_that_contradict_are_refused_with_a_remedy(fit, options, message):
    with pytest.raises(RecipeError, match=f"calibrate.fit_codec.*{message}") as caught:
        fit(**options)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "options",
    [
        {"noise": 0}, {"noise": -1}, {"bits": 9}, {"bits": 0}, {"clip": 0}, {"clip": 1.1},
        {"lanes": 65}, {"stripes": -1}, {"share_channels": 0}, {"samples": 0},
        {"quantizer": "other"}, {"order": "other"}, {"coding": "zip"}, {"ranges": "none"},
        {"bits_per_element": 0}, {"bits_per_element": 9}, {"unknown": 1},
    ],
    ids=str,
)  # fmt: skip
def test_options_out_of_their_limits_are_refused(options):
    with pytest.raises(RecipeError, match=next(iter(options))):
        build_config("calibrate.fit_codec", options)


def test_a_model_without_a_cut_is_refused(lowered):
    with pytest.raises(RecipeError, match=r"needs a cut.*choose_cut"):
        FitCodec(FitCodecConfig(), lowered[1])(lowered[0].clone(deep_copy=True))


def test_a_fit_without_data_is_refused(cuts):
    with pytest.raises(RecipeError, match="needs calibration data"):
        FitCodec(FitCodecConfig(), None)(cuts["planes"].clone(deep_copy=True))
