"""What the ways through a dense convolution share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array
from intaglio.targets.c.kernels.mve.job import stream
from intaglio.targets.c.kernels.mve.scaling import Scaling
from intaglio.targets.c.network import Convolution


def folded_bias(layer: Convolution) -> NDArray[np.int64]:
    """The bias with the part of the input's zero point in it."""
    sums = layer.weights.astype(np.int64).reshape(layer.weights.shape[0], -1).sum(axis=1)
    return np.asarray(layer.bias.astype(np.int64) - layer.inputs[0].zero_point * sums)


def is_dense_int8(layer: Convolution) -> bool:
    """Whether every channel reads all of an int8 image, and is one of int8."""
    return (
        layer.groups == 1
        and not layer.wide
        and layer.weight_zero_point == 0
        and layer.inputs[0].dtype == "int8"
        and layer.output.dtype == "int8"
    )


def window_bytes(layer: Convolution) -> int:
    """Bytes of a window."""
    return int(layer.weights[0].size)


def parts_of(
    layer: Convolution, scale: Scaling, weights: NDArray[np.int8], size: int
) -> tuple[list[Array], list[tuple[str, int, int]]]:
    """Streams: pairs of channels, and the last two once more where their number is odd.

    Returns:
        Arrays, and of each its name, first channel and length in words.
    """
    count = weights.shape[0]
    filled = np.zeros((count, size), np.int8)
    filled[:, : weights.shape[1]] = weights
    bias = folded_bias(layer)
    arrays, parts = [], []
    for name, first, end in (("stream", 0, count // 2 * 2), ("last", count - 2, count)):
        if name == "last" and count % 2 == 0:
            break
        chosen = Scaling(
            scale.form, scale.columns[first:end], scale.zero_point, scale.minimum, scale.maximum
        )
        data = stream(filled[first:end], bias[first:end], chosen)
        arrays.append(Array(name, data))
        parts.append((name, first, data.size))
    return arrays, parts


def job_of(layer: Convolution, scale: Scaling, x_step: int) -> str:
    """Declares a job, without its pixels."""
    channels = layer.window.result[2]
    return (
        f"struct mve_job job = {{{scale.zero_point}, {{x0, x0, x0, x0}}, 2, @stream@, y,\n"
        f"                      @stream@, 0, {x_step}, {4 * channels}, {channels}u * 0x10001u}};"
    )


def for_each(parts: list[tuple[str, int, int]], lines: list[str]) -> list[str]:
    """``lines`` for every stream."""
    found = []
    for name, first, size in parts:
        found.append(f"job.stream = @{name}@;")
        found.append(f"job.end = @{name}@ + {size};")
        found.append(f"job.y = y + {first};" if first else "job.y = y;")
        found += lines
    return found
