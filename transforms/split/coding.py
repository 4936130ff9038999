"""From features to codes and back: the definition in numpy of what the graphs compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.split.planes import as_planes, average, spread
from intaglio.transforms.split.ranges import decode_dynamic, encode_dynamic, find_ranges
from intaglio.transforms.split.restoration import restore
from intaglio.transforms.split.specification import CodecSpecification, Feature

Features = Mapping[str, NDArray[np.int8]]


def encode_features(
    specification: CodecSpecification, features: Features
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """What the device sends.

    Args:
        specification: The codec.
        features: int8 tensors by name, samples first.

    Returns:
        Codes in wire order [N, codes] and dynamic ranges [N, side_bytes].
    """
    codes, ranges = [], []
    for feature in specification.features:
        planes = _planes(feature, features[feature.name])
        if feature.ranges == "dynamic":
            ends = find_ranges(planes, feature)
            coded = encode_dynamic(planes, ends, feature)
            ranges.append(ends)
        else:
            tables = np.array([s.encode for s in feature.stripes], np.uint8)
            channel = np.array(feature.channel_stripes)[:, None, None]
            coded = tables[channel, planes.astype(np.int16) + 128]
        codes.append(coded.reshape(len(planes), -1))
    count = len(codes[0])
    side = np.concatenate(ranges, axis=1) if ranges else np.empty((count, 0), np.int8)
    return np.concatenate(codes, axis=1), side


def decode_features(
    specification: CodecSpecification, codes: NDArray[np.uint8], ranges: NDArray[np.int8]
) -> dict[str, NDArray[np.int8]]:
    """What the server makes of it.

    Args:
        specification: The codec.
        codes: [N, codes] in wire order.
        ranges: [N, side_bytes].

    Returns:
        int8 tensors by name, in their own order and shape.
    """
    made = {}
    side = 0
    for feature, planes in feature_codes(specification, codes):
        shape = (len(codes), feature.channels, *feature.plane)
        share = (feature.share_channels, feature.share_patch)
        if feature.ranges == "dynamic":
            ends = ranges[:, side : side + feature.side_bytes]
            wire = spread(decode_dynamic(planes, ends, feature), *share, shape)
        else:
            wide = spread(planes, *share, shape)
            wire = _decode_tables(feature)[np.arange(feature.channels)[:, None, None], wide]
        side += feature.side_bytes
        ordered = np.ascontiguousarray(wire[:, np.argsort(feature.order)])
        if feature.restoration is not None:
            ordered = restore(ordered, feature.restoration, feature.zero_point)
        made[feature.name] = ordered.reshape(len(codes), *feature.shape)
    return made


def feature_codes(
    specification: CodecSpecification, codes: NDArray[np.uint8]
) -> Iterator[tuple[Feature, NDArray[np.uint8]]]:
    """The codes of each feature as planes.

    Args:
        specification: The codec.
        codes: [N, codes] in wire order.

    Yields:
        The feature and its codes [N, code channels, rows, columns].
    """
    first = 0
    for feature in specification.features:
        part = codes[:, first : first + feature.codes]
        yield feature, part.reshape(len(codes), feature.code_channels, *feature.code_plane)
        first += feature.codes


def _planes(feature: Feature, values: NDArray[np.int8]) -> NDArray[np.int8]:
    """What is coded: wire order, and means where places share a code."""
    wire = as_planes(values)[:, list(feature.order)]
    return average(wire, feature.share_channels, feature.share_patch)


def _decode_tables(feature: Feature) -> NDArray[np.int8]:
    """The value of each code for each wire channel; beyond its levels a channel repeats the last.

    A frame's codes are checked against the levels, so that nothing beyond them is ever asked for.
    """
    levels = max(len(row) for row in feature.decode)
    rows = [[*row, *[row[-1]] * (levels - len(row))] for row in feature.decode]
    return np.array(rows, np.int8)
