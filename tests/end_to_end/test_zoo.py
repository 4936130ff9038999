"""Every ONNX model of the zoo converts to both targets and verifies, with no float left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import intaglio
from intaglio.passes.lower.integer_only import find_float_tensors
from intaglio.targets.onnx.read import read_onnx
from tests.conftest import shared_folder, slow_as_long

#: Size of an open image dimension: small, since what is tested is that it works.
SIZE = 24
SAMPLES = 4
#: Real inputs of these are pictures from 0 to 255; the others take 0 to 1.
BYTES = frozenset({"mnist8_cntk", "ultraface_RFB-320_nopost", "yunet_n_320_320"})


#: Conversion takes over ten seconds.
SLOW = frozenset({"ultraface_RFB-320_nopost", "yunet_n_320_320"})


def _models() -> list[Path]:
    folder = shared_folder()
    return [] if folder is None else sorted((folder / "zoo").glob("*.onnx"))


@pytest.mark.parametrize("path", slow_as_long(_models(), SLOW), ids=lambda path: path.stem)
def test_model_of_the_zoo_converts_and_verifies(path, tmp_path):
    model = read_onnx(path)
    generator = np.random.default_rng(0)
    shapes, samples = {}, {}
    for value in model.graph.inputs:
        size = [
            d if isinstance(d, int) else 1 if i == 0 else SIZE for i, d in enumerate(value.shape)
        ]
        if size != list(value.shape):
            shapes[value.name] = size
        high = 255.0 if path.stem in BYTES else 1.0
        array = generator.uniform(0, high, (SAMPLES, *size[1:])).astype(np.float32)
        samples[value.name] = array
    bundle = intaglio.convert(path, calibration=samples, shapes=shapes, out=tmp_path / "bundle")
    few = {name: array[:1] for name, array in samples.items()}
    assert intaglio.verify(bundle, inputs=few, layers=False).ok
    integer = ir.load(tmp_path / "bundle" / "onnx-integer" / "model.onnx")
    assert find_float_tensors(integer) == []
    assert {a["target"] for a in bundle.manifest["artifacts"]} >= {"onnx-qdq", "onnx-integer"}


def test_the_zoo_is_there(zoo):
    assert _models()
