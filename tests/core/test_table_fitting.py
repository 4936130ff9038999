"""`fit`: pictures in, a proved model out; what cannot be fitted is refused before it begins."""

from __future__ import annotations

import errno
import importlib.util
import json
import os

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from PIL import Image

import intaglio
from intaglio import table_fitting
from intaglio.errors import InputError, OutputError, RecipeError
from intaglio.passes.table_networks.read import read_network
from tests.fitting.tables.fit_pictures import picture, write

TINY = {
    "crop": 12,
    "margin": 2,
    "batches": (2,),
    "mixings": 1,
    "share": 1,
    "validations": 2,
    "checkpoint_every": 5,
}
SHORT = {"preset": "small", "threads": 1, "settings": TINY}


@pytest.fixture(autouse=True)
def needs_torch(request):
    if request.node.name != "test_without_pytorch_the_remedy_is_said":
        pytest.importorskip("torch")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write(tmp_path_factory.mktemp("fit") / "pictures", 6)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pictures):
    """A finished run."""
    pytest.importorskip("torch")
    out = tmp_path_factory.mktemp("fit") / "whole"
    return intaglio.fit(pictures, out, scale=2, steps=8, **SHORT)


@pytest.mark.parametrize(
    ("options", "name", "task"),
    [
        ({"scale": 3}, "small", "superres x3"),
        ({"task": "denoise", "sigma": 15}, "small", "denoise 15"),
        ({"scale": 4, "steps": 2}, "tiny-s", "superres x4"),
    ],
)
def test_the_model_is_the_network_on_every_pixel(tmp_path, pictures, options, name, task):
    chosen = {**SHORT, "steps": 3, **options, "preset": name}
    report = intaglio.fit(pictures, tmp_path / "out", **chosen)
    assert report.facts["task"] == task
    data = report.model.read_bytes()
    network = read_network(ir.serde.deserialize_model(onnx.load_from_string(data)))
    assert network.storage_bytes == report.facts["network"]["bytes"]
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for shape in ((1, 1), (7, 5), (16, 18)):
        plane = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        found = session.run(None, {"image": plane[None, None]})[0][0, 0]
        assert np.array_equal(found, network.apply(plane)), shape


def test_a_finished_run_leaves_its_results_only(whole):
    assert {path.name for path in whole.folder.iterdir()} == {
        "settings.json", "journal.jsonl", "model.onnx", "fit.json", "report.html",
    }  # fmt: skip
    assert whole.model == whole.folder / "model.onnx"
    assert not whole.interrupted
    facts = json.loads((whole.folder / "fit.json").read_text())
    assert facts == json.loads(json.dumps(whole.facts))
    assert facts["pictures"] == {"learned": 5, "held_out": 1, "bad": []}
    assert facts["steps"] == facts["steps_done"] == 8
    lines = [json.loads(t) for t in (whole.folder / "journal.jsonl").read_text().splitlines()]
    assert lines == facts["journal"]
    assert [line["step"] for line in lines if "psnr" in line] == [4, 8]


def test_the_same_call_gives_the_same_model(tmp_path, pictures, whole):
    again = intaglio.fit(pictures, tmp_path / "again", scale=2, steps=8, **SHORT)
    assert again.model.read_bytes() == whole.model.read_bytes()
    other = intaglio.fit(pictures, tmp_path / "other", scale=2, steps=8, seed=2, **SHORT)
    assert other.model.read_bytes() != whole.model.read_bytes()


