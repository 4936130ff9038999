"""Runs a model on real values, whatever its inputs and outputs are in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from intaglio.bundle import Bundle
from intaglio.targets.base import TensorSpec
from intaglio.targets.onnx.session import with_outputs
from intaglio.transforms.scales import TensorQuantization
from numpy.typing import NDArray

from benchmarks.common import open_session

# What may stand between the last operator and the output.
_PASSED_OVER = ("DequantizeLinear", "QuantizeLinear", "Identity", "Reshape")


class Runner:
    """A model with float inputs and outputs; its logits where it ends in Softmax.

    Args:
        model: The file.
        input_name: Its only input.
    """

    def __init__(self, model: Path, input_name: str) -> None:
        self._input = input_name
        self._session = open_session(model)
        logits = _before_softmax(model, "Softmax")
        # A session of its own: one more output would keep onnxruntime from fusing kernels.
        self._logits: Any = None if logits is None else open_session(_only_output(model, logits))

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The outputs, in order."""
        return self._outputs(self._session, batch)

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """What goes into the last Softmax; None where there is none."""
        return None if self._logits is None else self._outputs(self._logits, batch)[0]

    def _outputs(self, session: Any, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = session.run(None, {self._input: batch})
        return found


class IntegerRunner(Runner):
    """The ``onnx-integer`` artifact of a bundle, between quantize and dequantize."""

    def __init__(self, bundle: Bundle) -> None:
        artifact = bundle.artifact("onnx-integer")
        path = bundle.folder / artifact.path
        self._input = artifact.inputs[0].name
        self._from = _quantization(artifact.inputs[0])
        self._to = [_quantization(spec) for spec in artifact.outputs]
        self._names = [spec.name for spec in artifact.outputs]
        model = path.read_bytes()
        logits = _before_softmax(path, "SoftmaxInteger")
        if logits is not None:
            # One run gives both: in integer graphs there is nothing to fuse.
            model = with_outputs(model, [logits])
            self._names.append(logits)
            self._to.append(_scale_before_softmax(bundle.folder / bundle.artifact("onnx-qdq").path))
        self._has_logits = logits is not None
        self._session = open_session(model)
        self._latest: tuple[NDArray[np.float32], list[NDArray[np.float32]]] | None = None

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """See :meth:`Runner.run`."""
        found = self._all(batch)
        return found[:-1] if self._has_logits else found

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """See :meth:`Runner.logits`."""
        return self._all(batch)[-1] if self._has_logits else None

    def _all(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        if self._latest is None or self._latest[0] is not batch:
            feed = {self._input: self._from.quantize(batch)}
            found = self._session.run(self._names, feed)
            real = [to.dequantize(x) for to, x in zip(self._to, found, strict=True)]
            self._latest = (batch, real)
        return self._latest[1]


def _before_softmax(model: Path, operator: str) -> str | None:
    """The input of the operator that makes the only output, if that is ``operator``."""
    graph = onnx.load(str(model)).graph
    makers = {name: node for node in graph.node for name in node.output}
    if len(graph.output) != 1:
        return None
    node = makers.get(graph.output[0].name)
    while node is not None and node.op_type in _PASSED_OVER:
        node = makers.get(node.input[0])
    return str(node.input[0]) if node is not None and node.op_type == operator else None


def _only_output(model: Path, name: str) -> bytes:
    proto = onnx.load(str(model))
    del proto.graph.output[:]
    proto.graph.output.append(onnx.ValueInfoProto(name=name))
    return bytes(proto.SerializeToString())


def _quantization(spec: TensorSpec) -> TensorQuantization:
    if spec.scale is None:
        raise ValueError(f"'{spec.name}' of the integer artifact has no scale")
    return TensorQuantization(spec.dtype, (spec.scale,), (spec.zero_point or 0,))


def _scale_before_softmax(model: Path) -> TensorQuantization:
    """How the last Softmax's input is quantized, read from the model in QDQ form."""
    graph = onnx.load(str(model)).graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    node = makers[str(_before_softmax(model, "Softmax"))]
    scale, zero_point = constants[node.input[1]], constants[node.input[2]]
    return TensorQuantization(zero_point.dtype.name, (float(scale),), (int(zero_point),))
