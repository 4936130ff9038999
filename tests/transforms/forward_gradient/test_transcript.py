"""Transcripts: there and back, cut anywhere, damaged anywhere."""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.transforms.forward_gradient.transcript import (
    HALVINGS_OFFSET,
    HEADER_BYTES,
    Transcript,
    decode,
    encode,
    pack_signs,
    specification_digest,
)
from tests.transforms.forward_gradient.small_step import small_specification


def made(signs, probes=1, halvings=(), seed=7):
    stacked = np.array(signs, np.int8).reshape(-1, probes)
    return Transcript("ab" * 32, "cd" * 32, seed, probes, tuple(halvings), stacked)


def same(a, b):
    plain = [dataclasses.asdict(t) for t in (a, b)]
    arrays = [data.pop("signs") for data in plain]
    return plain[0] == plain[1] and np.array_equal(*arrays) and arrays[0].shape == arrays[1].shape


@st.composite
def transcripts(draw):
    probes = draw(st.integers(1, 9))
    count = draw(st.integers(0, 30))
    signs = draw(st.lists(st.sampled_from([-1, 0, 1]), min_size=count * probes,
                          max_size=count * probes))  # fmt: skip
    halvings = sorted(draw(st.sets(st.integers(0, 1 << 31), max_size=31)))
    seed = draw(st.integers(0, (1 << 32) - 1))
    digests = [draw(st.binary(min_size=32, max_size=32)).hex() for _ in range(2)]
    stacked = np.array(signs, np.int8).reshape(count, probes)
    end = draw(st.one_of(st.just(""), st.just("7e" * 32)))
    return Transcript(*digests, seed, probes, tuple(halvings), stacked, end)


@given(transcripts())
def test_there_and_back(transcript):
    assert same(decode(encode(transcript)), transcript)


def test_the_bytes_are_those_of_the_description():
    data = encode(made([1, -1, 0, 1, -1], halvings=(300,), seed=0x01020304))
    assert data[:12] == b"IFGT\x01\x00\x01\x00\x04\x03\x02\x01"
    assert data[12:76] == b"\xab" * 32 + b"\xcd" * 32
    assert data[76:80] == struct.pack("<I", 300)
    assert data[80:200] == b"\xff" * 120
    # 1, 2, 3, 1 from the lowest bits on, then 2.
    assert data[200:232] == bytes(32)
    assert data[232:] == bytes([0b01_11_10_01, 0b00_00_00_10])


@given(transcripts(), st.data())
def test_a_cut_loses_only_the_steps_that_are_cut(transcript, data):
    whole = encode(transcript)
    length = data.draw(st.integers(HEADER_BYTES, len(whole)))
    steps = min(4 * (length - HEADER_BYTES) // transcript.probes, transcript.steps)
    found = decode(whole[:length])
    assert found.steps == steps
    assert np.array_equal(found.signs, transcript.signs[:steps])


@given(st.integers(1, 40), st.integers(1, 5), st.data())
def test_a_step_that_is_not_whole_is_dropped(steps, probes, data):
    transcript = made(np.ones(steps * probes), probes)
    kept = data.draw(st.integers(0, steps * probes - 1))
    torn = pack_signs(np.array([[1]] * kept, np.int8).reshape(kept, 1))
    found = decode(encode(transcript)[:HEADER_BYTES] + torn)
    assert found.steps == kept // probes


@given(transcripts())
def test_the_first_steps_are_a_transcript(transcript):
    for steps in (0, transcript.steps // 2, transcript.steps):
        first = transcript.first(steps)
        assert first.steps == steps
        assert same(decode(encode(first)), first)
        for step in range(steps):
            assert first.step_shift(step) == transcript.step_shift(step)


def test_halvings_count_from_their_step_on():
    transcript = made([1] * 10, halvings=(0, 3, 3, 7))
    assert [transcript.step_shift(step) for step in range(9)] == [1, 1, 1, 3, 3, 3, 3, 4, 4]


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_noise_is_a_value_error(data):
    with pytest.raises(ValueError):
        decode(data)


@settings(max_examples=500)
@given(transcripts(), st.data())
def test_damage_is_a_value_error_or_a_transcript(transcript, data):
    damaged = bytearray(encode(transcript))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(0, len(damaged))) :]
    try:
        found = decode(bytes(damaged))
    except ValueError:
        return
    assert found.signs.shape == (found.steps, found.probes)
    assert set(np.unique(found.signs)) <= {-1, 0, 1}
    assert same(decode(encode(found)), found)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, b"NOPE", "no transcript"),
        (4, b"\x02\x00", "version 2"),
        (6, b"\x00\x00", "0 probes"),
        (6, b"\xff\xff", "65535 probes"),
        (HALVINGS_OFFSET + 4, b"\x01\x00\x00\x00", "out of order"),
        (HEADER_BYTES, b"\x00", "behind its end"),
    ],
)
def test_damage_is_named(place, value, message):
    data = bytearray(encode(made([1] * 12)))
    data[place : place + len(value)] = value
    with pytest.raises(ValueError, match=message):
        decode(bytes(data))


@pytest.mark.parametrize("length", [4, 5, 199])
def test_a_file_that_ends_in_its_header_is_named(length):
    with pytest.raises(ValueError, match="ends within"):
        decode(encode(made([1]))[:length])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="at most 31 halvings"):
        encode(made([1], halvings=range(32)))
    with pytest.raises(ValueError, match="no transcript holds this"):
        encode(made([1], seed=1 << 32))


def test_the_digest_of_a_specification_sees_every_number():
    one = small_specification()
    assert specification_digest(one) == specification_digest(small_specification())
    assert specification_digest(one) != specification_digest(small_specification(epsilon=101))
