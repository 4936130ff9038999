"""onnxruntime's own quantizer, as its documentation advises: pre-process, then ``quantize_static``.

QDQ format, per-channel int8 weights, int8 activations (S8S8), the same calibration samples as
ours, all other options at their defaults. Min-max with uint8 activations (U8S8) beside it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

PEERS = {
    "ort-minmax": ("MinMax", "QInt8"),
    "ort-percentile": ("Percentile", "QInt8"),
    "ort-entropy": ("Entropy", "QInt8"),
    "ort-minmax-u8": ("MinMax", "QUInt8"),
}


def quantize(
    method: str, model: Path, input_name: str, samples: NDArray[np.float32], out: Path
) -> Path:
    """Quantizes a model with onnxruntime.

    Args:
        method: One of :data:`PEERS`.
        model: The float model.
        input_name: Its input.
        samples: Calibration samples, samples first; given one by one.
        out: File to write.

    Returns:
        ``out``.
    """
    import onnxruntime
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    onnxruntime.set_default_logger_severity(3)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = _feeds(input_name, samples)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._feeds, None)

    calibration, activations = PEERS[method]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = _prepare(model, Path(folder) / "prepared.onnx")
        quantize_static(
            str(prepared),
            str(out),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=getattr(QuantType, activations),
            weight_type=QuantType.QInt8,
            calibrate_method=getattr(CalibrationMethod, calibration),
        )
    return out


def _feeds(name: str, samples: NDArray[np.float32]) -> Iterator[dict[str, Any]]:
    for sample in samples:
        yield {name: sample[None]}


def _prepare(model: Path, out: Path) -> Path:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        quant_pre_process(str(model), str(out))
    except Exception:  # its symbolic shape inference knows fewer operators than the rest
        quant_pre_process(str(model), str(out), skip_symbolic_shape=True)
    _flatten_biases(out)
    return out


def _flatten_biases(path: Path) -> None:
    """Gives Gemm biases of shape 1×n the shape n, which means the same.

    With per-channel weights, onnxruntime 1.31's quantizer fails on the former.
    """
    proto = onnx.load(str(path))
    biases = {n.input[2] for n in proto.graph.node if n.op_type == "Gemm" and len(n.input) > 2}
    for tensor in proto.graph.initializer:
        if tensor.name in biases and len(tensor.dims) == 2 and tensor.dims[0] == 1:
            del tensor.dims[0]
    del proto.graph.value_info[:]
    onnx.save(onnx.shape_inference.infer_shapes(proto), str(path))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps its warnings and progress notes off the tables."""
    level = logging.root.level
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
        logging.root.setLevel(level)
