"""The filter behind a decoder as nodes (:mod:`intaglio.transforms.split.restoration`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.split.codec_graph import CodecWriter, meaning
from intaglio.transforms.split.restoration import Restoration
from intaglio.transforms.split.specification import Feature


def write_restoration(
    writer: CodecWriter, decoded: ir.Value, feature: Feature, restoration: Restoration
) -> ir.Value:
    """Writes the filter.

    Args:
        writer: Takes the nodes.
        decoded: int8, channels in the order of the tensor.
        feature: Its specification.
        restoration: Its filter.

    Returns:
        int8 ``[N, C, rows, columns]``.
    """
    name, shape = feature.name, [feature.channels, *feature.plane]
    planes = writer.reshape(decoded, shape, f"{name}_unfiltered")
    above, left = (side // 2 for side in restoration.kernel)
    zero_point = writer.constant(f"{name}_zero_point", np.array(feature.zero_point, np.int8))
    sums = _integers(
        writer,
        "ConvInteger",
        [planes, writer.constant(f"{name}_filter", restoration.kernels()), zero_point],
        f"{name}_around",
        shape,
        {
            "dilations": [1, 1],
            "group": restoration.groups,
            "kernel_shape": list(restoration.kernel),
            "pads": [above, left, above, left],
            "strides": [1, 1],
        },
    )
    # 2^shift * (decoded - zero point) + bias, whose constant parts are one number a channel.
    factors = _by_channel(1 << np.array(restoration.shifts, np.int64))
    offsets = _by_channel(np.array(restoration.biases)) - factors * feature.zero_point
    wide = _integers(
        writer, "Cast", [planes], f"{name}_wide", shape, {"to": int(ir.DataType.INT32)}
    )
    scaled = _integers(
        writer, "Mul", [wide, writer.constant(f"{name}_factors", factors)], f"{name}_scaled", shape
    )
    moved = _integers(writer, "Add", [sums, scaled], f"{name}_moved", shape)
    total = _integers(
        writer, "Add", [moved, writer.constant(f"{name}_offsets", offsets)], f"{name}_total", shape
    )
    numbers: dict[str, NDArray[Any]] = {
        "multiplier": np.array(1, np.int32),
        "shift": _by_channel(np.array(restoration.shifts)).astype(np.int8),
        "zero_point": np.array(feature.zero_point, np.int32),
        "minimum": np.array(-128, np.int32),
        "maximum": np.array(127, np.int32),
    }
    constants = [writer.constant(f"{name}_filter_{what}", array) for what, array in numbers.items()]
    return writer.op(
        "RescaleSingle",
        [total, *constants],
        f"{name}_filtered",
        shape,
        attributes={"to": int(ir.DataType.INT8)},
        quantization=meaning(planes),
    )


def _integers(
    writer: CodecWriter,
    op_type: str,
    inputs: list[ir.Value],
    name: str,
    shape: list[int],
    attributes: dict[str, Any] | None = None,
) -> ir.Value:
    """A node that makes an accumulator."""
    return writer.op(
        op_type, inputs, name, shape, attributes=attributes, dtype=ir.DataType.INT32,
        quantization=None,
    )  # fmt: skip


def _by_channel(numbers: NDArray[Any]) -> NDArray[np.int32]:
    return numbers.astype(np.int32)[:, None, None]
