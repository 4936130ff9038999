"""Target ``tosa`` from ``convert`` to ``verify``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import intaglio
from intaglio.errors import InputError, ToolError
from intaglio.targets.tosa.environment import VARIABLE
from intaglio.targets.tosa.flatfile import read_tosa

DIGITS = Path(__file__).parents[3] / "sample_models" / "digits"
QUICK = {
    "calibrate.fit_channels.enabled": False,
    "calibrate.round_weights.enabled": False,
}


def convert(out, **options):
    return intaglio.convert(
        DIGITS / "digits.onnx",
        targets=["onnx-integer", "tosa"],
        calibration=DIGITS / "calibration.npz",
        out=out,
        sets=QUICK,
        **options,
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return convert(tmp_path_factory.mktemp("tosa") / "digits")


def test_a_file_states_channels_last_sizes_and_names(bundle):
    artifact = bundle.artifact("tosa")
    assert artifact.path == "tosa/model.tosa"
    assert [spec.shape for spec in artifact.inputs] == [(1, 8, 8, 1)]
    data = (bundle.folder / artifact.path).read_bytes()
    file = read_tosa(data, "it")
    assert file.inputs == ("image",)
    assert file.outputs == ("logits",)
    counts = bundle.opener(artifact).report(artifact, bundle.folder)["operators"]
    assert counts["CONV2D"] == counts["RESCALE"]
    assert "CONST" not in counts
    figures = {m.name: m.value for m in bundle.opener(artifact).measure(artifact, bundle.folder)}
    assert figures["file_bytes"] == len(data)
    assert figures["operators"] == sum(counts.values())


def test_the_same_conversion_gives_the_same_bytes(bundle, tmp_path):
    again = convert(tmp_path / "again")
    assert again.artifact("tosa").sha256 == bundle.artifact("tosa").sha256


def test_verify_judges_by_the_reference_model(environment, bundle):
    report = intaglio.verify(bundle, inputs=DIGITS / "test.npz", samples=20)
    [pair] = [p for p in report.pairs if (p.artifact, p.reference) == ("tosa", "onnx-integer")]
    assert pair.verdict == "exact"
    assert report.ok
    [inner] = report.inner
    assert (inner.artifact, inner.reference) == ("tosa", "onnx-integer")
    assert inner.tensors == 5
    assert inner.different == 0


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', None])
def test_a_damaged_list_of_tensors_is_an_error(bundle, tmp_path, text):
    artifact = bundle.artifact("tosa")
    (tmp_path / "tosa").mkdir()
    if text is not None:
        (tmp_path / "tosa" / "model_tensors.json").write_text(text)
    with pytest.raises(InputError, match=r"model_tensors\.json") as caught:
        bundle.opener(artifact).inner_tensors(artifact, tmp_path)
    assert "convert" in caught.value.remedy


def test_it_runs_like_any_other(environment, bundle):
    with np.load(DIGITS / "test.npz") as data:
        images = data["image"][:3]
    expected = bundle.session("onnx-integer", quantize_io=True).run({"image": images})["logits"]
    session = bundle.session("tosa", quantize_io=True)
    for image, wanted in zip(images, expected, strict=True):
        found = session.run({"image": image[None].transpose(0, 2, 3, 1)})["logits"]
        assert np.array_equal(found[0], wanted)


def test_without_the_reference_model_files_are_written_and_not_run(bundle, monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    artifact = bundle.artifact("tosa")
    assert bundle.opener(artifact).runtimes(artifact) == ()
    with pytest.raises(ToolError, match="not installed") as caught:
        bundle.session("tosa")
    assert "intaglio setup tosa" in caught.value.remedy
    assert "not installed (intaglio setup tosa)" in bundle.opener(artifact).why_not_run()


def test_verify_says_which_environment_does_not_work(bundle, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    report = intaglio.verify(bundle, samples=2)
    [warning] = [text for text in report.warnings if "tosa" in text]
    assert warning.startswith(f"tosa was not run: {VARIABLE}={tmp_path} holds no Python")
    assert "unset it" in warning