def test_an_interrupted_run_goes_on_to_the_same_model(tmp_path, pictures, whole):
    class StopError(Exception):
        pass

    def stop(done, *_):
        if done == 6:
            raise StopError

    out = tmp_path / "stopped"
    options = {"scale": 2, "steps": 8, **SHORT}
    with pytest.raises(StopError):
        intaglio.fit(pictures, out, listener=stop, **options)
    assert not (out / "model.onnx").exists()
    with pytest.raises(RecipeError, match="interrupted") as caught:
        intaglio.fit(pictures, out, **options)
    assert "--resume" in caught.value.remedy
    for change, said in (
        ({"steps": 9}, "steps"),
        ({"seed": 2}, "seed"),
        ({"settings": {**TINY, "rate": 0.1}}, "recipe"),
        ({"settings": {**TINY, "channels": 24}}, "structure"),
    ):
        with pytest.raises(RecipeError, match=f"otherwise.*{said}"):
            intaglio.fit(pictures, out, resume=True, **{**options, **change})
    others = write(tmp_path / "others", 5)
    with pytest.raises(RecipeError, match=r"otherwise.*pictures"):
        intaglio.fit(others, out, resume=True, **options)
    report = intaglio.fit(pictures, out, resume=True, **options)
    assert report.model.read_bytes() == whole.model.read_bytes()


def test_threads_that_nobody_asked_for_do_not_decide_a_run(tmp_path, pictures, monkeypatch):
    class StopError(Exception):
        pass

    def stop(done, *_):
        if done == 6:
            raise StopError

    out = tmp_path / "moved"
    options = {"scale": 2, "steps": 8, **SHORT, "threads": None}
    monkeypatch.setattr(table_fitting, "processors", lambda: 1)
    with pytest.raises(StopError):
        intaglio.fit(pictures, out, listener=stop, **options)
    # The machine that goes on has others; the bits are those of the run as it began.
    monkeypatch.setattr(table_fitting, "processors", lambda: 3)
    with pytest.raises(RecipeError, match=r"otherwise.*threads"):
        intaglio.fit(pictures, out, resume=True, **{**options, "threads": 2})
    assert not (out / "lock").exists()
    report = intaglio.fit(pictures, out, resume=True, **options)
    assert report.facts["settings"]["threads"] == 1


def test_a_full_disk_names_the_file_and_keeps_the_checkpoint(
    tmp_path, pictures, monkeypatch, whole
):
    options = {"scale": 2, "steps": 8, **SHORT}
    done = []
    real = os.fsync

    def full(descriptor):
        if len(done) >= 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match=r"checkpoint\.pt: No space left") as caught:
            intaglio.fit(
                pictures, tmp_path / "out", listener=lambda *told: done.append(told), **options
            )
    assert "--resume" in caught.value.remedy
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"settings.json", "journal.jsonl", "checkpoint.pt"}
    report = intaglio.fit(pictures, tmp_path / "out", resume=True, **options)
    assert report.model.read_bytes() == whole.model.read_bytes()


def test_a_finished_run_is_not_done_again(pictures, whole):
    options = {"scale": 2, "steps": 8, **SHORT}
    with pytest.raises(RecipeError, match="finished"):
        intaglio.fit(pictures, whole.folder, **options)
    again = intaglio.fit(pictures, whole.folder, resume=True, **options)
    assert again.model == whole.model
    assert again.facts == json.loads(json.dumps(whole.facts))


def test_resume_begins_where_nothing_was(tmp_path, pictures, whole):
    report = intaglio.fit(pictures, tmp_path / "new", scale=2, steps=8, resume=True, **SHORT)
    assert report.model.read_bytes() == whole.model.read_bytes()


def test_minutes_become_steps(tmp_path, pictures):
    report = intaglio.fit(pictures, tmp_path / "out", scale=2, minutes=0.002, **SHORT)
    told = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert told["steps"] == report.facts["steps"] >= 1
    assert told["minutes"] == 0.002
    again = intaglio.fit(pictures, tmp_path / "out", scale=2, minutes=0.002, resume=True, **SHORT)
    assert again.facts["steps"] == told["steps"]


def test_a_folder_for_validation(tmp_path, pictures):
    others = write(tmp_path / "others", 2)
    report = intaglio.fit(pictures, tmp_path / "out", scale=2, steps=2, validation=others, **SHORT)
    assert report.facts["pictures"] == {"learned": 6, "held_out": 2, "bad": []}


