"""Training of models with a fixed batch, several inputs, or names that a training step needs."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import intaglio
import intaglio.training
from intaglio.errors import InputError, OutputError, RecipeError, UnsupportedError
from intaglio.transforms.forward_gradient.transcript import HEADER_BYTES
from intaglio.verification.report import VerifyReport
from intaglio.verification.train_step import verify_training
from tests.helpers import build_proto

SHORT = {"steps": 6, "batch": 4, "validate_every": 3, "target": "onnx-integer"}


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


def convert(folder, text, data, targets=("onnx-integer",)):
    proto = build_proto(text, w=normal(1, 6, 4), b=normal(2, 4))
    onnx.save(proto, folder / "model.onnx")
    return intaglio.convert(
        folder / "model.onnx", "forward-gradient", list(targets), data, folder / "bundle"
    )


def gemm(batch="N", output="y"):
    return f"(float[{batch},6] x) => (float[{batch},4] {output}) {{ {output} = Gemm (x, w, b) }}"


def samples(count):
    return {"x": normal(3, count, 6), "labels": np.arange(count) % 4}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return convert(tmp_path_factory.mktemp("odd"), gemm(), {"x": normal(4, 32, 6)})


def test_a_fixed_batch_is_validated_in_pieces(tmp_path, bundle):
    fixed = convert(tmp_path, gemm(4), {"x": normal(4, 32, 6)})
    train, held_out = samples(12), samples(9)
    reports = [
        intaglio.train(one, train, tmp_path / name, validate=held_out, **SHORT)
        for one, name in ((fixed, "fixed"), (bundle, "open"))
    ]
    found, expected = (report.facts for report in reports)
    assert len(found["validations"]) == 3
    assert found["validations"] == expected["validations"]
    assert found["digest"] == expected["digest"]


def test_a_step_in_c_takes_no_batch_of_its_own(tmp_path):
    with pytest.raises(UnsupportedError) as caught:
        convert(tmp_path, gemm(4), {"x": normal(4, 32, 6)}, ["c"])
    (refusal,) = caught.value.refusals
    assert refusal.node == "x"
    assert "fixed to 4" in refusal.reason
    assert not (tmp_path / "bundle").exists()


def test_two_inputs_are_refused_before_a_run_begins(tmp_path):
    text = (
        "(float[N,3] a, float[N,3] c) => (float[N,4] y) {\n"
        "x = Concat <axis = 1> (a, c)\ny = Gemm (x, w, b)\n}"
    )
    data = {"a": normal(5, 32, 3), "c": normal(6, 32, 3)}
    two = convert(tmp_path, text, data)
    with pytest.raises(RecipeError, match=r"2 inputs \(a, c\)"):
        intaglio.train(two, {**data, "labels": np.arange(32) % 4}, tmp_path / "out", **SHORT)
    assert not (tmp_path / "out.training").exists()
    report = VerifyReport(str(two.folder))
    verify_training(two, report, lambda *_: None)
    assert not report.failures
    assert any("2 inputs" in warning for warning in report.warnings)


def test_an_output_with_a_name_that_the_step_needs_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="step_logits"):
        convert(tmp_path, gemm(output="step_logits"), {"x": normal(4, 32, 6)})


def test_the_bundle_that_trains_is_not_written_over(bundle):
    with pytest.raises(RecipeError, match="the bundle that trains"):
        intaglio.train(bundle, samples(12), bundle.folder, **SHORT)
    with pytest.raises(RecipeError, match="the bundle that trains"):
        intaglio.replay(bundle, b"", bundle.folder)


def test_a_folder_is_no_transcript(tmp_path, bundle):
    with pytest.raises(OutputError, match="is a folder"):
        intaglio.train(bundle, samples(12), tmp_path / "out", transcript=tmp_path, **SHORT)
    assert not (tmp_path / "out.training").exists()


def test_missing_targets_are_called_targets(tmp_path, bundle):
    with pytest.raises(InputError, match="no labels"):
        intaglio.train(bundle, {"x": normal(3, 12, 6)}, tmp_path / "out", **SHORT)


def test_a_run_that_was_killed_while_it_wrote_the_bundle(tmp_path, bundle, monkeypatch):
    """No step is left to do then: the weights are the same, and there is no time of a step."""
    data, out = samples(12), tmp_path / "out"
    whole = intaglio.train(bundle, data, tmp_path / "whole", **SHORT)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(intaglio.training, "export_adapted", killed)
        with pytest.raises(KeyboardInterrupt):
            intaglio.train(bundle, data, out, **SHORT)
    with pytest.raises(RecipeError, match="has made 6 steps"):
        intaglio.train(bundle, data, out, resume=True, **{**SHORT, "steps": 5})
    report = intaglio.train(bundle, data, out, resume=True, **SHORT)
    assert report.facts["step_seconds"] is None
    assert report.facts["digest"] == whole.facts["digest"]


def test_a_run_without_a_step_is_begun_anew(tmp_path, bundle):
    def stop(*_):
        raise InputError("no", remedy="")

    data, out = samples(12), tmp_path / "out"
    with pytest.raises(InputError):
        intaglio.train(bundle, data, out, listener=stop, **SHORT)
    with pytest.raises(RecipeError, match="interrupted run"):
        intaglio.train(bundle, data, out, **SHORT)  # That one has made a step.
    transcript = tmp_path / "out.training" / "transcript.bin"
    transcript.write_bytes(transcript.read_bytes()[:HEADER_BYTES])
    assert intaglio.train(bundle, data, out, **SHORT).facts["steps"] == 6


def test_an_inner_name_that_the_step_needs_is_changed(tmp_path):
    text = (
        "(float[N,6] x) => (float[N,4] y) {\n"
        "step_logits = Relu (x)\ny = Gemm (step_logits, w, b)\n}"
    )
    model = convert(tmp_path, text, {"x": normal(4, 32, 6)})
    graph = ir.load(model.folder / "onnx-integer" / "train_step.onnx").graph
    assert [value.name for value in graph.outputs][-1] == "sign"
    assert intaglio.train(model, samples(12), tmp_path / "out", **SHORT).facts["steps"] == 6
