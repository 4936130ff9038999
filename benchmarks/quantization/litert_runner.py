"""Runs ``.tflite`` models in LiteRT with real values, one sample at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from intaglio.transforms.scales import TensorQuantization
from numpy.typing import NDArray

from benchmarks.quantization.runners import Runner
from benchmarks.quantization.tflite_files import before_softmax

FloatArray = NDArray[np.float32]


class LiteRtRunner(Runner):
    """A ``.tflite`` model in LiteRT with its default kernels (XNNPACK), on one thread.

    Args:
        model: The file; it has one input.
    """

    def __init__(self, model: Path) -> None:
        content = model.read_bytes()
        self._whole = _Opened(content)
        shortened = before_softmax(content)
        self._short = None if shortened is None else _Opened(shortened)

    def run(self, batch: FloatArray) -> list[FloatArray]:
        """See :meth:`Runner.run`."""
        return self._whole.run(batch)

    def logits(self, batch: FloatArray) -> FloatArray | None:
        """See :meth:`Runner.logits`."""
        return None if self._short is None else self._short.run(batch)[0]


class _Opened:
    """An interpreter that takes and gives real values."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = self._interpreter.get_output_details()

    def run(self, batch: FloatArray) -> list[FloatArray]:
        """All outputs of each sample, samples first."""
        found: list[list[FloatArray]] = [[] for _ in self._outputs]
        for sample in batch:
            values = sample.reshape(self._input["shape"])
            self._interpreter.set_tensor(self._input["index"], _to_integers(values, self._input))
            self._interpreter.invoke()
            for column, detail in zip(found, self._outputs, strict=True):
                column.append(_to_real(self._interpreter.get_tensor(detail["index"]), detail))
        return [np.concatenate(column) for column in found]


def _to_integers(values: FloatArray, detail: dict[str, Any]) -> NDArray[Any]:
    quantization = _quantization(detail)
    return values if quantization is None else quantization.quantize(values)


def _to_real(values: NDArray[Any], detail: dict[str, Any]) -> FloatArray:
    quantization = _quantization(detail)
    real = values if quantization is None else quantization.dequantize(values)
    return np.array(real, np.float32)


def _quantization(detail: dict[str, Any]) -> TensorQuantization | None:
    if np.issubdtype(detail["dtype"], np.floating):
        return None
    scale, zero_point = detail["quantization"]
    return TensorQuantization(np.dtype(detail["dtype"]).name, (float(scale),), (int(zero_point),))
