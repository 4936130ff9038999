"""Table networks as TOSA files: the definition's bytes, whatever the structure and the size."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import intaglio
from intaglio.errors import RecipeError, UnsupportedError
from intaglio.passes.table_networks.write import network_model
from intaglio.table_networks import bind_size
from intaglio.targets.base import TensorSpec
from intaglio.targets.tosa.emit import emit
from intaglio.targets.tosa.session import TosaSession
from tests.transforms.table_networks.random_networks import centred, reference

STRUCTURES = {
    "superres x1": {"upscale": 1, "channels": 8},
    "superres x2": {"upscale": 2, "mixings": 3, "channels": 8},
    "superres x3 without mixings": {"upscale": 3, "mixings": 0},
    "superres x4": {"upscale": 4, "kernel": 5},
    "wide kernel": {"upscale": 2, "kernel": 9, "channels": 8},
    "denoise": {"upscale": 2, "stride": 2, "kernel": 6, "shared": True},
    "half": {"upscale": 1, "stride": 2, "kernel": 2, "channels": 8},
    "three halves": {"upscale": 3, "stride": 2, "kernel": 4, "channels": 8},
}
SIZES = [(2, 2), (1, 5), (7, 1), (6, 9), (12, 11)]


def planes(size):
    random = np.random.default_rng(sum(size))
    yield random.integers(0, 256, size).astype(np.uint8)
    for level in (0, 255):
        yield np.full(size, level, np.uint8)
    yield (255 * (np.indices(size).sum(0) % 2)).astype(np.uint8)


# Of an image of one row a network that halves leaves nothing.
CASES = [(name, size) for name in STRUCTURES for size in SIZES if name != "half" or min(size) > 1]


@pytest.mark.parametrize(("structure", "size"), CASES)
def test_the_reference_model_gives_the_definition(environment, structure, size):
    network = centred(5, **STRUCTURES[structure])
    height, width = (side * network.upscale // network.stride for side in size)
    model = network_model(network, "it", "a task")
    bind_size(model, {"image": [1, 1, *size]})
    emitted = emit(model, "tflm")
    assert not emitted.refusals
    specs = [
        (TensorSpec("image", (1, 1, *size), "uint8"),),
        (TensorSpec("result", (1, 1, height, width), "uint8"),),
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tosa"
        path.write_bytes(emitted.data)
        with TosaSession(path, *specs) as session:
            for plane in planes(size):
                found = session.run({"image": plane[None, None]}).outputs["result"]
                np.testing.assert_array_equal(found[0, 0], network.apply(plane))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "denoise.onnx"
    ir.save(network_model(centred(2, stride=2, upscale=2, kernel=4, channels=8), "it", "t"), path)
    return path


def test_one_size_beside_artifacts_of_any(environment, model, tmp_path):
    made = intaglio.convert(
        model, "lut", ["onnx-integer", "tosa"], out=tmp_path / "b",
        shapes={"image": [1, 1, 10, 7]},
    )  # fmt: skip
    assert made.artifact("tosa").inputs[0].shape == (1, 1, 10, 7)
    assert made.artifact("tosa").outputs[0].shape == (1, 1, 10, 7)
    assert made.artifact("onnx-integer").inputs[0].shape == ("N", 1, "H", "W")
    report = intaglio.verify(made)
    assert report.ok, report.failures
    assert {p.artifact: p.verdict for p in report.pairs} == {
        "onnx-integer": "exact",
        "tosa": "exact",
    }


def test_an_open_size_is_refused_with_the_way_out(model, tmp_path):
    with pytest.raises(UnsupportedError) as caught:
        intaglio.convert(model, "lut", ["tosa"], out=tmp_path / "b")
    [refusal] = caught.value.refusals
    assert "--shape image=1,1,HEIGHT,WIDTH" in refusal.remedy
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "shapes",
    [
        {"picture": [1, 1, 8, 8]},
        {"image": [8, 8]},
        {"image": [2, 1, 8, 8]},
        {"image": [1, 1, 0, 8]},
    ],
    ids=["another name", "two sizes", "a batch", "nothing"],
)
def test_shapes_that_are_no_size_of_an_image_are_refused(model, tmp_path, shapes):
    with pytest.raises(RecipeError, match="size of one image"):
        intaglio.convert(model, "lut", ["tosa"], out=tmp_path / "b", shapes=shapes)


def test_networks_that_turn_their_windows_are_refused():
    model = network_model(reference(3, upscale=2), "it", "a task")
    bind_size(model, {"image": [1, 1, 8, 8]})
    [refusal] = emit(model, "tflm").refusals
    assert "turns its windows" in refusal.reason


@pytest.mark.parametrize("structure", ["half"])
def test_an_image_of_which_nothing_is_left_is_refused(structure):
    model = network_model(centred(5, **STRUCTURES[structure]), "it", "a task")
    with pytest.raises(RecipeError, match="nothing is left"):
        bind_size(model, {"image": [1, 1, 1, 4]})
