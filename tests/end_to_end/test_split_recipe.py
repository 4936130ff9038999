"""Recipe ``split`` as a user runs it on a real model: bits, bytes and accuracy."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import intaglio

FASHION = Path(__file__).resolve().parents[2] / "sample_models" / "fashion"
SAMPLES = 300


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return intaglio.convert(
        FASHION / "fashion.onnx",
        recipe="split",
        targets=["onnx-integer", "tflite", "c"],
        calibration=FASHION / "calibration.npz",
        out=tmp_path_factory.mktemp("split") / "fashion",
        sets={"calibrate.choose_cut.at": "stage2.relu2"},
    )


@pytest.fixture(scope="module")
def report(bundle):
    return intaglio.verify(bundle, inputs=FASHION / "test.npz", samples=SAMPLES)


def test_every_device_gives_the_same_codes(bundle, report):
    assert report.ok, report.failures
    targets = {a.target for a in bundle.artifacts if a.role == "device"}
    assert targets == {"onnx-integer", "tflite", "c"}
    exact = [pair for pair in report.pairs if pair.must_be_exact]
    assert all(pair.verdict == "exact" for pair in exact)
    if any(map(shutil.which, ("cc", "gcc", "clang"))):
        assert any(pair.artifact.startswith("device/c@") for pair in exact)
        assert report.split["sent"] == 16


def test_many_times_less_traffic_at_nearly_the_same_accuracy(report):
    assert report.traffic["ratio_fp32"] > 40
    assert report.traffic["ratio_u8"] > 10
    accuracy = {name: found["top1"] for name, found in report.accuracy.items()}
    assert accuracy["split"] > accuracy["unsplit"] - 0.02
    rows = {row["name"]: row for row in report.split["rows"]}
    same_size = rows["JPEG"]
    assert same_size["bytes"] < 1.05 * report.traffic["bytes"]
    assert accuracy["split"] > same_size["metrics"]["top1"]


def test_decisions_come_out_of_frames(bundle):
    with np.load(FASHION / "test.npz") as data:
        images, labels = data["image"][:64], data["labels"][:64]
    session = intaglio.open_split(bundle, quantize_io=True)
    frame = session.device({"image": images})
    assert len(frame) < images[0].size * 64
    right = session.server(frame)["logits"].argmax(1) == labels
    assert right.mean() > 0.85
