"""Second moments of the columns that layers see, streamed over calibration samples.

For each layer the mean ``E[x]`` and ``E[x x^T]`` of its columns. Of large outputs a random part of
the positions is taken; nothing but the sums is kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.fitting.data import CalibrationData
from intaglio.fitting.layers import Layer, choose_positions, take_columns
from intaglio.fitting.runner import Runner, batch_size

Array = NDArray[np.float64]


@dataclasses.dataclass
class Moments:
    """Moments of the columns of one layer.

    Attributes:
        count: Columns seen.
        mean: ``E[x]``, (groups, elements).
        gram: ``E[x x^T]``, (groups, elements, elements).
    """

    count: int
    mean: Array
    gram: Array

    @classmethod
    def empty(cls, groups: int, elements: int) -> Moments:
        """Moments of nothing yet."""
        shape = (groups, elements)
        return cls(0, np.zeros(shape), np.zeros((*shape, elements)))

    def add(self, columns: NDArray[np.float32]) -> None:
        """Takes columns, (groups, columns, elements), into running sums."""
        self.count += columns.shape[1]
        self.mean += columns.sum(axis=1, dtype=np.float64)
        self.gram += columns.transpose(0, 2, 1) @ columns

    def finish(self) -> Moments:
        """The means of the sums."""
        n = max(self.count, 1)
        return Moments(self.count, self.mean / n, self.gram / n)

    def covariance(self, group: int) -> Array:
        """``E[x x^T] - E[x] E[x]^T`` of a group."""
        return np.asarray(self.gram[group] - np.outer(self.mean[group], self.mean[group]))


def moment_bytes(layer: Layer) -> int:
    """Bytes that the sums of a layer take."""
    return 8 * layer.groups * layer.columns**2


def collect_moments(
    model: ir.Model,
    layers: Sequence[Layer],
    data: CalibrationData,
    *,
    rows: int,
    seed: int = 0,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Moments]:
    """Streams the samples once through the model.

    Args:
        model: The float model.
        layers: Layers to look at.
        data: The samples.
        rows: Columns to take of each layer (at least four times as many as it has elements).
        seed: Of the choice of positions.
        limit: Use only the first so many samples.
        progress: Called after every batch with the samples done and all there are.

    Returns:
        Moments in the order of ``layers``.

    Raises:
        InputError: The samples are damaged.
    """
    names = [str(layer.input.name) for layer in layers]
    runner = Runner(model, names, outputs=False)
    sums = [Moments.empty(layer.groups, layer.columns) for layer in layers]
    batch = batch_size(model)
    samples = len(data) if limit is None else min(limit, len(data))
    runs = max(1, -(-samples // (data.fixed_batch or batch)))
    generator = np.random.default_rng(seed)
    for found in runner.stream(data, batch=batch, limit=limit, progress=progress):
        for layer, name, total in zip(layers, names, sums, strict=True):
            share = -(-max(rows, 4 * layer.columns) // runs)
            positions = choose_positions(layer, found[name], share, generator)
            total.add(take_columns(layer, found[name], positions))
    return [total.finish() for total in sums]
