"""The sample model, converted for real and verified on its test set."""

from __future__ import annotations

import json

import numpy as np
import pytest

import intaglio
from intaglio.report.html import render_report


@pytest.fixture(scope="module")
def report(digits_bundle, digits):
    return intaglio.verify(digits_bundle, inputs=digits.parent / "test.npz")


def test_it_verifies(report):
    assert report.ok, report.failures
    (qdq,) = [p for p in report.pairs if (p.artifact, p.reference) == ("onnx-qdq", "onnx-integer")]
    assert qdq.max_error_lsb <= 4
    assert qdq.mismatch_fraction < 0.2


def test_it_loses_at_most_half_a_point(report, digits):
    labels = np.load(digits.parent / "test.npz")["labels"]
    found = report.accuracy
    assert found["source"]["samples"] == len(labels)
    for name in ("onnx-integer", "onnx-qdq"):
        assert found[name]["top1"] >= found["source"]["top1"] - 0.005
        assert found[name]["agreement"] > 0.98


def test_every_layer_is_compared_and_none_is_broken(report):
    layers = [layer for layer in report.layers if layer.artifact == "onnx-integer"]
    # Equalized layers included: the reference must have the same scales inside.
    assert {layer.tensor for layer in layers} >= {"image", "relu1.out", "relu3.out", "logits"}
    assert min(layer.sqnr_db for layer in layers) > 30
    levels = [layer.sqnr_db for layer in layers]
    assert levels == sorted(levels)


def test_without_inputs_the_stored_samples_are_used(digits_bundle):
    report = intaglio.verify(digits_bundle)
    assert report.ok
    assert report.inputs == {"samples": 32, "generated": 67, "layers": 32}
    assert json.loads((digits_bundle.folder / "verify.json").read_text())["ok"] is True


def test_the_report_names_the_size_of_every_layer(digits_bundle, report):
    html = render_report(digits_bundle.folder, report)
    for node in ("conv1", "conv2", "fc1", "fc2"):
        assert f">{node}</text>" in html
    assert "digits.onnx --recipe int8" in html
