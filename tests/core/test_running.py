from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest

from intaglio.errors import InputError, OutputError, RecipeError
from intaglio.running import open_runnable, read_inputs, run_batched, write_outputs
from intaglio.targets.base import TensorSpec

X = (TensorSpec("x", (1, 4), "float32"),)
TWO = (TensorSpec("x", (1, 4), "float32"), TensorSpec("y", (1, 4), "float32"))


def test_a_plain_model_runs_as_it_is(small_model):
    session = open_runnable(small_model)
    outputs = run_batched(session, {"x": np.zeros((1, 4), np.float32)})
    assert outputs["y"].shape == (1, 3)


def test_many_samples_run_one_by_one_through_a_fixed_batch(small_model):
    session = open_runnable(small_model)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    together = run_batched(session, {"x": x})["y"]
    apart = [session.run({"x": row[None]})["y"] for row in x]
    assert np.array_equal(together, np.concatenate(apart))


def test_a_wrong_shape_is_an_input_error(small_model):
    with pytest.raises(InputError):
        run_batched(open_runnable(small_model), {"x": np.zeros((1, 5), np.float32)})


def test_inputs_have_as_many_samples_as_each_other(tmp_path):
    text = """<ir_version: 9, opset_import: ["": 17]>
        two (float[N, 4] x, float[N, 4] y) => (float[N, 4] z) { z = Add(x, y) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "two.onnx")
    feed = {"x": np.zeros((3, 4), np.float32), "y": np.zeros((2, 4), np.float32)}
    with pytest.raises(InputError, match=r"'x' has 3 samples, and 'y' has 2") as caught:
        run_batched(open_runnable(tmp_path / "two.onnx"), feed)
    assert caught.value.remedy


def test_one_artifact_of_a_bundle_has_to_be_chosen(digits_bundle):
    with pytest.raises(RecipeError, match="onnx-qdq, onnx-integer") as caught:
        open_runnable(digits_bundle.folder)
    assert "--target" in caught.value.remedy
    assert open_runnable(digits_bundle.folder, "source").artifact.role == "reference"


def test_a_file_of_a_bundle_is_its_artifact(digits_bundle):
    path = digits_bundle.folder / "onnx-integer" / "model.onnx"
    assert open_runnable(path).artifact == digits_bundle.artifact("onnx-integer")
    with pytest.raises(RecipeError, match="not of onnx-qdq"):
        open_runnable(path, "onnx-qdq")


def test_what_cannot_be_run_is_refused(tmp_path, small_model):
    with pytest.raises(InputError, match="there is no file"):
        open_runnable(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model", encoding="utf-8")
    with pytest.raises(InputError):
        open_runnable(tmp_path / "text.onnx")
    with pytest.raises(RecipeError, match="not part of a bundle"):
        open_runnable(small_model, "onnx-qdq")


def test_inputs_come_by_name_or_alone(tmp_path):
    x, y = np.ones((1, 4), np.float32), np.zeros((1, 4), np.float32)
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "b.npz", anything=x, labels=np.zeros(1, np.int64))
    np.savez(tmp_path / "c.npz", y=y, x=x, target=y)
    assert np.array_equal(read_inputs(tmp_path / "a.npy", X)["x"], x)
    assert np.array_equal(read_inputs(tmp_path / "b.npz", X)["x"], x)
    assert set(read_inputs(tmp_path / "c.npz", TWO)) == {"x", "y"}
    for name in ("a.npy", "b.npz"):
        with pytest.raises(InputError, match="the inputs are x, y"):
            read_inputs(tmp_path / name, TWO)


def test_damaged_inputs_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_inputs(tmp_path / "none.npy", X)
    for name, data in [("a.npy", b""), ("b.npz", b"PK\x03\x04"), ("c.npy", b"text")]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="not a readable"):
            read_inputs(tmp_path / name, X)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not a readable"):
        read_inputs(tmp_path / "objects.npy", X)


def test_outputs_are_written_whole_or_not_at_all(tmp_path):
    write_outputs(tmp_path / "y.npy", {"y": np.arange(3)})
    assert np.load(tmp_path / "y.npy").tolist() == [0, 1, 2]
    write_outputs(tmp_path / "y.npz", {"y": np.arange(3), "z": np.ones(2)})
    with np.load(tmp_path / "y.npz") as back:
        assert set(back.files) == {"y", "z"}
    with pytest.raises(RecipeError, match="2 outputs"):
        write_outputs(tmp_path / "y.npy", {"y": np.arange(3), "z": np.ones(2)})
    with pytest.raises(RecipeError, match="neither"):
        write_outputs(tmp_path / "y.txt", {"y": np.arange(3)})
    with pytest.raises(OutputError, match="cannot write"):
        write_outputs(tmp_path / "none" / "y.npy", {"y": np.arange(3)})
    assert sorted([p.name for p in tmp_path.iterdir()]) == ["y.npy", "y.npz"]
