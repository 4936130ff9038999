"""Transposed convolutions as convolutions of stride 1 whose channels are the phases of the output.

``y[s*q + p]`` sums ``x[q + d] * w[k]`` over the taps ``k = (p + pad) mod s + s*j`` with ``d =
floor((p + pad) / s) - j``: every phase ``p`` is a filter over the same few inputs around ``q``,
with weights of 0 where a phase has no tap. A row of phases is computed into scratch memory and then
laid out as ``s`` rows of the output.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Implementation
from intaglio.targets.c.kernels.x86.dense import dense_rows
from intaglio.targets.c.network import Convolution, TransposedConvolution, Window


def transposed(layer: TransposedConvolution, variant: str) -> Implementation | None:
    """A transposed convolution of int8 without groups or dilation; None for others."""
    window, count = layer.window, len(layer.weights)
    if layer.groups != 1 or layer.wide or window.dilations != (1, 1):
        return None
    if layer.inputs[0].dtype != "int8" or layer.output.dtype != "int8":
        return None
    rows, columns = window.strides
    if window.result[0] % rows or window.result[1] % columns:
        return None
    (row_taps, kh, top), (column_taps, kw, left) = (
        _taps(window.kernel[axis], window.strides[axis], window.pads[axis]) for axis in (0, 1)
    )
    weights = np.zeros((rows, columns, count, kh, kw, window.image[2]), np.int8)
    for p, r, at_row in row_taps:
        for q, s, at_column in column_taps:
            weights[p, q, :, at_row, at_column] = layer.weights[:, r, s]
    phases = rows * columns * count
    result = window.result[0] // rows, window.result[1] // columns, phases
    convolution = Convolution(
        layer.name,
        layer.inputs,
        layer.output,
        layer.sources,
        window=Window(window.image, result, (kh, kw), pads=(top, left)),
        weights=weights.reshape(phases, kh, kw, -1),
        bias=np.tile(layer.bias, rows * columns),
        rescale=dataclasses.replace(
            layer.rescale,
            multiplier=_tiled(layer.rescale.multiplier, count, rows * columns),
            shift=_tiled(layer.rescale.shift, count, rows * columns),
        ),
    )
    run = columns * count
    spread = [
        f"for (size_t p = 0; p < {rows}; p++) {{",
        f"    int8_t *const line = y + (row * {rows} + p) * {window.result[1] * count};",
        f"    for (size_t q = 0; q < {result[1]}; q++) {{",
        f"        memcpy(line + q * {run}, to + q * {phases} + p * {run}, {run});",
        "    }",
        "}",
    ]
    return dense_rows(
        convolution,
        variant,
        lambda at: ([f"int8_t *const to = (int8_t *)scratch + {at};"], spread),
        result[1] * phases,
    )


def _tiled(values: NDArray[np.int64], count: int, times: int) -> NDArray[np.int64]:
    return np.tile(np.broadcast_to(values, count), times)


def _taps(kernel: int, stride: int, pad: int) -> tuple[list[tuple[int, int, int]], int, int]:
    # (phase, tap, place among the inputs) of all taps; how many inputs, and how many before q.
    pairs = [(p, k) for p in range(stride) for k in range((p + pad) % stride, kernel, stride)]
    distances = [(p + pad - k) // stride for p, k in pairs]
    first, last = min([0, *distances]), max([0, *distances])
    taps = [(p, k, d - first) for (p, k), d in zip(pairs, distances, strict=True)]
    return taps, last - first + 1, -first
