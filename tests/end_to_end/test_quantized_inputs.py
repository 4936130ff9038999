"""Files that onnxruntime's own quantizer made: converted without calibration, scales kept."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

import intaglio
from intaglio.errors import UnsupportedError
from intaglio.passes.annotations import all_values, get_quantization
from intaglio.targets.onnx.session import make_session

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
TYPES = {"S8": QuantType.QInt8, "U8": QuantType.QUInt8, "S16": QuantType.QInt16}
CALIBRATED = 16
TESTED = 8

#: model, activations, weights, per channel, symmetric activations, LSB at the output.
#: One unit is within 1 LSB; what comes out at the end is counted. `superres` has PRelus, whose
#: slopes onnxruntime leaves in float: they get 8 bits here.
CASES = [
    ("digits", "S8", "S8", False, False, 1),
    ("digits", "S8", "S8", True, True, 1),
    ("digits", "U8", "S8", True, False, 1),
    ("digits", "U8", "U8", False, False, 1),
    ("digits", "U8", "U8", True, False, 1),
    ("digits", "S16", "S8", True, True, 2),
    ("digits", "S16", "S8", False, True, 2),
    ("fashion", "S8", "S8", True, False, 2),
    ("fashion", "U8", "U8", False, False, 2),
    ("fashion", "S16", "S8", True, True, 3),
    ("superres", "S8", "S8", True, False, 14),
    ("superres", "S16", "S8", True, True, 8),
]


class _Reader(CalibrationDataReader):
    def __init__(self, name: str, samples: np.ndarray) -> None:
        self._feeds = iter([{name: sample[None]} for sample in samples])

    def get_next(self):
        return next(self._feeds, None)


def _samples(model: str) -> tuple[Path, str, np.ndarray]:
    folder = SAMPLES / model
    path = folder / f"{model}.onnx"
    name = onnx.load(path).graph.input[0].name
    with np.load(folder / "calibration.npz") as archive:
        return path, name, archive[name].astype(np.float32)


def _quantize(model: str, out: Path, activations: str, weights: str, channels: bool, even: bool):
    path, name, samples = _samples(model)
    logging.disable(logging.WARNING)  # it advises preprocessing on every call
    try:
        quantize_static(
            path,
            out,
            _Reader(name, samples[:CALIBRATED]),
            quant_format=QuantFormat.QDQ,
            activation_type=TYPES[activations],
            weight_type=TYPES[weights],
            per_channel=channels,
            extra_options={"ActivationSymmetric": even, "WeightSymmetric": weights == "S8"},
        )
    finally:
        logging.disable(logging.NOTSET)
    return name, samples


def _activation_scales(path: Path) -> set[tuple[float, int]]:
    """Scale and zero point of every computed tensor that is quantized, uint8 moved to int8."""
    graph = onnx.load(path).graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    found = set()
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            zero = constants[node.input[2]]
            moved = int(zero) - 128 * (zero.dtype == np.uint8)
            found.add((float(constants[node.input[1]]), moved))
    return found


def _run(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return make_session(path.read_bytes(), threads=1).run(None, feeds)[0]


@pytest.mark.parametrize(("model", "activations", "weights", "channels", "even", "lsb"), CASES)
def test_quantized_file_keeps_its_scales(
    model, activations, weights, channels, even, lsb, tmp_path
):
    file = tmp_path / f"{model}_quantized.onnx"
    name, samples = _quantize(model, file, activations, weights, channels, even)

    bundle = intaglio.convert(file, out=tmp_path / "bundle")
    assert intaglio.verify(bundle, inputs={name: samples[:2]}, layers=False).ok

    artifact = tmp_path / "bundle" / "onnx-integer" / "model.onnx"
    integer = ir.load(artifact)
    notes = [q for v in all_values(integer) if (q := get_quantization(v)) is not None]
    assert _activation_scales(file) <= {(q.scale[0], q.zero_point[0]) for q in notes}

    tested = samples[CALIBRATED : CALIBRATED + TESTED]
    source, result = (get_quantization(v) for v in (*integer.graph.inputs, *integer.graph.outputs))
    spec = bundle.manifest["artifacts"]
    [border] = [a["inputs"][0] for a in spec if a["target"] == "onnx-integer"]
    assert (border["scale"], border["zero_point"]) == (source.scale[0], source.zero_point[0])
    codes = _run(artifact, {name: source.quantize(tested)}).astype(np.int64)
    expected = result.quantize(_run(file, {name: tested})).astype(np.int64)
    assert np.abs(codes - expected).max() <= lsb
    assert codes.min() != codes.max()


def test_asymmetric_weights_of_conv_transpose_are_refused_by_name(tmp_path):
    file = tmp_path / "quantized.onnx"
    _quantize("superres", file, "U8", "U8", False, False)
    with pytest.raises(UnsupportedError, match=r"ConvTranspose.*zero point") as caught:
        intaglio.convert(file, out=tmp_path / "bundle")
    assert [r.operator for r in caught.value.refusals] == ["ConvTranspose"]
    assert not (tmp_path / "bundle").exists()
