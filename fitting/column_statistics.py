"""Second moments of the columns that layers see, streamed over calibration samples.

For each layer: the means of the real columns ``x`` and of those in the quantized model ``x'``, and
``E[x' x'^T]`` and ``E[x x'^T]``. Of large outputs a random part of the positions is taken; nothing
but the sums is kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.fitting.data import CalibrationData
from intaglio.fitting.layers import Layer, choose_positions, take_columns
from intaglio.fitting.runner import Runner, batch_size
from intaglio.transforms.scales import TensorQuantization

Array = NDArray[np.float64]


@dataclasses.dataclass
class Moments:
    """Sums over the columns of one layer, divided by their number at the end.

    Attributes:
        count: Columns seen.
        real_mean: ``E[x]``, (groups, elements).
        mean: ``E[x']``, (groups, elements).
        gram: ``E[x' x'^T]``, (groups, elements, elements).
        cross: ``E[x x'^T]``, likewise, rows from the real column.
    """

    count: int
    real_mean: Array
    mean: Array
    gram: Array
    cross: Array

    @classmethod
    def empty(cls, groups: int, elements: int) -> Moments:
        """Sums over nothing."""
        vector, square = (groups, elements), (groups, elements, elements)
        return cls(0, np.zeros(vector), np.zeros(vector), np.zeros(square), np.zeros(square))

    def add(self, real: NDArray[np.float32], quantized: NDArray[np.float32]) -> None:
        """Takes columns, (groups, columns, elements) each."""
        self.count += real.shape[1]
        self.real_mean += real.sum(axis=1, dtype=np.float64)
        self.mean += quantized.sum(axis=1, dtype=np.float64)
        self.gram += quantized.transpose(0, 2, 1) @ quantized
        if real is not quantized:
            self.cross += real.transpose(0, 2, 1) @ quantized

    def finished(self, same: bool) -> Moments:
        """The means; ``same`` says that ``x'`` was ``x``, so that the cross sums are the gram."""
        n = max(self.count, 1)
        gram = self.gram / n
        cross = gram if same else self.cross / n
        return Moments(self.count, self.real_mean / n, self.mean / n, gram, cross)


def moment_bytes(layer: Layer) -> int:
    """Bytes that the sums of a layer take."""
    return 2 * 8 * layer.groups * layer.columns**2


def collect_moments(
    model: ir.Model,
    layers: Sequence[Layer],
    data: CalibrationData,
    *,
    quantized: Mapping[str, TensorQuantization],
    original: Mapping[str, NDArray[np.float32]],
    rows: int,
    seed: int = 0,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Moments]:
    """Streams the samples once through the real and the quantized model.

    Args:
        model: The float model, its weights so far rounded.
        layers: Layers to look at.
        data: The samples.
        quantized: Activations that the quantized model rounds; if empty, ``x'`` is ``x``.
        original: Real values of all initializers that were changed meanwhile.
        rows: Columns to take of each layer (at least four times as many as it has elements).
        seed: Of the choice of positions.
        limit: Use only the first so many samples.
        progress: Called after every batch.

    Returns:
        Moments in the order of ``layers``.
    """
    names = [str(layer.input.name) for layer in layers]
    exact = Runner(model, names, weights=original, outputs=False)
    rounded = Runner(model, names, quantized=quantized, outputs=False) if quantized else None
    sums = [Moments.empty(layer.groups, layer.columns) for layer in layers]
    batch = batch_size(model)
    samples = len(data) if limit is None else min(limit, len(data))
    runs = max(1, -(-samples // (data.fixed_batch or batch)))
    generator = np.random.default_rng(seed)
    feeds = data.batches(batch, limit)
    for number, feed in enumerate(feeds, start=1):
        real = exact.run(feed)
        other = real if rounded is None else rounded.run(feed)
        for layer, name, total in zip(layers, names, sums, strict=True):
            share = -(-max(rows, 4 * layer.columns) // runs)
            positions = choose_positions(layer, real[name], share, generator)
            x = take_columns(layer, real[name], positions)
            total.add(x, x if rounded is None else take_columns(layer, other[name], positions))
        if progress is not None:
            progress(min(number * samples // runs, samples), samples)
    return [total.finished(rounded is None) for total in sums]
