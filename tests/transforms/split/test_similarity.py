"""Orders of channels and references: permutations, planted pairs, and the rule of lanes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.transforms.split.similarity import ORDERS, channel_order, choose_references


def drawn(seed, shape, levels=256):
    generator = np.random.default_rng(seed)
    return generator.integers(0, levels, shape)


@given(st.sampled_from(ORDERS), st.integers(0, 99), st.integers(1, 9), st.booleans())
def test_every_order_is_a_permutation(kind, seed, channels, constant):
    features = (drawn(seed, (3, channels, 4, 2)) - 128).astype(np.int8)
    if constant:
        features[:, seed % channels] = 7
    order = channel_order(features, kind)
    assert sorted(order) == list(range(channels))
    assert order == channel_order(features, kind)


def test_none_is_as_they_are_and_range_goes_down():
    features = np.zeros((2, 4, 1, 3), np.int8)
    features[0, :, 0, 0] = [-3, 127, 10, -10]
    features[1, 1, 0, 2] = -128
    assert channel_order(features, "none") == [0, 1, 2, 3]
    assert channel_order(features, "range") == [1, 2, 3, 0]


def test_planted_pairs_are_neighbors():
    """Eight independent channels, each twice, the copies far away and half as large."""
    generator = np.random.default_rng(0)
    own = generator.normal(0, 40, (16, 8, 6, 6))
    copies = own[:, ::-1] * 0.5 + generator.normal(0, 2, own.shape)
    features = np.clip(np.concatenate([own, copies], axis=1), -128, 127).astype(np.int8)
    order = channel_order(features, "similarity")
    places = {channel: place for place, channel in enumerate(order)}
    pairs = [(channel, 15 - channel) for channel in range(8)]
    assert all(abs(places[a] - places[b]) == 1 for a, b in pairs)
    # The chain begins with the channel that varies most.
    power = features.astype(float).var(axis=(0, 2, 3))
    assert order[0] == int(np.argmax(power))


def test_a_channel_turned_round_is_not_alike():
    generator = np.random.default_rng(1)
    one = generator.normal(0, 30, (8, 1, 5, 5))
    features = np.concatenate([one, -one, one + generator.normal(0, 20, one.shape)], axis=1)
    order = channel_order(np.clip(features, -128, 127).astype(np.int8), "similarity")
    places = {channel: place for place, channel in enumerate(order)}
    assert abs(places[0] - places[2]) == 1


def test_no_such_order_is_refused():
    with pytest.raises(ValueError, match="no order 'colour'"):
        channel_order(np.zeros((1, 1, 1, 1), np.int8), "colour")


@given(st.integers(0, 99), st.integers(1, 12), st.integers(1, 8), st.sampled_from([1, 2, 5, 200]))
def test_references_obey_the_rule_of_lanes(seed, channels, lanes, levels):
    codes = drawn(seed, (2, channels, 3, 4), levels).astype(np.uint8)
    found = choose_references(codes, lanes)
    assert len(found) == channels
    for channel, other in enumerate(found):
        assert -1 <= other < channel // lanes * lanes
    assert found[:lanes] == [-1] * min(lanes, channels)


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_the_channel_that_foretells_is_found(lanes):
    """Channels 4 to 7 are functions of channels 3 to 0."""
    codes = drawn(2, (20, 8, 5, 5), 4).astype(np.uint8)
    for channel in range(4, 8):
        codes[:, channel] = 3 - codes[:, 7 - channel]
    assert choose_references(codes, lanes)[4:] == [3, 2, 1, 0]


def test_nothing_is_learned_from_constants():
    codes = np.zeros((2, 6, 4, 4), np.uint8)
    assert choose_references(codes, 2) == [-1] * 6
