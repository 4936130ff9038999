"""Layers of table networks, each alone, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.transforms.additive_tables import Index, additive_lookup
from intaglio.transforms.table_networks.arithmetic import half_up, interleave, mean_half_even
from tests.passes.dialect.one_node import run


def integers(seed, dtype, *shape):
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype, True)


@pytest.mark.parametrize("shift", [0, 1, 2, 13, 14, 24])
def test_features_round_ties_up(shift):
    unit = 1 << shift
    # Ties of either sign, their neighbors, and what saturates.
    values = [k * unit // 2 + d for k in range(-300, 300) for d in (-1, 0, 1)]
    sums = np.clip(values, 1 - 2**29, 2**29 - 1).astype(np.int32)
    planes = np.stack([sums, -sums, sums]).reshape(1, 3, 30, -1)
    got = run("CellFeatures", {"sums": planes}, np.int8, channels=2, shift=shift)
    want = np.clip(half_up(planes.astype(np.int64), shift), -128, 127)
    np.testing.assert_array_equal(got, want[:, :2])


@pytest.mark.parametrize("shift", [0, 3, 14])
def test_residuals(shift):
    features = integers(1, np.int8, 2, 3, 4, 5)
    change = np.random.default_rng(2).integers(-8192, 8193, (2, 3, 4, 5)).astype(np.int32)
    got = run("CellResidual", {"features": features, "change": change}, np.int8, shift=shift)
    want = np.clip(features + half_up(change.astype(np.int64), shift), -128, 127)
    np.testing.assert_array_equal(got, want)


def test_rows_of_the_largest_sums():
    features = np.full((1, 2, 3, 3), -128, np.int8)
    taps = np.zeros((2, 1, 3, 3), np.int8)
    taps[0, 0, 1, 1:] = 127, 127
    taps[1, 0, 1, 1] = -128
    got = run("CellRows", {"features": features, "taps": taps}, np.int8, group=2, shift=11)
    assert got[0, 0].tolist() == [[-8, -8, -8]] * 3
    assert got[0, 1].tolist() == [[7, 7, 7]] * 3
    got = run("CellRows", {"features": features, "taps": taps}, np.int8, group=2, shift=14)
    # -32512 and, at the right edge, -16256; 16384.
    assert got[0, 0].tolist() == [[-2, -2, -1]] * 3
    assert got[0, 1].tolist() == [[1, 1, 1]] * 3


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (7, 5)])
@pytest.mark.parametrize("reach", [1, 2, 3])
def test_reflection_is_that_of_numpy(size, reach):
    x = integers(3, np.int8, 2, 2, *size)
    got = run("ReflectBefore", {"x": x}, np.int8, reach=reach)
    border = ((0, 0), (0, 0), (reach, 0), (reach, 0))
    np.testing.assert_array_equal(got, np.pad(x, border, mode="reflect"))


@pytest.mark.parametrize("count", [1, 8, 9, 16, 64])
def test_means_of_all_sums(count):
    acc = np.arange(-128 * count, 127 * count + 1, dtype=np.int32).reshape(1, 1, 1, -1)
    zero = np.zeros((1, 3, 1, acc.shape[-1]), np.int8)
    got = run("BranchMean", {"acc": acc, "features": zero}, np.int8, count=count)
    np.testing.assert_array_equal(got, mean_half_even(acc.astype(np.int64), count))


def test_means_are_added_to_features_and_clamped():
    acc = np.random.default_rng(4).integers(-900, 900, (2, 3, 4, 5)).astype(np.int32)
    for channels in (1, 3, 4):
        own = integers(channels, np.int8, 2, channels, 4, 5)
        got = run("BranchMean", {"acc": acc, "features": own}, np.int8, count=9, low=-32, high=31)
        want = np.clip(mean_half_even(acc.astype(np.int64), 9) + own[:, :3], -32, 31)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("shift", "low", "mask"), [(2, -32, 63), (0, 0, 3), (4, -8, 15), (1, 0, 3)]
)
def test_indices_of_all_pixels(shift, low, mask):
    image = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    got = run("BranchIndex", {"image": image}, np.int8, shift=shift, mask=mask, low=low)
    bits = (image.astype(np.int64) - 128) >> shift
    np.testing.assert_array_equal(got, ((bits - low) & mask) + low)


def test_scales_look_up_in_their_channel():
    features = np.random.default_rng(5).integers(-32, 32, (2, 3, 4, 5)).astype(np.int8)
    scale = integers(6, np.int8, 3, 64)
    got = run("BranchScale", {"features": features, "scale": scale}, np.int8, low=-32)
    want = scale[np.arange(3)[:, None, None], features.astype(int) + 32]
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (6, 4)])
@pytest.mark.parametrize(("low", "rows"), [(-32, 64), (0, 4)])
def test_depthwise_sums_are_those_of_a_group_for_each_channel(size, low, rows):
    random = np.random.default_rng(7)
    features = random.integers(low, low + rows, (2, 3, *size)).astype(np.int8)
    tables = integers(8, np.int8, 3, 9, rows)
    got = run("BranchDepthwise", {"features": features, "tables": tables}, np.int32, low=low)
    want = additive_lookup(
        features,
        tables.transpose(1, 2, 0),
        Index(low=low),
        kernel=(3, 3),
        pads=(2, 2, 0, 0),
        group=3,
    )
    np.testing.assert_array_equal(got, want)


def test_branches_are_added_and_clamped():
    a, b = integers(9, np.int8, 1, 4, 5, 6), integers(10, np.int8, 1, 4, 5, 6)
    got = run("BranchSum", {"a": a, "b": b}, np.int8)
    np.testing.assert_array_equal(got, np.clip(a.astype(int) + b, -128, 127))


@pytest.mark.parametrize(
    ("perm", "steps", "turns"), [((0, 1, 2, 3), (1, 1), 0), ((0, 1, 3, 2), (-1, 1), 1)]
)
def test_pairs_of_turns(perm, steps, turns):
    image = integers(11, np.uint8, 2, 1, 3, 5)
    got = run("TurnPair", {"image": image}, np.uint8, perm=list(perm), steps=list(steps))
    for number, plane in enumerate(image[:, 0]):
        np.testing.assert_array_equal(got[number, 0], np.rot90(plane, turns))
        np.testing.assert_array_equal(got[2 + number, 0], np.rot90(plane, turns + 2))


def test_turned_sums():
    upright, sideways = integers(12, np.int8, 2, 4, 3, 5), integers(13, np.int8, 2, 4, 5, 3)
    got = run(
        "TurnedSum",
        {"image": np.zeros((1, 1, 3, 5), np.uint8), "upright": upright, "sideways": sideways},
        np.uint8,
        upscale=2,
    )
    want = np.full((6, 10), 128)
    for turns, cells in enumerate((upright[0], sideways[0], upright[1], sideways[1])):
        plane = interleave(cells.transpose(1, 2, 0).astype(np.int64), 2)
        want = want + np.rot90(plane, -turns)
    np.testing.assert_array_equal(got[0, 0], np.clip(want, 0, 255))
