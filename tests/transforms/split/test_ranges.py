"""Dynamic ranges: every level, range and distance against division, and groups by loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.transforms.split.coding import encode_features
from intaglio.transforms.split.quantizers import multiplier, uniform
from intaglio.transforms.split.ranges import decode_dynamic, encode_dynamic, find_ranges
from intaglio.transforms.split.specification import CodecSpecification
from tests.transforms.split.random_codecs import Form, build_feature
from tests.transforms.split.strategies import codecs, features_for

SPANS = np.arange(256)[:, None]
DISTANCES = np.arange(256)[None, :]
INSIDE = DISTANCES <= SPANS


def feature_of(levels, rows=1, columns=1, **options):
    form = Form((1, rows, columns), (levels,), ranges="dynamic", **options)
    return build_feature(np.random.default_rng(0), form)


@pytest.mark.parametrize("part", range(8))
def test_the_product_is_the_division_for_all_levels_ranges_and_distances(part):
    """``floor(d n / r + 1/2)`` in whole numbers: ``(2 d n + r) // (2 r)``."""
    spans = np.maximum(SPANS, 1)
    for levels in range(1 + 32 * part, 33 + 32 * part):
        factors = np.array([multiplier(levels, span) for span in range(256)], np.int64)
        code = (DISTANCES * factors[:, None] + (1 << 17)) >> 18
        expected = (2 * DISTANCES * (levels - 1) + spans) // (2 * spans)
        expected[0] = 0
        assert np.array_equal(code[INSIDE], expected[INSIDE])
        assert int(code[INSIDE].max()) <= levels - 1


def test_python_integers_say_the_same_of_the_multiplier():
    for levels, span in itertools.product((1, 2, 3, 5, 16, 100, 255, 256), range(1, 256)):
        exact = (levels - 1) * 2**18
        found = multiplier(levels, span)
        assert (found - 1) * span < exact <= found * span or exact == found == 0
    assert multiplier(256, 0) == 0


def test_products_with_their_half_stay_below_2_to_the_26():
    """The largest of all, for any levels up to 256: 32 bits hold it with 6 to spare."""
    largest = max(
        span * multiplier(levels, span) for levels in range(1, 257) for span in range(256)
    )
    assert largest + 2**17 == 66978030
    assert 2**25 < largest + 2**17 < 2**26


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 7, 16, 100, 255, 256])
def test_codes_are_within_half_a_step_and_the_ends_are_exact(levels):
    feature = feature_of(levels, 1, 256)
    for low, high in [(-128, 127), (0, 0), (-5, 9), (-128, -127), (100, 127), (-128, 0), (3, 103)]:
        values = np.resize(np.arange(low, high + 1), 256).astype(np.int8).reshape(1, 1, 1, 256)
        ranges = find_ranges(values, feature)
        assert ranges.tolist() == [[low, high]]
        codes = encode_dynamic(values, ranges, feature)
        found = decode_dynamic(codes, ranges, feature)
        assert int(codes.max()) <= levels - 1
        if levels == 1:
            assert (found == low).all()
            continue
        error = np.abs(found.astype(int) - values)
        # Half a step, and half of an integer for the value that the code stands for.
        assert 2 * (levels - 1) * int(error.max()) <= (high - low) + (levels - 1)
        assert (found[values == low] == low).all()
        assert (found[values == high] == high).all()
        if high - low < levels:
            assert np.array_equal(found, values)


@given(st.integers(2, 256), st.integers(-128, 127), st.integers(-128, 127))
def test_coding_a_decoded_value_gives_the_same_value(levels, one, other):
    low, high = min(one, other), max(one, other)
    feature = feature_of(levels, 1, levels)
    ranges = np.array([[low, high]], np.int8)
    codes = np.arange(levels, dtype=np.uint8).reshape(1, 1, 1, levels)
    values = decode_dynamic(codes, ranges, feature)
    assert (np.diff(values.astype(int).reshape(-1)) >= 0).all()
    again = encode_dynamic(values, ranges, feature)
    assert np.array_equal(decode_dynamic(again, ranges, feature), values)
    if high - low >= levels - 1:
        assert np.array_equal(again, codes)


@given(st.integers(1, 256), st.integers(-128, 127), st.integers(-128, 127))
def test_values_beyond_a_range_are_clipped(levels, one, other):
    low, high = min(one, other), max(one, other)
    feature = feature_of(levels, 1, 256)
    ranges = np.array([[low, high]], np.int8)
    values = np.arange(-128, 128).astype(np.int8).reshape(1, 1, 1, 256)
    codes = encode_dynamic(values, ranges, feature)
    clipped = encode_dynamic(np.clip(values, low, high), ranges, feature)
    assert np.array_equal(codes, clipped)


@given(st.integers(1, 256), st.integers(-128, 127), st.integers(-128, 127))
def test_a_static_uniform_quantizer_is_the_same_integers(levels, one, other):
    low, high = min(one, other), max(one, other)
    feature = feature_of(levels, 1, 256)
    ranges = np.array([[low, high]], np.int8)
    values = np.arange(-128, 128).astype(np.int8).reshape(1, 1, 1, 256)
    table = uniform(low, high, levels)
    codes = encode_dynamic(values, ranges, feature)
    assert np.array_equal(codes.reshape(-1), table.encode)
    every = np.resize(np.arange(levels), 256).astype(np.uint8).reshape(values.shape)
    expected = table.decode[every.reshape(-1)]
    assert np.array_equal(decode_dynamic(every, ranges, feature).reshape(-1), expected)


def loops(planes, feature):
    """Ranges and codes by loops over groups and Python's division."""
    ranges, codes = [], np.empty(planes.shape, np.uint8)
    for sample in range(len(planes)):
        ends, first = [], 0
        rows, columns = feature.code_plane
        side = feature.tile or max(rows, columns)
        for stripe in feature.stripes:
            channels = range(first, first + stripe.channels)
            first += stripe.channels
            for y0, x0 in itertools.product(range(0, rows, side), range(0, columns, side)):
                places = [
                    (sample, c, y, x)
                    for c in channels
                    for y in range(y0, min(y0 + side, rows))
                    for x in range(x0, min(x0 + side, columns))
                ]
                values = [int(planes[place]) for place in places]
                low, span = min(values), max(values) - min(values)
                ends += [low, low + span]
                for place, value in zip(places, values, strict=True):
                    scaled = 2 * (value - low) * (stripe.levels - 1) + span
                    codes[place] = scaled // (2 * span) if span else 0
        ranges.append(ends)
    return np.array(ranges, np.int8), codes


@given(codecs("raw", "dynamic"), st.data())
def test_groups_are_stripes_and_tiles_in_order(specification, data):
    tensors = data.draw(features_for(specification, 2))
    for feature in specification.features:
        one = CodecSpecification((feature,), "raw")
        codes, ranges = encode_features(one, tensors)
        wire = tensors[feature.name][:, list(feature.order)]
        if feature.share_channels == feature.share_patch == 1:
            planes = wire.reshape(len(wire), feature.code_channels, *feature.code_plane)
            expected_ranges, expected = loops(planes, feature)
            assert np.array_equal(ranges, expected_ranges)
            assert np.array_equal(codes, expected.reshape(len(codes), -1))
        assert ranges.shape[1] == feature.side_bytes
        assert (ranges[:, 1::2] >= ranges[:, ::2]).all()
