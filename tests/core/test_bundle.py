from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import intaglio
from intaglio.bundle import check_output, load
from intaglio.errors import InputError, RecipeError, VerificationError


@pytest.fixture
def copy(digits_bundle, tmp_path):
    """A bundle to damage."""
    folder = tmp_path / "copy"
    shutil.copytree(digits_bundle.folder, folder)
    return folder


@pytest.fixture(scope="module")
def images(digits):
    with np.load(digits.parent / "test.npz") as data:
        return data["image"][:20]


def test_the_manifest_tells_what_scripts_rely_on(digits_bundle, digits):
    manifest = json.loads((digits_bundle.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["schema"] == 1
    assert manifest["source"]["path"] == digits.name
    assert len(manifest["source"]["sha256"]) == 64
    assert manifest["recipe"]["name"] == "int8"
    assert manifest["profile"] == "tflm"
    assert manifest["form"] == "quantized"
    assert manifest["calibration"] == {
        "kind": "data",
        "samples": 200,
        "path": "calibration.npz",
    }
    rows = {row["target"]: row for row in manifest["artifacts"]}
    assert set(rows) == {"onnx-qdq", "onnx-integer", "source"}
    integer = rows["onnx-integer"]
    assert (integer["role"], integer["arithmetic"]) == ("model", "tflm")
    assert integer["path"] == "onnx-integer/model.onnx"
    assert integer["bytes"] == (digits_bundle.folder / integer["path"]).stat().st_size
    border = integer["inputs"][0]
    assert set(border) == {"name", "shape", "dtype", "layout", "scale", "zero_point"}
    assert (border["name"], border["dtype"], border["layout"]) == ("image", "int8", "NCHW")
    assert border["scale"] > 0
    assert rows["onnx-qdq"]["arithmetic"] == "float"
    assert rows["onnx-qdq"]["inputs"][0]["scale"] is None
    assert rows["source"]["role"] == "reference"


def test_the_recipe_is_written_down_as_run(digits_bundle):
    steps = {step["pass"]: step for step in digits_bundle.manifest["recipe"]["step"]}
    assert steps["quantize.plan_tensors"]["options"]["activations"] == "int8"
    assert digits_bundle.manifest["recipe"]["prepare"]["lower.to_integer"]["profile"] == "tflm"


def test_every_file_of_the_bundle_is_hashed(digits_bundle):
    listed = {a.path for a in digits_bundle.artifacts} | set(digits_bundle.manifest["files"])
    found = {
        path.relative_to(digits_bundle.folder).as_posix()
        for path in digits_bundle.folder.rglob("*")
        if path.is_file()
    }
    assert found - listed <= {"manifest.json", "report.html", "verify.json"}
    assert listed <= found
    digits_bundle.check_hashes()


def test_load_gives_the_same_bundle(digits_bundle):
    again = intaglio.load(digits_bundle.folder)
    assert again.manifest == digits_bundle.manifest
    assert again.artifacts == digits_bundle.artifacts
    assert again.targets == ["onnx-qdq", "onnx-integer"]
    assert again.conversion is None
    assert digits_bundle.conversion.seconds > 0
    assert digits_bundle.conversion.peak_memory_bytes > 1 << 20


def test_changed_and_missing_files_are_named(copy):
    model = copy / "onnx-integer" / "model.onnx"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    (copy / "plan.json").unlink()
    with pytest.raises(VerificationError) as caught:
        load(copy).check_hashes()
    assert "onnx-integer/model.onnx has changed" in caught.value.message
    assert "plan.json is missing" in caught.value.message
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[]", "damaged"),
        ('{"schema": 2, "artifacts": []}', "schema 2"),
        ('{"schema": 1}', "damaged"),
        ('{"schema": 1, "artifacts": [{}]}', "damaged"),
        ('{"schema": 1, "artifacts": 3}', "damaged"),
    ],
)
def test_damaged_manifests_are_input_errors(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path)
    assert caught.value.remedy


def test_places_without_a_bundle_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="there is no bundle"):
        load(tmp_path / "none")
    with pytest.raises(InputError, match="is not a bundle"):
        load(tmp_path)


