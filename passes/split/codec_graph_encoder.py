"""The encoder of one feature as nodes: channels in wire order, shared means, codes.

With static ranges a code is looked up: ``code = encode[q + 128]`` with the table of the channel's
stripe. With dynamic ranges it follows from lowest and highest value of its group
(:mod:`intaglio.passes.dialect.features`). int8 stands for bytes: code 200 is -56.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.split.codec_graph import CodecWriter, sizes_of
from intaglio.passes.split.codec_graph_means import shared_means
from intaglio.passes.split.codec_graph_ranges import encode_groups
from intaglio.transforms.split.specification import Feature


def write_encoder(
    writer: CodecWriter, value: ir.Value, feature: Feature
) -> tuple[ir.Value, ir.Value | None]:
    """Writes the encoder.

    Args:
        writer: Takes the nodes.
        value: The feature, int8.
        feature: How it goes over the wire.

    Returns:
        Its codes, int8 ``[N, codes]``, and with dynamic ranges these, ``[N, side_bytes]``.
    """
    name = feature.name
    wire = writer.gather(value, 1, feature.order, f"{name}_wire")
    if feature.share_channels > 1 or feature.share_patch > 1:
        wire = shared_means(writer, wire, feature)
    if feature.ranges == "static":
        codes = look_up(writer, wire, encode_tables(feature), f"{name}_codes")
        ranges = None
    else:
        codes, ranges = encode_groups(writer, wire, feature)
    return writer.reshape(codes, [feature.codes], f"{name}_flat"), ranges


def encode_tables(feature: Feature) -> NDArray[np.int8]:
    """The table of each code channel, ``[code channels, 256]``, with codes as bytes."""
    rows = [np.asarray(stripe.encode, np.uint8) for stripe in feature.stripes]
    return np.stack([rows[stripe] for stripe in feature.channel_stripes]).view(np.int8)


def look_up(writer: CodecWriter, value: ir.Value, tables: NDArray[np.int8], name: str) -> ir.Value:
    """Looks ``value`` up in the table of each channel; one Table where they are all the same.

    Args:
        writer: Takes the node.
        value: int8 ``[N, C, ...]``.
        tables: int8 ``[C, 256]``.
        name: Name of the result.
    """
    sizes = sizes_of(value)
    if (tables == tables[0]).all():
        table = writer.constant(f"{name}_table", np.ascontiguousarray(tables[0]))
        return writer.op("Table", [value, table], name, sizes)
    table = writer.constant(f"{name}_tables", np.ascontiguousarray(tables))
    return writer.op("TableChannelwise", [value, table], name, sizes)
