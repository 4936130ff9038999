"""Runs both halves of a cut integer graph on calibration samples, to see what coding errors cost.

The device half runs once; its features are kept as far as a bound on memory allows. The server half
runs on whatever is put in their place, and the error is measured in front of a last Softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.fitting.choose_cut import integer_feed
from intaglio.fitting.data import CalibrationData
from intaglio.fitting.output_noise import logits_of
from intaglio.fitting.runner import batch_size
from intaglio.targets.onnx.session import make_session

#: Features of so many bytes are kept; fewer samples are used then.
KEPT_BYTES = 256 << 20

Features = Mapping[str, NDArray[np.int8]]


class Probe:
    """Features of calibration samples, and what the outputs make of others in their place.

    Args:
        model: The integer graph.
        cut: Names of the tensors that cross.
        data: Calibration samples.
        limit: Most samples to use.
        progress: Called with the samples done and all there are.

    Attributes:
        features: int8 array by tensor name, samples first.
    """

    def __init__(
        self,
        model: ir.Model,
        cut: Sequence[str],
        data: CalibrationData,
        limit: int,
        progress: Callable[[int, int], None],
    ) -> None:
        self._cut = list(cut)
        inputs = [str(value.name) for value in model.graph.inputs]
        self._fixed = bool(data.fixed_batch)
        self._group = data.fixed_batch or batch_size(model)
        head = _open(model, inputs, self._cut)
        self.features = self._run_head(model, head, data, min(limit, len(data)), progress)
        outputs = list(dict.fromkeys(logits_of(value) for value in model.graph.outputs))
        self._tail = _open(model, self._cut, outputs)
        self._expected = self._run(self.features)
        self._power = [_power(each - each.mean(axis=0)) for each in self._expected]

    @property
    def samples(self) -> int:
        """Number of samples kept."""
        return len(next(iter(self.features.values())))

    def noise(self, features: Features) -> float:
        """Power of the outputs' error relative to what they vary by; the largest of all outputs.

        Args:
            features: What the server gets, for the first samples or all of them.
        """
        found = self._run(features)
        count = len(found[0])
        shares = [0.0]
        for each, expected, power in zip(found, self._expected, self._power, strict=True):
            whole = power * count / len(expected)
            if whole > 0:
                shares.append(_power(each - expected[:count]) / whole)
        return max(shares)

    def _run_head(
        self,
        model: ir.Model,
        head: Any,
        data: CalibrationData,
        total: int,
        progress: Callable[[int, int], None],
    ) -> dict[str, NDArray[np.int8]]:
        parts: dict[str, list[NDArray[np.int8]]] = {name: [] for name in self._cut}
        done = held = 0
        for feed in data.batches(self._group, total):
            found = head.run(self._cut, integer_feed(model, feed))
            for name, array in zip(self._cut, found, strict=True):
                parts[name].append(array)
                held += array.nbytes
            done += len(found[0])
            progress(min(done, total), total)
            if held >= KEPT_BYTES:
                break
        return {name: np.concatenate(arrays) for name, arrays in parts.items()}

    def _run(self, features: Features) -> list[NDArray[np.float64]]:
        count = len(next(iter(features.values())))
        parts: list[list[NDArray[Any]]] = []
        for start in range(0, count, self._group):
            feed = {
                n: self._whole(array[start : start + self._group]) for n, array in features.items()
            }
            parts.append(self._tail.run(None, feed))
        return [
            np.concatenate(each)[:count].astype(np.float64) for each in zip(*parts, strict=True)
        ]

    def _whole(self, part: NDArray[np.int8]) -> NDArray[np.int8]:
        """A batch of the size that the model asks for: the last sample fills it up."""
        missing = self._group - len(part) if self._fixed else 0
        return np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part


def _open(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """A session over the part of a graph between some of its values."""
    copy = model.clone(deep_copy=True)
    graph = ir.convenience.extract(copy.graph, list(inputs), list(outputs))
    part = ir.Model(graph, ir_version=model.ir_version, functions=list(copy.functions.values()))
    graph.opset_imports.update(model.graph.opset_imports)
    return make_session(ir.to_proto(part).SerializeToString(), arena=True)


def _power(values: NDArray[np.float64]) -> float:
    return float(np.square(values).sum())
