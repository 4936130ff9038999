"""The report's section on training: figures, curves, and text that stays text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from intaglio.report.curve_chart import curve_chart
from intaglio.report.html import render_report
from intaglio.report.training import training_section
from tests.core.report.test_report import HOSTILE, Page
from tests.core.small_bundle import edit_manifest, write_bundle

#: What a run leaves in the manifest.
RUN: dict[str, Any] = {
    "weights": "ab" * 32,
    "digest": "ab" * 32,
    "steps": 300,
    "steps_done": 400,
    "settings": {"batch": 16, "seed": 7},
    "runtime": "c-avx2",
    "forwards_per_step": 4,
    "forwards": 25600,
    "halvings": [100, 200],
    "ties": 0.0125,
    "parameters": 12345,
    "moved": 0.5,
    "at_limit": 0.0,
    "smallest_step_lsb": 2.5,
    "loss": [[10, 2.5], [200, 1.25], [400, 0.75]],
    "validations": [
        {"step": 0, "loss": 2.0, "accuracy": 0.1},
        {"step": 300, "loss": 0.5, "accuracy": 0.9},
        {"step": 400, "loss": 0.6, "accuracy": 0.8},
    ],
}


def page(tmp_path, adapted) -> tuple[str, Page]:
    bundle = write_bundle(tmp_path / "bundle")
    edited = edit_manifest(bundle, lambda manifest: manifest.update(adapted=adapted))
    html = render_report(edited.folder)
    return html, Page(html)


def test_the_section_says_what_the_run_did(tmp_path):
    html, found = page(tmp_path, RUN)
    assert '<section id="training">' in html
    for text in ("Forward calls", "90.0 %", "10.0 % before", "50.0 %", "c-avx2", "2.5 LSB"):
        assert text in found.text
    assert "ab" * 32 in found.text
    assert "100, 200" in found.text
    assert "400 were done" in found.text


def test_the_curves_are_drawn(tmp_path):
    html, found = page(tmp_path, RUN)
    labels = [attributes.get("aria-label") for tag, attributes in found.tags if tag == "svg"]
    assert {"Loss", "Accuracy in validation", "Loss in validation"} <= set(labels)
    curves = [attributes["points"] for tag, attributes in found.tags if tag == "polyline"]
    assert sorted(len(points.split()) for points in curves if points) == [3, 3, 3]
    assert html.count("the step is halved at 100") == 3


def test_a_bundle_that_was_not_adapted_has_no_section(tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    assert 'id="training"' not in render_report(bundle.folder)
    assert training_section(None) is None


def test_a_replayed_bundle_has_figures_and_no_curves(tmp_path):
    html, found = page(tmp_path, {"weights": "cd" * 32, "steps": 42, "replayed": True})
    assert '<section id="training">' in html
    assert "replayed from a transcript" in found.text
    assert "cd" * 32 in found.text
    assert not [tag for tag, _ in found.tags if tag == "polyline"]


def test_a_run_without_classes_or_validation(tmp_path):
    squared = [{"step": s, "loss": 1.0 / s, "accuracy": None} for s in (1, 2)]
    _, found = page(tmp_path / "squared", {**RUN, "validations": squared})
    assert "Loss in validation" in found.text
    assert "Accuracy" not in found.text
    _, found = page(tmp_path / "none", {**RUN, "validations": [], "halvings": [], "loss": []})
    assert "never" in found.text
    assert not [tag for tag, _ in found.tags if tag == "polyline"]


def test_hostile_text_stays_text(tmp_path):
    hostile = {**RUN, "runtime": HOSTILE, "digest": HOSTILE, "weights": HOSTILE}
    html, found = page(tmp_path, json.loads(json.dumps(hostile)))
    assert "<script>alert" not in html
    assert "{{ 7*7 }}" in found.text
    replayed = {"weights": HOSTILE, "steps": 1, "replayed": True}
    html, found = page(tmp_path / "replayed", replayed)
    assert "<script>alert" not in html
    assert "{{ 7*7 }}" in found.text


@pytest.mark.parametrize("points", [[], [(1, 2.0)]])
def test_one_point_is_no_curve(points):
    assert curve_chart("Loss", points, str) == ""


@pytest.mark.parametrize("points", [[(0, 1.0), (5, 1.0)], [(3, 1.0), (3, 2.0)], [(0, -1), (9, 1)]])
def test_a_curve_stays_within_its_plot(points):
    drawn = Page(str(curve_chart(HOSTILE, points, str, [(points[0][0], HOSTILE)])))
    shapes = [a["points"] for tag, a in drawn.tags if tag == "polyline"]
    [curve] = [text for text in shapes if text]
    for place in curve.split():
        x, y = map(float, place.split(","))
        assert 84 <= x <= 1040
        assert 0 <= y <= 240
