from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from intaglio.errors import InputError, RecipeError, VerificationError
from intaglio.fitting.data import open_data
from intaglio.passes.selectors import select_nodes
from intaglio.settings import parse_assignment
from intaglio.targets.base import TensorSpec
from intaglio.transforms.scales import TensorQuantization
from intaglio.verification.accuracy import Accuracy, choose_metric
from intaglio.verification.comparison import (
    OutputComparison,
    PairComparison,
    reported_bins,
    round_to_levels,
    verdict_of,
)
from intaglio.verification.inner_tensors import InnerTensor, SourceValue
from intaglio.verification.inputs import RANDOM_INPUTS, VerifyInputs
from intaglio.verification.layers import LayerComparison, rank_layers, sixteen_bit_option, suggest
from intaglio.verification.report import SOURCE, LayerResult, PairResult
from intaglio.verification.requirements import (
    check_requirements,
    parse_requirement,
    parse_requirements,
)

INT8 = TensorSpec("y", ("N", 3), "int8", "", 0.5, 4)
FLOAT = TensorSpec("y", ("N", 3), "float32")


# Comparison


def test_integers_are_compared_as_they_are():
    comparison = OutputComparison(INT8, INT8)
    comparison.add(np.array([[1, 2, -128]], np.int8), np.array([[1, 4, 127]], np.int8))
    assert comparison.histogram.counts == {-255: 1, -2: 1, 0: 1}
    assert comparison.mismatches == 2


def test_floats_are_rounded_to_steps_but_not_clamped():
    comparison = OutputComparison(INT8, FLOAT)
    # 4 is real zero and 127 is 61.5; 100 real would be 200 steps above zero, 77 more than fit.
    comparison.add(np.array([4, 127], np.int8), np.array([0.2, 100.0], np.float32))
    assert comparison.histogram.counts == {-77: 1, 0: 1}


def test_different_scales_meet_on_that_of_the_reference():
    coarse = TensorSpec("y", ("N",), "int16", "", 1.0, 0)
    comparison = OutputComparison(coarse, INT8)
    comparison.add(np.array([3], np.int16), np.array([4 + 6], np.int8))
    assert comparison.histogram.counts == {0: 1}


def test_float_borders_of_one_arithmetic_must_agree_in_every_bit():
    planned = TensorQuantization("int8", (0.5,), (0,))
    for bitwise, mismatches in ((True, 1), (False, 0)):
        comparison = OutputComparison(FLOAT, FLOAT, planned, bitwise=bitwise)
        comparison.add(np.array([1.0000001], np.float32), np.array([1.0], np.float32))
        assert comparison.mismatches == mismatches


def test_floats_without_any_scale_cannot_be_compared():
    with pytest.raises(VerificationError, match="one step"):
        OutputComparison(FLOAT, FLOAT)
    pair = PairComparison("a", "b", "float", {"y": (FLOAT, FLOAT)})
    assert pair.result().verdict == "failed"


def test_raw_integers_count_in_ones():
    raw = TensorSpec("index", ("N",), "int64")
    comparison = OutputComparison(raw, raw)
    comparison.add(np.array([5, 7]), np.array([5, 9]))
    assert comparison.histogram.counts == {-2: 1, 0: 1}


def test_values_that_the_reference_does_not_define_are_left_out():
    comparison = OutputComparison(INT8, FLOAT)
    comparison.add(np.array([4, 4], np.int8), np.array([np.nan, 0.0], np.float32))
    assert comparison.histogram.total == 1


def test_nan_from_the_artifact_alone_is_an_error():
    comparison = OutputComparison(FLOAT, INT8)
    with pytest.raises(VerificationError, match="NaN"):
        comparison.add(np.array([np.nan], np.float32), np.array([4], np.int8))


def test_shapes_must_agree():
    pair = PairComparison("a", "b", "tflm", {"y": (INT8, INT8)}, must_be_exact=True)
    pair.add({"y": np.zeros((1, 3), np.int8)}, {"y": np.zeros((3, 1), np.int8)})
    assert "shape" in str(pair.result().error)


