"""Packed codes: the bit stream by hand, round trips, and everything that is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from intaglio.transforms.split.packing import (
    PackingError,
    check_levels,
    pack,
    packed_bytes,
    unpack,
)
from intaglio.transforms.split.specification import CodecSpecification
from tests.transforms.split.random_codecs import Form, build_feature
from tests.transforms.split.strategies import messages


def codec(*levels, columns=1):
    """A codec of one channel a stripe."""
    form = Form((len(levels), columns), levels)
    return CodecSpecification((build_feature(np.random.default_rng(0), form),), "packed").check()


def bits_of(value, count):
    return [value >> place & 1 for place in range(count)]


@given(messages("packed"))
def test_unpacking_undoes_packing(message):
    specification, codes, _ = message
    payload = pack(specification, codes)
    assert len(payload) == packed_bytes(specification) * len(codes)
    assert np.array_equal(unpack(specification, payload, len(codes)), codes)


@given(messages("packed"))
def test_the_bits_are_those_of_the_definition(message):
    specification, codes, _ = message
    expected = bytearray()
    for row in codes.tolist():
        first = 0
        for feature in specification.features:
            rows, columns = feature.code_plane
            for stripe in feature.stripes:
                count = stripe.channels * rows * columns
                width = (stripe.levels - 1).bit_length()
                bits = [b for code in row[first : first + count] for b in bits_of(code, width)]
                first += count
                for start in range(0, len(bits), 8):
                    byte = bits[start : start + 8]
                    expected.append(sum(bit << place for place, bit in enumerate(byte)))
    assert pack(specification, codes) == bytes(expected)


def test_codes_stand_from_the_lowest_bit_on_and_stripes_begin_at_bytes():
    specification = codec(8, 2, columns=3)
    codes = np.array([[1, 2, 7, 1, 0, 1]], np.uint8)
    assert pack(specification, codes) == bytes([0b11_010_001, 0b1, 0b101])


def test_one_level_takes_nothing():
    specification = codec(1, 1)
    assert pack(specification, np.zeros((3, 2), np.uint8)) == b""
    assert packed_bytes(specification) == 0
    assert not unpack(specification, b"", 3).any()
    with pytest.raises(PackingError):
        unpack(specification, b"\0", 3)


@pytest.mark.parametrize("payload", [b"", bytes(2), bytes(4)])
def test_another_length_is_refused(payload):
    with pytest.raises(PackingError, match="bytes are not 1 samples of 3"):
        unpack(codec(8, 2, columns=3), payload, 1)


@pytest.mark.parametrize("bit", range(8))
def test_bits_of_padding_must_be_zero(bit):
    payload = bytes([0, 0, 1 << bit])
    if bit < 3:
        assert unpack(codec(8, 2, columns=3), payload, 1)[0, 3 + bit] == 1
    else:
        with pytest.raises(PackingError, match="padding"):
            unpack(codec(8, 2, columns=3), payload, 1)


def test_a_code_beyond_the_levels_is_refused():
    specification = codec(5)
    for code in range(8):
        if code < 5:
            assert unpack(specification, bytes([code]), 1)[0, 0] == code
        else:
            with pytest.raises(PackingError, match="not below 5"):
                unpack(specification, bytes([code]), 1)


def test_levels_are_checked_stripe_by_stripe():
    specification = codec(3, 200)
    assert check_levels(specification, np.array([[2, 199], [0, 0]], np.uint8))
    assert not check_levels(specification, np.array([[2, 200], [0, 0]], np.uint8))
    assert not check_levels(specification, np.array([[2, 199], [3, 0]], np.uint8))