def test_an_integer_session_takes_integers(digits_bundle, images):
    session = digits_bundle.session("onnx-integer")
    spec = session.artifact.inputs[0]
    levels = np.rint(images / np.float64(spec.scale)) + spec.zero_point
    quantized = np.clip(levels, -128, 127).astype(np.int8)
    outputs = session.run({"image": quantized})
    assert outputs["logits"].dtype == np.int8
    assert outputs["logits"].shape == (20, 10)
    with pytest.raises(InputError, match="takes int8") as caught:
        session.run({"image": images})
    assert "quantize_io" in caught.value.remedy


def test_quantize_io_takes_and_gives_real_values(digits_bundle, images):
    real = digits_bundle.session("onnx-integer", quantize_io=True).run({"image": images})
    reference = digits_bundle.session("source").run({"image": images})
    assert real["logits"].dtype == np.float32
    assert np.array_equal(real["logits"].argmax(1), reference["logits"].argmax(1))
    scale = digits_bundle.artifact("onnx-integer").outputs[0].scale
    assert np.abs(real["logits"] - reference["logits"]).max() < 40 * scale
    with pytest.raises(InputError, match="NaN"):
        digits_bundle.session("onnx-integer", quantize_io=True).run(
            {"image": np.full_like(images, np.nan)}
        )


def test_sessions_refuse_what_does_not_fit(digits_bundle, images):
    session = digits_bundle.session("source")
    for wrong in ({}, {"other": images}, {"image": images[:, :, :4]}):
        with pytest.raises(InputError):
            session.run(wrong)


def test_an_artifact_that_is_not_there_is_named(digits_bundle):
    with pytest.raises(RecipeError, match="no artifact of target 'tflite'") as caught:
        digits_bundle.session("tflite")
    assert "onnx-integer" in caught.value.remedy
    with pytest.raises(RecipeError, match="role 'device'"):
        digits_bundle.session("onnx-integer", "device")


def test_samples_are_the_first_ones_of_the_calibration_data(digits_bundle, digits_data):
    samples = digits_bundle.samples()
    with np.load(digits_data) as data:
        assert np.array_equal(samples["image"], data["image"][:32])


def test_labels_are_kept_with_the_samples(digits, tmp_path):
    bundle = intaglio.convert(
        digits,
        calibration=digits.parent / "test.npz",
        sets=["bundle.samples=5"],
        out=tmp_path / "out",
    )
    samples = bundle.samples()
    assert samples["image"].shape == (5, 1, 8, 8)
    with np.load(digits.parent / "test.npz") as data:
        assert np.array_equal(samples["labels"], data["labels"][:5])


def test_samples_and_reference_can_be_left_out(digits, digits_data, tmp_path):
    bundle = intaglio.convert(
        digits,
        calibration=digits_data,
        sets={"bundle.samples": 0, "bundle.reference": False},
        out=tmp_path / "out",
    )
    assert bundle.samples() == {}
    assert bundle.reference is None
    assert not (bundle.folder / "source").exists()
    assert not (bundle.folder / "samples.npz").exists()


def test_damaged_samples_are_an_input_error(copy):
    (copy / "samples.npz").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(InputError, match="damaged"):
        load(copy).samples()


def test_outputs_that_cannot_become_a_bundle_are_refused(tmp_path, copy):
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine", encoding="utf-8")
    for place, message in [
        (file, "is a file"),
        (file / "below", "is a file"),
        (folder, "other things in it"),
    ]:
        with pytest.raises(RecipeError, match=message) as caught:
            check_output(place)
        assert "--out" in caught.value.remedy
    (copy / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"not part of it: notes\.txt"):
        check_output(copy)


def test_new_empty_and_bundle_folders_are_fine(tmp_path, copy):
    empty = tmp_path / "empty"
    empty.mkdir()
    (copy / "report.html").write_text("a report", encoding="utf-8")
    for place in (tmp_path / "new" / "deep", empty, copy):
        check_output(place)