@pytest.mark.parametrize(
    ("largest", "mismatches", "verdict"),
    [(0, 0, "exact"), (1, 3, "within 1 lsb"), (8, 1, "within 8 lsb"), (9, 1, "different")],
)
def test_verdicts(largest, mismatches, verdict):
    assert verdict_of(largest, mismatches) == verdict


def test_reported_bins_have_no_gaps_and_keep_every_value():
    bins = reported_bins({-300: 2, -1: 5, 0: 10, 9: 1, 40: 3})
    assert dict(bins) == {**dict.fromkeys(range(-8, 9), 0), -8: 2, -1: 5, 0: 10, 8: 4}
    assert [error for error, _ in bins] == list(range(-8, 9))


def test_levels_of_huge_values_do_not_wrap():
    levels = round_to_levels(np.array([3e38, -3e38], np.float32), 1e-30)
    assert levels[0] > 1 << 60
    assert levels[1] < -(1 << 60)


# Requirements


@pytest.mark.parametrize(
    "text",
    ["", "exakt", "lsb", "lsb=", "lsb=-1", "lsb=1.5", "sqnr=nan", "sqnr=x", "exact=1", "a=1"],
)
def test_nonsense_is_no_requirement(text):
    with pytest.raises(RecipeError, match="is not a requirement"):
        parse_requirement(text)


def test_several_requirements_in_one_text():
    assert [str(r) for r in parse_requirements("exact,lsb=2")] == ["exact", "lsb=2"]
    assert [str(r) for r in parse_requirements(["sqnr=30.5", "exact"])] == ["sqnr=30.5", "exact"]


def test_exact_and_lsb_do_not_speak_about_the_source_but_sqnr_does():
    pairs = [
        PairResult("q", "i", "exact", "tflm", True, 0.0, 0.0, math.inf),
        PairResult("q", SOURCE, "different", "tflm", False, 30.0, 0.9, 25.0),
    ]
    assert check_requirements(parse_requirements("exact,lsb=0,sqnr=25"), pairs) == []
    (violation,) = check_requirements(parse_requirements("sqnr=26"), pairs)
    assert "25.0 dB" in violation


def test_an_undefined_sqnr_does_not_pass():
    pairs = [PairResult("q", "i", "different", "tflm", sqnr_db=math.nan)]
    assert len(check_requirements(parse_requirements("sqnr=1"), pairs)) == 1


# Accuracy


def test_top1_takes_trailing_ones():
    accuracy = Accuracy("top1")
    scores = np.array([[1, 5, 2], [9, 0, 0]], np.float32).reshape(2, 3, 1, 1)
    accuracy.add({"a": {"y": scores}}, 2, np.array([1, 2]), None)
    assert accuracy.results()["a"]["top1"] == 0.5


@pytest.mark.parametrize(("outputs", "counted"), [(1, True), (2, False)])
def test_agreement_without_labels_is_for_classifiers(outputs, counted):
    accuracy = Accuracy(None)
    scores = {f"y{i}": np.eye(4, dtype=np.float32) for i in range(outputs)}
    accuracy.add({SOURCE: scores, "a": scores}, 4, None, None)
    assert ("agreement" in accuracy.results().get("a", {})) is counted


def test_labels_need_scores():
    accuracy = Accuracy("top1")
    with pytest.raises(InputError, match="samples x classes"):
        accuracy.add({"a": {"y": np.zeros((2, 3, 4))}}, 2, np.array([1, 2]), None)


def test_targets_must_have_the_shape_of_an_output():
    accuracy = Accuracy("mse")
    with pytest.raises(InputError, match="fit no output"):
        accuracy.add({"a": {"y": np.zeros((2, 3))}}, 2, None, np.zeros((2, 4)))


def test_psnr_peaks():
    for peak in (1.0, 255.0):
        accuracy = Accuracy("psnr")
        target = np.full((1, 1, 2, 2), 0.5 * peak)
        accuracy.add({"a": {"y": target + 0.01 * peak}}, 1, None, target)
        found = accuracy.results()["a"]
        assert found["psnr_db"] == pytest.approx(40.0)
        assert found["peak"] == peak


