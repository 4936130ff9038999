"""The decoder of one feature as nodes: codes repeated, channels in tensor order, values.

With static ranges a wire channel's value is looked up: ``decode[code]`` with its own small table.
With dynamic ranges it follows from lowest and highest value of its group. A filter may follow.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.annotations import set_quantization
from intaglio.passes.split.codec_graph import CodecWriter
from intaglio.passes.split.codec_graph_encoder import look_up
from intaglio.passes.split.codec_graph_ranges import decode_groups
from intaglio.passes.split.codec_graph_restoration import write_restoration
from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.split.specification import Feature


def write_decoder(
    writer: CodecWriter,
    codes: ir.Value,
    ranges: ir.Value | None,
    feature: Feature,
    quantization: TensorQuantization | None,
) -> ir.Value:
    """Writes the decoder.

    Args:
        writer: Takes the nodes.
        codes: The feature's codes, int8 ``[N, codes]``.
        ranges: Its dynamic ranges, int8 ``[N, side_bytes]``, or None.
        feature: Its specification.
        quantization: What the integers of the feature mean.

    Returns:
        The decoded feature, in the shape of the feature.
    """
    name = feature.name
    shared = feature.share_channels > 1 or feature.share_patch > 1
    in_planes = shared or ranges is not None
    plane = feature.code_plane if in_planes else feature.shape[1:]
    decoded = writer.reshape(codes, [feature.code_channels, *plane], f"{name}_received")
    if ranges is not None:
        decoded = decode_groups(writer, decoded, ranges, feature)
    if feature.share_patch > 1:
        for axis, size in zip((2, 3), feature.plane, strict=True):
            places = (np.arange(size) // feature.share_patch).tolist()
            decoded = writer.gather(decoded, axis, places, f"{name}_axis{axis}")
    wire = wire_places(feature)
    places = [place // feature.share_channels for place in wire]
    decoded = writer.gather(decoded, 1, places, f"{name}_placed")
    if ranges is None:
        decoded = look_up(writer, decoded, decode_tables(feature)[wire], f"{name}_values")
    if feature.restoration is not None:
        decoded = write_restoration(writer, decoded, feature, feature.restoration)
    decoded = writer.reshape(decoded, feature.shape, f"{name}_shaped")
    if quantization is not None:
        set_quantization(decoded, quantization)
    return writer.rename(decoded, f"{name}_decoded")


def wire_places(feature: Feature) -> list[int]:
    """The wire channel of each channel of the tensor."""
    return [int(place) for place in np.argsort(np.asarray(feature.order))]


def decode_tables(feature: Feature) -> NDArray[np.int8]:
    """The value of each code byte for each wire channel, ``[C, 256]`` by the byte as int8.

    Bytes that are no codes of the stripe stand for its last one.
    """
    tables = np.empty((feature.channels, 256), np.int8)
    for row, values in zip(tables, feature.decode, strict=True):
        codes = np.minimum(np.arange(256), len(values) - 1)
        row[:] = np.roll(np.asarray(values, np.int8)[codes], 128)
    return tables
