"""What `train` warns of: runs that cannot come to anything, and what to change."""

from __future__ import annotations

from pathlib import Path

import pytest

import intaglio
from tests.core.training_runs import Arrays, convert, mirrored_digits


@pytest.fixture(scope="module")
def mirrored() -> tuple[Arrays, Arrays]:
    return mirrored_digits()


def warnings(tmp_path: Path, mirrored, *settings: str, scale: float = 1.0) -> str:
    bundle = convert(tmp_path / "b", *settings)
    data = {**mirrored[0], "image": scale * mirrored[0]["image"]}
    report = intaglio.train(bundle, data, tmp_path / "a", steps=20, batch=4)
    return "\n".join(report.warnings)


def test_a_step_that_rounds_to_nothing_is_warned_about(tmp_path, mirrored):
    settings = ["train.plan_step.learning_rate=0.000001", "train.plan_step.rounding=nearest"]
    found = warnings(tmp_path, mirrored, *settings)
    assert "rounds to nothing" in found
    assert "no weight has moved" in found


def test_probes_too_near_are_warned_about(tmp_path, mirrored):
    found = warnings(tmp_path, mirrored, "train.plan_step.epsilon_lsb=0")
    assert "epsilon is below half an LSB" in found
    assert "found no difference" in found


def test_weights_at_their_limits_are_warned_about(tmp_path, mirrored):
    settings = ["train.plan_step.learning_rate=0.5", "train.plan_step.rounding=nearest"]
    assert "at the end of their range" in warnings(tmp_path, mirrored, *settings)


def test_inputs_out_of_range_are_warned_about(tmp_path, mirrored):
    found = warnings(tmp_path, mirrored, scale=2.0)
    assert "outside the calibrated range" in found


def test_a_run_that_made_nothing_better_says_so(tmp_path, mirrored):
    train, others = mirrored
    bundle = convert(tmp_path / "b", "train.plan_step.learning_rate=0.5")
    # Of the untouched digits the trained model knows all but a few; large steps destroy it.
    known = {**others, "image": others["image"][..., ::-1]}
    report = intaglio.train(
        bundle, train, tmp_path / "a", validate=known, steps=20, batch=4, validate_every=10
    )
    assert report.facts["steps"] == 0
    assert "the weights the run began with, and these are kept" in "\n".join(report.warnings)