def test_the_metric_follows_the_data():
    assert choose_metric(None, True, True) == "top1"
    assert choose_metric(None, False, True) == "psnr"
    assert choose_metric(None, False, False) is None
    assert choose_metric("mse", True, True) == "mse"


# Inputs


def _generated(spec, quantization, data=None, size=16):
    inputs = VerifyInputs([spec], {spec.name: quantization} if quantization else {}, data)
    batches = list(inputs.batches(size))
    made = [b.inputs[spec.name] for b in batches if b.generated]
    return inputs, np.concatenate(made)


def test_generated_inputs_cover_the_quantized_range_and_its_corners():
    quantization = TensorQuantization("int8", (0.25,), (-10,))
    _, made = _generated(TensorSpec("x", ("N", 50), "float32"), quantization)
    codes = quantization.quantize(made)
    assert made.shape == (RANDOM_INPUTS + 3, 50)
    assert np.array_equal(quantization.dequantize(codes), made)
    assert (codes[-3] == -128).all()
    assert (codes[-2] == 127).all()
    assert (made[-1] == 0).all()
    # 3,200 uniform draws miss a given one of 256 codes with a probability of e^-12.5.
    assert len(np.unique(codes[:-3])) > 250


def test_generated_inputs_are_the_same_every_time_whatever_the_batch():
    spec = TensorSpec("x", ("N", 5), "float32")
    quantization = TensorQuantization("int8", (0.25,), (0,))
    _, one = _generated(spec, quantization, size=1)
    _, many = _generated(spec, quantization, size=16)
    assert np.array_equal(one, many)


def test_open_dimensions_are_those_of_a_sample():
    spec = TensorSpec("x", ("N", 1, "H", "W"), "float32")
    data = open_data({"x": np.zeros((2, 1, 7, 9), np.float32)}, [spec])
    _, made = _generated(spec, TensorQuantization("int8", (0.25,), (0,)), data)
    assert made.shape[1:] == (1, 7, 9)


def test_raw_integer_inputs_stay_within_the_samples():
    spec = TensorSpec("ids", ("N", 6), "int64")
    data = open_data({"ids": np.array([[3, 4, 5, 9, 9, 9]])}, [spec])
    _, made = _generated(spec, None, data)
    assert made.dtype == np.int64
    assert made.min() >= 3
    assert made.max() <= 9


def test_an_input_without_batch_axis_is_run_one_by_one():
    spec = TensorSpec("x", (4,), "float32")
    data = open_data({"x": np.arange(8, dtype=np.float32).reshape(2, 4)}, [spec])
    inputs = VerifyInputs([spec], {"x": TensorQuantization("int8", (0.1,), (0,))}, data)
    batches = list(inputs.batches(16))
    assert [b.inputs["x"].shape for b in batches] == [(4,)] * (2 + RANDOM_INPUTS + 3)
    assert [b.count for b in batches] == [1] * (2 + RANDOM_INPUTS + 3)


# Layers

QUANTIZATION = TensorQuantization("int8", (0.1,), (0,))


def _layer(name, found, expected, inputs=(), order=0, integer=True):
    tensor = InnerTensor(f"{name}_q", name, QUANTIZATION, integer)
    source = SourceValue(name, f"node_{name}", "Conv", order, tuple(inputs))
    comparison = LayerComparison("onnx-integer", tensor, source)
    comparison.add(found, expected)
    return comparison.result(), source


def test_a_layer_counts_what_numpy_counts():
    expected = np.array([0.0, 1.0, -2.04, 20.0, -20.0, 3.0], np.float32)
    found = np.array([0, 10, -20, 127, -128, 33], np.int8)
    layer, _ = _layer("t", found, expected)
    assert layer.max_error_lsb == 73  # 200 steps against 127
    assert layer.mean_error_lsb == pytest.approx((-73 + 72 + 3) / 6)
    assert layer.saturated_low == pytest.approx(1 / 6)
    assert layer.saturated_high == pytest.approx(1 / 6)
    assert layer.range_used == 1.0
    noise = found * 0.1 - expected.astype(np.float64)
    wanted = 10 * np.log10(np.sum(np.square(expected)) / np.sum(np.square(noise)))
    assert layer.sqnr_db == pytest.approx(wanted, abs=1e-4)


