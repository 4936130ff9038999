"""TFLite files from the command line: bundles of them, and quantized ones as the model."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest


@pytest.fixture(scope="module")
def bundle(cli, digits, digits_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("tflite") / "digits"
    done = cli(
        "convert", digits, "--calibration", digits_data, "--target", "onnx-integer",
        "--target", "tflite", "--out", out, "--quiet",
    )  # fmt: skip
    assert done.code == 0, done.err
    return out


@pytest.fixture(scope="module")
def int8_file(bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "digits.tflite"
    shutil.copyfile(bundle / "tflite" / "model.tflite", path)
    return path


def test_inspect_counts_the_operators_of_the_file(cli, bundle):
    done = cli("inspect", bundle, env={"COLUMNS": "200"})
    assert done.code == 0, done.err
    assert "CONV_2D 2, FULLY_CONNECTED 2, MAX_POOL_2D 1" in done.out


def test_run_says_that_channels_stand_at_the_other_end(cli, bundle, test_data):
    done = cli("run", bundle, "--target", "tflite", "--input", test_data, "--quantize-io")
    assert done.code == 3
    assert "takes N×8×8×1; the array is N×1×8×8" in done.err
    assert "transpose it by (0, 2, 3, 1)" in done.err


def test_run_takes_no_folder(cli, bundle, tmp_path):
    done = cli("run", bundle, "--target", "tflite", "--input", tmp_path)
    assert done.code == 3
    assert "is a folder" in done.err


def test_a_missing_report_does_not_hide_the_verdict(cli, bundle, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    (damaged / "report.json").unlink()
    done = cli("verify", damaged, "--quiet")
    assert done.code == 5
    assert "failed: " in done.err
    assert "report.json is missing" in done.err


def test_options_without_effect_on_a_quantized_file_are_warned_of(cli, int8_file, tmp_path):
    done = cli(
        "convert", int8_file, "--recipe", "int16x8", "--target", "tflite",
        "--out", tmp_path / "out", "--quiet",
    )  # fmt: skip
    assert done.code == 0
    assert "quantize.plan_tensors.activations has no effect" in done.err


def test_a_quantized_file_may_get_float_borders(cli, int8_file, tmp_path):
    out = tmp_path / "out"
    done = cli(
        "convert", int8_file, "--target", "onnx-integer", "--io", "float", "--out", out, "--quiet"
    )
    assert done.code == 0, done.err
    done = cli("verify", out, "--json")
    assert done.code == 0, done.out + done.err
    verdicts = {pair["verdict"] for pair in json.loads(done.out)["pairs"]}
    assert verdicts
    assert verdicts <= {"exact", "within 1 lsb"}


def test_samples_that_use_few_levels_of_the_input_are_warned_of(cli, int8_file, tmp_path):
    out = tmp_path / "out"
    cli("convert", int8_file, "--target", "onnx-integer", "--out", out, "--quiet")
    pixels = np.random.default_rng(0).uniform(0, 1, (8, 8, 8, 1)).astype(np.float32)
    for factor, warned in ((1 / 255, True), (1, False)):
        np.save(tmp_path / "x.npy", pixels * np.float32(factor))
        done = cli("verify", out, "--inputs", tmp_path / "x.npy")
        assert done.code == 0, done.out
        assert ("the samples use 0 to " in done.out) is warned
