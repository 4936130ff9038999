"""``verify`` notices a training step that is not the others' and not its signs'."""

from __future__ import annotations

import dataclasses

import pytest

import intaglio
from intaglio.targets.base import Runtime
from intaglio.targets.onnx.integer import OnnxInteger
from intaglio.targets.onnx.stepper import OnnxStepper
from intaglio.verification.report import VerifyReport
from intaglio.verification.train_step import STEPS, verify_training
from intaglio.verification.verify import verify_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    from tests.core.conftest import DIGITS

    out = tmp_path_factory.mktemp("training") / "digits"
    return intaglio.convert(
        DIGITS / "digits.onnx",
        "forward-gradient",
        ["onnx-integer"],
        DIGITS / "calibration.npz",
        out,
    )


class Wrong(OnnxStepper):
    """Right up to a step, then not."""

    at = 7
    what = "loss"
    made = 0

    def step(self, x, targets, seed, step_shift=0):
        found = super().step(x, targets, seed, step_shift)
        self.made += 1
        if self.made - 1 != self.at:
            return found
        if self.what == "crash":
            raise RuntimeError("out of arena")
        if self.what == "loss":
            return dataclasses.replace(found, loss_plus=(found.loss_plus[0] + 1,))
        weights = self.weights()
        weights["fc2.weight"][3, 1] += 1
        self.set_weights(weights)
        return found


@pytest.fixture
def second_runtime(monkeypatch):
    """Gives the target a second runtime, which goes wrong."""

    def add(what):
        wrong = type("Chosen", (Wrong,), {"what": what})
        monkeypatch.setattr(
            OnnxInteger,
            "runtimes",
            lambda self, artifact: (Runtime("good", "tflm"), Runtime("bad", "tflm")),
        )
        monkeypatch.setattr(
            OnnxInteger,
            "open_stepper",
            lambda self, artifact, folder, runtime=None: (
                wrong if runtime == "bad" else OnnxStepper
            ).open(artifact, folder),
        )

    return add


def verified(bundle):
    report = VerifyReport()
    verify_training(bundle, report, lambda *_: None)
    return report


def test_a_right_step_is_exact(bundle):
    report = verified(bundle)
    assert report.ok
    assert [(p.artifact, p.reference, p.verdict, p.values) for p in report.pairs] == [
        ("train_step/onnx-integer", "numpy", "exact", STEPS)
    ]


def test_another_loss_is_named_with_its_step(bundle, second_runtime):
    second_runtime("loss")
    report = verified(bundle)
    assert len(report.failures) == 1
    assert "at step 7: loss_plus is" in report.failures[0]
    assert "train_step/onnx-integer@bad" in report.failures[0]


def test_other_weights_are_named_with_their_step(bundle, second_runtime):
    second_runtime("weights")
    failures = verified(bundle).failures
    assert any("weights after step 7" in text and "@bad" in text for text in failures)
    assert any("at step 7: the weights are others" in text for text in failures)


def test_a_runtime_that_stops_is_a_failure(bundle, second_runtime):
    second_runtime("crash")
    report = verified(bundle)
    assert [text for text in report.failures if "out of arena" in text]
    assert {p.verdict for p in report.pairs if "@bad" in p.artifact} == {"failed"}


def test_requirements_hold_for_training_steps(bundle):
    report = verify_bundle(bundle, samples=2, require="exact", layers=False)
    assert report.ok, report.failures
