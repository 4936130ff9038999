"""Codes and values of groups with dynamic ranges as nodes: a stripe after the other."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from intaglio.passes.split.codec_graph import CodecWriter, meaning
from intaglio.transforms.split.specification import Feature, Stripe


def encode_groups(
    writer: CodecWriter, wire: ir.Value, feature: Feature
) -> tuple[ir.Value, ir.Value]:
    """Lowest and highest of each group, and the codes between them.

    Args:
        writer: Takes the nodes.
        wire: int8, the integers to be coded, in wire order.
        feature: Their specification.

    Returns:
        Codes int8 ``[N, code channels, rows, columns]`` and ranges int8 ``[N, side_bytes]``.
    """
    planes = writer.reshape(
        wire, [feature.code_channels, *feature.code_plane], f"{feature.name}_planes"
    )
    codes, ranges, first = [], [], 0
    for index, stripe in enumerate(feature.stripes):
        name = f"{feature.name}_stripe{index}"
        run = writer.cut(planes, 1, first, stripe.channels, name)
        first += stripe.channels
        found = writer.op(
            "FeatureRanges",
            [run],
            f"{name}_ranges",
            [feature.side_bytes // len(feature.stripes)],
            attributes=_tiles(feature),
        )
        ranges.append(found)
        codes.append(_group(writer, "FeatureEncode", run, found, stripe, feature, f"{name}_codes"))
    return (
        writer.concat(codes, f"{feature.name}_codes"),
        writer.concat(ranges, f"{feature.name}_ranges"),
    )


def decode_groups(
    writer: CodecWriter, codes: ir.Value, ranges: ir.Value, feature: Feature
) -> ir.Value:
    """The values of codes ``[N, code channels, rows, columns]``, in wire order."""
    values, first = [], 0
    each = feature.side_bytes // len(feature.stripes)
    for index, stripe in enumerate(feature.stripes):
        name = f"{feature.name}_received{index}"
        run = writer.cut(codes, 1, first, stripe.channels, name)
        first += stripe.channels
        known = writer.cut(ranges, 1, index * each, each, f"{name}_ranges")
        values.append(
            _group(writer, "FeatureDecode", run, known, stripe, feature, f"{name}_values")
        )
    return writer.concat(values, f"{feature.name}_values")


def _group(
    writer: CodecWriter,
    function: str,
    run: ir.Value,
    ranges: ir.Value,
    stripe: Stripe,
    feature: Feature,
    name: str,
) -> ir.Value:
    return writer.op(
        function,
        [run, ranges],
        name,
        [stripe.channels, *feature.code_plane],
        attributes={"levels": stripe.levels, **_tiles(feature)},
        quantization=meaning(ranges),
    )


def _tiles(feature: Feature) -> dict[str, Any]:
    """Rows and columns that have a range of their own."""
    plane = feature.code_plane
    return {"tile": [feature.tile, feature.tile] if feature.tile else list(plane)}
