"""Every TFLite model of the zoo is read, converted to integers, written again and verified."""

from __future__ import annotations

import numpy as np
import pytest

import intaglio
from intaglio.errors import UnsupportedError
from intaglio.targets.reading import read_model
from tests.conftest import shared_folder, slow_as_long

SAMPLES = 2
#: Refused, with the names of its custom operators.
REFUSED = "audio_preprocessor_int8"
#: Real inputs of these are pictures from 0 to 255 or about zero; the others take 0 to 1.
RANGES = {"ic_resnet8_float": (0, 255), "ultraface_RFB-320_nopost": (-1, 1)}
#: Its weights have zero points, which int8 kernels of TFLite do not take.
WITHOUT_TFLITE = frozenset({"coral_mobilenet_v1_0.25_128_quant"})


def _models():
    folder = shared_folder()
    found = [] if folder is None else sorted((folder / "zoo").glob("*.tflite"))
    return [path for path in found if path.stem != REFUSED]


#: Conversion takes over ten seconds.
SLOW = frozenset({"mobilenet_v1_0.25_224_float", "selfie_segmentation", "ultraface_RFB-320_nopost"})


def _samples(path):
    low, high = RANGES.get(path.stem, (0, 1))
    generator = np.random.default_rng(0)
    return {
        value.name: generator.uniform(low, high, (SAMPLES, *list(value.shape)[1:])).astype(
            np.float32
        )
        for value in read_model(path).graph.inputs
    }


@pytest.mark.parametrize("path", slow_as_long(_models(), SLOW), ids=lambda path: path.stem)
def test_model_of_the_zoo_converts_and_verifies(path, tmp_path):
    samples = _samples(path)
    quantized = read_model(path).graph.inputs[0].dtype.is_integer()
    targets = ["onnx-integer"] + ([] if path.stem in WITHOUT_TFLITE else ["tflite"])
    bundle = intaglio.convert(
        path,
        targets=targets,
        calibration=None if quantized else samples,
        sets=[] if quantized else ["calibrate.round_weights.enabled=false"],
        out=tmp_path / "bundle",
    )
    few = {name: array[:1] for name, array in samples.items()}
    report = intaglio.verify(bundle, inputs=few, layers=False)
    assert report.ok, report.failures
    exact = {pair.artifact for pair in report.pairs if pair.must_be_exact}
    assert any(name.startswith("tflite") for name in exact) or path.stem in WITHOUT_TFLITE
    if quantized and "coral" not in path.stem:
        assert any(name.startswith("original") for name in exact)
    if path.stem == "person_detect":
        assert "quantized_dimension" in bundle.manifest["warnings"][0]


def test_custom_operators_are_refused_by_name(zoo, tmp_path):
    with pytest.raises(UnsupportedError, match="SignalFftAutoScale"):
        intaglio.convert(zoo / f"{REFUSED}.tflite", out=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
