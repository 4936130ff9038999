"""Means of the integers that share a code, as nodes.

Of n integers that sum to s the mean is ``floor((2 s + n) / (2 n))``: halves go up. A convolution
with ones adds them; 128 n more makes the sum S at least 0, and then ``mean + 128`` is
``(S * M + 2^(k - 1)) >> k`` with ``M = ceil(2^k / n)``. That is exact: from ``S / n + 1/2`` to the
next integer it is at least ``1 / (2 n)``, and rounding M up adds less than ``S / 2^k``, which is at
most ``255 n / 2^k`` and stays below that while ``n < 2^21``, with k = 30 + the bits of n - 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import UnsupportedError
from intaglio.passes.split.codec_graph import CodecWriter, meaning, sizes_of
from intaglio.transforms.split.specification import Feature

#: Most integers that share a code.
_MOST = 1 << 21


def shared_means(writer: CodecWriter, wire: ir.Value, feature: Feature) -> ir.Value:
    """The rounded mean of the integers of each group of channels and places.

    Patches that the border cuts short have fewer integers: these are computed apart.

    Args:
        writer: Takes the nodes.
        wire: The feature in wire order.
        feature: Its specification.

    Returns:
        int8 ``[N, code channels, code rows, code columns]``, in the feature's own quantization.
    """
    patch, (rows, columns) = feature.share_patch, feature.plane
    planes = writer.reshape(wire, [feature.channels, rows, columns], f"{feature.name}_planes")
    bands = []
    for top, height, row_side in _runs(rows, patch):
        band = writer.cut(planes, 2, top, height, f"{feature.name}_rows")
        parts = []
        for left, width, column_side in _runs(columns, patch):
            part = writer.cut(band, 3, left, width, f"{feature.name}_columns")
            parts.append(_means(writer, part, feature, row_side, column_side))
        bands.append(writer.concat(parts, f"{feature.name}_band", 3))
    return writer.concat(bands, f"{feature.name}_means", 2)


def _runs(size: int, patch: int) -> list[tuple[int, int, int]]:
    """First place, length and side of patch: of the whole patches, and of the one cut short."""
    whole = size // patch * patch
    runs = [(0, whole, patch), (whole, size - whole, size - whole)]
    return [run for run in runs if run[1]]


def _means(
    writer: CodecWriter, part: ir.Value, feature: Feature, height: int, width: int
) -> ir.Value:
    """Means where every group has the same number of integers."""
    name, together, channels = feature.name, feature.share_channels, feature.code_channels
    count = together * height * width
    if count >= _MOST:
        raise UnsupportedError(
            f"{count} integers of '{name}' would share a code",
            remedy=f"use smaller patches: fewer than {_MOST} are possible",
        )
    _, rows, columns = sizes_of(part)
    shape = [channels, rows // height, columns // width]
    ones = writer.constant(f"{name}_ones", np.ones((channels, together, height, width), np.int8))
    sums = writer.op(
        "ConvInteger",
        [part, ones, writer.constant(f"{name}_no_zero_point", np.array(0, np.int8))],
        f"{name}_sums",
        shape,
        attributes={
            "dilations": [1, 1],
            "group": channels,
            "kernel_shape": [height, width],
            "pads": [0, 0, 0, 0],
            "strides": [height, width],
        },
        dtype=ir.DataType.INT32,
        quantization=None,
    )
    lift = writer.constant(f"{name}_lift", np.full((channels, 1, 1), 128 * count, np.int32))
    lifted = writer.op(
        "Add", [sums, lift], f"{name}_lifted", shape, dtype=ir.DataType.INT32, quantization=None
    )
    places = 30 + (count - 1).bit_length()
    numbers: list[NDArray[Any]] = [
        np.array(-(-(1 << places) // count), np.int32),
        np.array(places, np.int8),
        *(np.array(limit, np.int32) for limit in (-128, -128, 127)),
    ]
    names = ("multiplier", "shift", "zero_point", "minimum", "maximum")
    constants = [
        writer.constant(f"{name}_mean_{what}", number)
        for what, number in zip(names, numbers, strict=True)
    ]
    return writer.op(
        "RescaleSingle",
        [lifted, *constants],
        f"{name}_means",
        shape,
        attributes={"to": int(ir.DataType.INT8)},
        quantization=meaning(part),
    )