def test_few_pictures_are_fitted_without_validation(tmp_path):
    few = write(tmp_path / "few", 2)
    report = intaglio.fit(few, tmp_path / "out", scale=2, steps=2, **SHORT)
    assert report.facts["psnr"] is None
    assert report.facts["compared_pixels"] > 0
    assert any("too few" in warning for warning in report.warnings)
    assert "Samples" not in (tmp_path / "out" / "report.html").read_text()


def test_one_bad_picture_is_named_and_left_out(tmp_path):
    folder = write(tmp_path / "mixed", 5)
    (folder / "broken.png").write_bytes((folder / "p0.png").read_bytes()[:300])
    Image.fromarray(picture(9, 16, 16)).save(folder / "tiny.png")
    (folder / "notes.txt").write_text("no picture")
    report = intaglio.fit(folder, tmp_path / "out", scale=4, steps=2, **SHORT)
    assert [name for name, _ in report.facts["pictures"]["bad"]] == ["broken.png"]
    assert any("broken.png" in warning for warning in report.warnings)
    assert any("tiny.png" in warning for warning in report.warnings)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "broken.png" in page


def test_folders_without_pictures_are_refused(tmp_path, pictures):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(InputError) as caught:
            intaglio.fit(folder, tmp_path / "out", scale=2, steps=1, **SHORT)
        assert caught.value.remedy
    with pytest.raises(InputError):
        intaglio.fit(
            pictures, tmp_path / "out", scale=2, steps=1, validation=tmp_path / "empty", **SHORT
        )
    assert not (tmp_path / "out").exists()


def test_pictures_that_are_too_small_leave_no_folder(tmp_path):
    small = write(tmp_path / "small", 5, height=24, width=24)
    with pytest.raises(InputError, match="64x64"):
        intaglio.fit(small, tmp_path / "out", scale=4, steps=1, **SHORT)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "--steps"),
        ({"steps": 5, "minutes": 1}, "--minutes"),
        ({"minutes": 0}, "--minutes"),
        ({"minutes": float("nan")}, "--minutes"),
        ({"threads": 0}, "--threads"),
        ({"preset": "huge"}, "huge"),
        ({"scale": 5}, "5"),
        ({"scale": None}, "--scale"),
        ({"task": "denoise", "scale": None, "sigma": 25, "preset": "tiny-s"}, "tiny-s"),
        ({"settings": ("nonsense",)}, "nonsense"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, pictures, options, said):
    with pytest.raises(RecipeError, match=said) as caught:
        intaglio.fit(pictures, tmp_path / "out", **{"scale": 2, "threads": 1, **options})
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_things_is_left_alone(tmp_path, pictures):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("dear")
    with pytest.raises(RecipeError, match=r"thesis\.txt"):
        intaglio.fit(pictures, out, scale=2, steps=1, **SHORT)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        intaglio.fit(pictures, tmp_path / "file", scale=2, steps=1, **SHORT)
    with pytest.raises(OutputError):
        intaglio.fit(pictures, tmp_path / "file" / "below", scale=2, steps=1, **SHORT)


def test_a_model_of_its_own_teaches(tmp_path, pictures, whole):
    options = {"scale": 2, "steps": 4, **SHORT}
    with pytest.raises(InputError, match="no teacher"):
        intaglio.fit(pictures, tmp_path / "out", teacher=tmp_path / "none.onnx", **options)
    report = intaglio.fit(pictures, tmp_path / "out", teacher=whole.model, **options)
    assert report.facts["teacher"]["name"] == "model.onnx"
    plain = intaglio.fit(pictures, tmp_path / "plain", **options)
    assert plain.model.read_bytes() != report.model.read_bytes()
    told = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert len(told["teacher"]) == 64


def test_without_pytorch_the_remedy_is_said(tmp_path, pictures, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else find(name)
    )
    with pytest.raises(RecipeError, match="PyTorch") as caught:
        intaglio.fit(pictures, tmp_path / "out", scale=2, steps=1)
    assert "[train]" in caught.value.remedy
