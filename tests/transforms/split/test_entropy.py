"""Frequencies against brute force, contexts by loops, and the bits that they promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.transforms.split.coding import feature_codes
from intaglio.transforms.split.entropy import (
    context_of,
    count_contexts,
    ideal_bits,
    quantize_frequencies,
)
from tests.transforms.split.random_codecs import Form, build_feature
from tests.transforms.split.strategies import messages


def bits(counts, frequencies):
    return -float((counts * np.log2(np.asarray(frequencies) / sum(frequencies))).sum())


counts = st.lists(st.one_of(st.just(0.0), st.floats(0, 1e9), st.integers(0, 9).map(float)),
                  min_size=1, max_size=256)  # fmt: skip


@given(counts)
def test_they_sum_to_the_total_and_are_at_least_one(values):
    found = quantize_frequencies(np.array(values))
    assert found.dtype == np.uint16
    assert int(found.sum()) == 4096
    assert found.min() >= 1
    assert np.array_equal(found, quantize_frequencies(np.array(values)))


@given(counts)
def test_what_occurs_more_often_has_no_smaller_frequency(values):
    """But for one, where two are alike."""
    array = np.array(values)
    found = quantize_frequencies(array).astype(int)
    order = np.argsort(array, kind="stable")
    assert (np.diff(found[order]) >= -1).all()


def compositions(total, parts):
    """All ways to write the total as so many positive numbers."""
    for bars in itertools.combinations(range(1, total), parts - 1):
        yield np.diff([0, *bars, total])


@given(st.lists(st.integers(0, 40), min_size=2, max_size=4), st.integers(4, 14))
def test_no_frequencies_are_much_better_by_brute_force(values, total):
    array = np.array(values, float)
    found = quantize_frequencies(array, total)
    assert int(found.sum()) == total
    assert found.min() >= 1
    if array.sum():
        best = min(bits(array, f) for f in compositions(total, len(values)))
        assert bits(array, found) <= best * 1.02 + 1e-9


@given(counts.filter(lambda values: sum(values) > 0))
def test_no_move_of_one_saves_anything_much(values):
    array = np.array(values)
    found = quantize_frequencies(array).astype(float)
    gain = np.where(array > 0, array * np.log2((found + 1) / found), 0)
    smaller = np.maximum(found - 1, 1)
    loss = np.where(found > 1, array * np.log2(found / smaller), np.inf)
    assert gain.max() <= loss.min() + array.sum() * 2e-3


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0], [4096]),
        ([0.0], [4096]),
        ([1.0, 1.0], [2048, 2048]),
        ([5.0, 0.0], [4095, 1]),
        ([0.0, 0.0, 0.0, 0.0], [1024] * 4),
        ([1.0] + [0.0] * 255, [3841] + [1] * 255),
        ([1.0] * 256, [16] * 256),
        ([3.0, 1.0], [3072, 1024]),
    ],
)
def test_corners(values, expected):
    assert quantize_frequencies(np.array(values)).tolist() == expected


@pytest.mark.parametrize(("levels", "total"), [(0, 4096), (5, 4), (257, 256)])
def test_more_codes_than_the_total_are_refused(levels, total):
    with pytest.raises(ValueError, match=f"{levels} codes and a total of {total}"):
        quantize_frequencies(np.ones(levels), total)


def context_by_loops(codes, feature, place):
    sample, channel, y, x = place
    a, b, r = feature.caps
    left = min(int(codes[sample, channel, y, x - 1]), a) if x else 0
    upper = min(int(codes[sample, channel, y - 1, x]), b) if y else 0
    other = feature.references[channel]
    near = min(int(codes[sample, other, y, x]), r) if other >= 0 else 0
    return (left * (b + 1) + upper) * (r + 1) + near


@given(messages("rans", largest=2))
def test_contexts_are_those_of_the_definition(message):
    specification, codes, _ = message
    for feature, planes in feature_codes(specification, codes):
        found = context_of(planes, feature)
        assert found.max() < feature.contexts
        for place in np.ndindex(planes.shape):
            assert found[place] == context_by_loops(planes, feature, place)


@given(messages("rans", largest=2))
def test_counts_and_bits_are_those_of_a_loop(message):
    specification, codes, _ = message
    for feature, planes in feature_codes(specification, codes):
        contexts = context_of(planes, feature)
        expected = [np.zeros((feature.contexts, stripe.levels)) for stripe in feature.stripes]
        taken = 0.0
        for place in np.ndindex(planes.shape):
            stripe = feature.channel_stripes[place[1]]
            expected[stripe][contexts[place], planes[place]] += 1
            row = feature.stripes[stripe].frequencies[contexts[place]]
            taken -= np.log2(row[planes[place]] / 4096)
        found = count_contexts(planes, feature)
        assert all(np.array_equal(f, e) for f, e in zip(found, expected, strict=True))
        assert ideal_bits(planes, feature) == pytest.approx(taken)


def test_codes_above_the_caps_are_one_context():
    feature = build_feature(np.random.default_rng(0), Form((1, 1, 3), (9,), caps=(2, 0, 0)))
    codes = np.array([[[[2, 8, 0]]]], np.uint8)
    assert context_of(codes, feature).tolist() == [[[[0, 2, 2]]]]
