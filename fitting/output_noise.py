"""What the quantization of chosen activations costs at the model's outputs, measured.

Predictions from one layer to the next miss what later layers make of an error: two tensors of the
same local noise can differ by 20 dB at the output. Running a few samples tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.fitting.data import CalibrationData
from intaglio.fitting.runner import Runner, batch_size
from intaglio.transforms.scales import TensorQuantization

#: Outputs that are kept to compare with may take so many bytes; fewer samples are used then.
KEPT_BYTES = 32 << 20

_PASSED_OVER = (
    "Identity", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "DequantizeLinear",
)  # fmt: skip
_SOFTMAXES = ("Softmax", "LogSoftmax", "SoftmaxInteger", "SoftmaxInteger16")


class OutputNoise:
    """Compares a model's outputs with those it had at the start, on a few samples.

    Args:
        model: The float model.
        data: Calibration samples.
        samples: Most samples to look at.
    """

    def __init__(self, model: ir.Model, data: CalibrationData, samples: int) -> None:
        self._data = data
        self._names = [logits_of(output) for output in model.graph.outputs]
        self._samples = 0
        self._reference: list[dict[str, NDArray[Any]]] = []
        self._power = dict.fromkeys(self._names, 0.0)
        self._batch = min(batch_size(model), samples)
        each = data.fixed_batch or self._batch
        held = 0
        for found in Runner(model, self._names, outputs=False).stream(
            data, batch=self._batch, limit=samples
        ):
            self._reference.append({name: found[name] for name in self._names})
            self._samples = min(self._samples + each, samples)
            for name in self._names:
                self._power[name] += _power(found[name])
                held += found[name].nbytes
            if held >= KEPT_BYTES:
                break

    def measure(
        self, model: ir.Model, quantized: Mapping[str, TensorQuantization] | None = None
    ) -> float:
        """Power of the outputs' error, relative to that of the outputs; the sum over all outputs.

        Args:
            model: The model as it is now.
            quantized: Activations to quantize, by name.
        """
        runner = Runner(model, self._names, quantized=quantized, outputs=False)
        stream = runner.stream(self._data, batch=self._batch, limit=self._samples)
        errors = dict.fromkeys(self._names, 0.0)
        for found, expected in zip(stream, self._reference, strict=False):
            for name in self._names:
                errors[name] += _power(found[name].astype(np.float64) - expected[name])
        shares = [errors[n] / self._power[n] for n in errors if self._power[n] > 0.0]
        return float(sum(shares))


def logits_of(output: ir.Value) -> str:
    """Name of what goes into the Softmax that makes an output, or of the output itself.

    The graph may be one of floats or of integers.
    """
    value: ir.Value | None = output
    while value is not None:
        node = value.producer()
        if node is None:
            break
        if node.op_type in _SOFTMAXES:
            return str(node.inputs[0].name) if node.inputs[0] is not None else str(output.name)
        if node.op_type not in _PASSED_OVER:
            break
        value = node.inputs[0]
    return str(output.name)


def _power(values: NDArray[Any]) -> float:
    return float(np.square(values, dtype=np.float64).sum())
