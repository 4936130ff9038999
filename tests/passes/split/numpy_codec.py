"""The codec in plain numpy, place by place: what the graphs are judged by; and random codecs."""

from __future__ import annotations

import numpy as np

from intaglio.transforms.split.specification import CodecSpecification, Feature, Stripe
from tests.transforms.split.random_codecs import draw_restoration
from tests.transforms.split.test_restoration import filter_slowly


def random_feature(
    random, name, shape, *, stripes=3, dynamic=False, tile=0, channels=1, patch=1, order=True,
    alike=False, filtered=False,
):  # fmt: skip
    """A feature with monotone random tables.

    Args:
        random: Generator.
        name: Name of the value.
        shape: Its shape without the samples.
        stripes: How many stripes, at most.
        dynamic: Whether ranges are.
        tile: Side of a tile.
        channels: Wire channels that share a code.
        patch: Side of the patches that do.
        order: Whether channels change their order.
        alike: Whether one stripe holds them all.
        filtered: Whether the server filters the feature.
    """
    count = shape[0] // channels
    stripes = 1 if alike else min(stripes, count)
    edges = np.sort(random.choice(np.arange(1, count), stripes - 1, replace=False))
    made, decode = [], []
    for size in np.diff([0, *edges, count]):
        levels = int(random.choice([1, 2, 5, 16, 200, 256]))
        encode = () if dynamic else tuple(np.sort(random.integers(0, levels, 256)).tolist())
        made.append(Stripe(int(size), levels, encode))
        for _ in range(0 if dynamic else size * channels):
            decode.append(tuple(np.sort(random.integers(-128, 128, levels)).tolist()))
    return Feature(
        name, name, tuple(shape), 0.1, 3,
        tuple((random.permutation(shape[0]) if order else np.arange(shape[0])).tolist()),
        tuple(made), tuple(decode), "dynamic" if dynamic else "static", tile, channels, patch,
        restoration=draw_restoration(random, shape[0]) if filtered else None,
    )  # fmt: skip


def encode_features(specification: CodecSpecification, features):
    """Codes uint8 and ranges int8 of named features."""
    found = [_encode(f, features[f.name]) for f in specification.features]
    return tuple(np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))


def decode_features(specification: CodecSpecification, codes, ranges):
    """The decoded features by name."""
    found, code, side = {}, 0, 0
    for f in specification.features:
        part = codes[:, code : code + f.codes], ranges[:, side : side + f.side_bytes]
        found[f.name] = _decode(f, *part)
        code, side = code + f.codes, side + f.side_bytes
    return found


def _means(f, q):
    q = q.reshape(len(q), f.channels, *f.plane)[:, list(f.order)].astype(np.int64)
    (rows, columns), m, p = f.code_plane, f.share_channels, f.share_patch
    means = np.zeros((len(q), f.code_channels, rows, columns), np.int64)
    for c, i, j in np.ndindex(means.shape[1:]):
        group = q[:, c * m : (c + 1) * m, i * p : (i + 1) * p, j * p : (j + 1) * p]
        count = group[0].size
        means[:, c, i, j] = (2 * group.sum(axis=(1, 2, 3)) + count) // (2 * count)
    return means


def _groups(f):
    """Places of each group, in the order of the ranges, with the stripe's levels."""
    side, first = f.tile or max(f.code_plane), 0
    for stripe in f.stripes:
        channels = slice(first, first + stripe.channels)
        first += stripe.channels
        for i, j in np.ndindex(*f.tiles):
            rows = slice(i * side, (i + 1) * side)
            yield (slice(None), channels, rows, slice(j * side, (j + 1) * side)), stripe.levels


def _encode(f, q):
    means, ranges = _means(f, q), []
    codes = np.zeros_like(means)
    if f.ranges == "static":
        for channel, stripe in enumerate(f.channel_stripes):
            table = np.asarray(f.stripes[stripe].encode)
            codes[:, channel] = table[means[:, channel] + 128]
    else:
        for places, levels in _groups(f):
            for sample in range(len(q)):
                group = means[places][sample]
                low, high = int(group.min()), int(group.max())
                ranges += [low, high]
                factor = -(-((levels - 1) << 18) // (high - low)) if high > low else 0
                codes[places][sample] = ((group - low) * factor + (1 << 17)) >> 18
    sides = np.asarray(ranges, np.int8).reshape(-1, len(q), 2).transpose(1, 0, 2)
    return codes.reshape(len(q), -1).astype(np.uint8), sides.reshape(len(q), -1)


def _decode(f, codes, ranges):
    values = codes.reshape(len(codes), f.code_channels, *f.code_plane).astype(np.int64)
    if f.ranges == "dynamic":
        for group, (places, levels) in enumerate(_groups(f)):
            low, high = ranges[:, 2 * group : 2 * group + 2].T.astype(np.int64)[
                ..., None, None, None
            ]
            steps = levels - 1
            rise = (2 * values[places] * (high - low) + steps) // (2 * steps) if steps else 0
            values[places] = low + rise
    patch, (rows, columns) = f.share_patch, f.plane
    wire = values.repeat(f.share_channels, 1).repeat(patch, 2).repeat(patch, 3)
    wire = wire[:, :, :rows, :columns]
    if f.ranges == "static":
        wire = np.stack([np.asarray(t)[wire[:, c]] for c, t in enumerate(f.decode)], axis=1)
    result = np.zeros(wire.shape, np.int8)
    result[:, list(f.order)] = wire
    if f.restoration is not None:
        result = filter_slowly(result, f.restoration, f.zero_point)
    return result.reshape(len(codes), *f.shape)
