"""Weights in a file of their own."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from intaglio.errors import InputError
from intaglio.targets.onnx.read import read_onnx
from tests.helpers import build_proto, run_float

WEIGHT = np.arange(600, dtype=np.float32).reshape(2, 300)


@pytest.fixture
def split_model(tmp_path):
    """A model file with its weights in weights.bin beside it."""
    proto = build_proto("(float[1,2] x) => (float y) { y = MatMul(x, w) }", w=WEIGHT)
    path = tmp_path / "model.onnx"
    onnx.save_model(
        proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    assert (tmp_path / "weights.bin").stat().st_size >= WEIGHT.nbytes
    return path


def relocate(path, **entries):
    """Writes the model again with other external data entries."""
    proto = onnx.load(path, load_external_data=False)
    tensor = proto.graph.initializer[0]
    known = {entry.key: entry.value for entry in tensor.external_data}
    known.update({key: str(value) for key, value in entries.items()})
    del tensor.external_data[:]
    for key, value in known.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())


def refuse(path, words):
    with pytest.raises(InputError, match=words) as caught:
        read_onnx(path)
    assert caught.value.remedy


def test_weights_are_loaded_from_beside_the_model(split_model, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    model = read_onnx(split_model)
    x = np.asarray([[1, 2]], np.float32)
    np.testing.assert_allclose(run_float(model, {"x": x})["y"], x @ WEIGHT)


def test_the_model_read_needs_the_data_file_no_more(split_model):
    model = read_onnx(split_model)
    (split_model.parent / "weights.bin").unlink()
    assert run_float(model, {"x": np.ones((1, 2), np.float32)})["y"].shape == (1, 300)


def test_missing_data_file(split_model):
    (split_model.parent / "weights.bin").unlink()
    refuse(split_model, "weights.bin.*missing")


def test_truncated_data_file(split_model):
    data = split_model.parent / "weights.bin"
    data.write_bytes(data.read_bytes()[:100])
    refuse(split_model, "ends before")


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "a/../../weights.bin", ""])
def test_data_outside_of_the_folder(split_model, location):
    outside = split_model.parent.parent / "weights.bin"
    outside.write_bytes((split_model.parent / "weights.bin").read_bytes())
    relocate(split_model, location=location)
    refuse(split_model, "outside of the model's folder")
    outside.unlink()


def test_link_that_leaves_the_folder(split_model):
    outside = split_model.parent.parent / "secret.bin"
    outside.write_bytes(b"\0" * WEIGHT.nbytes)
    (split_model.parent / "link.bin").symlink_to(outside)
    relocate(split_model, location="link.bin")
    refuse(split_model, "outside of the model's folder")


@pytest.mark.parametrize("entries", [{"length": 12}, {"offset": -4}, {"length": "many"}])
def test_entries_that_do_not_fit(split_model, entries):
    relocate(split_model, **entries)
    refuse(split_model, "external data of 'w'")