def test_dequantized_tensors_give_the_same_as_their_integers():
    expected = np.random.default_rng(1).normal(0, 5, 300).astype(np.float32)
    codes = QUANTIZATION.quantize(expected)
    one, _ = _layer("t", codes, expected)
    other, _ = _layer("t", QUANTIZATION.dequantize(codes), expected, integer=False)
    assert one.sqnr_db == pytest.approx(other.sqnr_db, abs=1e-4)
    assert replace(one, sqnr_db=0.0) == replace(other, sqnr_db=0.0)


def test_layers_come_worst_first_with_what_each_loses_itself():
    rng = np.random.default_rng(2)
    clean = rng.uniform(-12, 12, 1000).astype(np.float32)
    codes = QUANTIZATION.quantize(clean)
    noisy = np.clip(codes + rng.integers(-40, 41, 1000), -128, 127).astype(np.int8)
    first, s1 = _layer("a", codes, clean)
    second, s2 = _layer("c", noisy, clean, inputs=["b"], order=2)
    third, s3 = _layer("d", noisy, clean, inputs=["c"], order=3)
    unseen = SourceValue("b", "node_b", "Relu", 1, ("a",))
    ranked = rank_layers([first, second, third], {s.name: s for s in (s1, unseen, s2, s3)})
    assert [layer.tensor for layer in ranked] == ["c", "d", "a"]
    assert ranked[0].drop_db == pytest.approx(first.sqnr_db - second.sqnr_db)
    assert "quantize.sixteen_bit='[\"node_c\"]'" in ranked[0].suggestion
    assert ranked[1].drop_db == pytest.approx(0.0)
    assert ranked[1].suggestion == "inherits its error from 'node_c'"
    assert ranked[2].suggestion == ""


def _row(**changes):
    values = {
        "artifact": "onnx-integer",
        "node": "n",
        "operator": "Conv",
        "tensor": "t",
        "dtype": "int8",
        "scale": 0.1,
        "zero_point": 0,
        "order": 1,
        "sqnr_db": 40.0,
        "drop_db": 10.0,
        "max_error_lsb": 1.0,
        "mean_error_lsb": 0.0,
        "saturated_low": 0.0,
        "saturated_high": 0.0,
        "range_used": 0.9,
        "low": -1.0,
        "high": 1.0,
        "histogram": (),
    }
    return LayerResult(**{**values, **changes})


def test_suggestions_follow_the_finding():
    assert suggest(_row()) == ""
    assert "calibrate.observer=minmax" in suggest(_row(saturated_high=0.03))
    assert "calibrate.observer=percentile" in suggest(_row(range_used=0.1, sqnr_db=25.0))
    assert suggest(_row(range_used=0.1, sqnr_db=45.0)) == ""
    assert suggest(_row(range_used=0.1, sqnr_db=25.0, operator="Sigmoid")) == ""
    assert "quantize.sixteen_bit" in suggest(_row(sqnr_db=5.0))
    assert "quantize.sixteen_bit" not in suggest(_row(sqnr_db=5.0, dtype="int16"))


@pytest.mark.parametrize(
    "name", ["/conv/1", "it's", 'a"b', "back\\slash", "op[0]*?", "op:Conv", "ü"]
)
def test_the_suggested_option_selects_exactly_that_layer(name):
    import shlex

    import onnx_ir as ir

    words = shlex.split(sixteen_bit_option(name))
    key, value = parse_assignment(words[1])
    assert (words[0], key) == ("--set", "quantize.sixteen_bit")
    other = ir.Node("", "Relu", [], name=name + "x")
    node = ir.Node("", "Relu", [], name=name)
    assert select_nodes([node, other], value, "quantize.sixteen_bit") == {name}
