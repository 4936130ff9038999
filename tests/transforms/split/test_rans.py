"""The entropy coder: round trips, many messages at once, its bound, and damaged payloads."""

from __future__ import annotations

import dataclasses
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings

from intaglio.transforms.split import rans
from intaglio.transforms.split.coding import feature_codes
from intaglio.transforms.split.entropy import ideal_bits
from intaglio.transforms.split.rans import (
    PayloadError,
    decode,
    encode,
    lanes_of,
    largest_payload,
)
from intaglio.transforms.split.rans_many import decode_many, encode_many
from intaglio.transforms.split.specification import CodecSpecification
from tests.transforms.split.random_codecs import (
    CODES,
    Form,
    build_feature,
    draw_codec,
    draw_codes,
    draw_frequencies,
)
from tests.transforms.split.strategies import messages


def codec(form, seed=0):
    return CodecSpecification((build_feature(np.random.default_rng(seed), form),)).check()


def ideal(specification, codes):
    return sum(ideal_bits(planes, f) for f, planes in feature_codes(specification, codes))


@given(messages("rans"))
def test_decoding_undoes_encoding_within_the_bound(message):
    specification, codes, _ = message
    payload = encode(specification, codes)
    assert len(payload) <= largest_payload(specification, len(codes))
    assert np.array_equal(decode(specification, payload, len(codes)), codes)


@given(messages("rans"))
def test_the_payload_takes_the_bits_that_the_frequencies_promise(message):
    specification, codes, _ = message
    payload = encode(specification, codes)
    lanes = lanes_of(specification)
    # Each state begins at 16 bits and ends between 16 and 32; a division loses a little each time.
    lost = 0.01 * codes.size + 16 * lanes
    bits = 8 * (len(payload) - 4 * lanes)
    assert bits <= ideal(specification, codes) + lost
    assert bits >= ideal(specification, codes) - lost


@given(messages("rans", largest=5))
def test_many_messages_are_as_one_by_one(message):
    specification, codes, _ = message
    payloads = encode_many(specification, codes)
    assert payloads == [encode(specification, row[None]) for row in codes]
    found, fault = decode_many(specification, payloads)
    assert np.array_equal(found, codes)
    assert not fault.any()


def one_by_one(specification, payloads):
    codes = np.zeros((len(payloads), specification.codes), np.uint8)
    fault = np.zeros(len(payloads), bool)
    for index, payload in enumerate(payloads):
        try:
            codes[index] = decode(specification, payload, 1)[0]
        except PayloadError:
            fault[index] = True
    return codes, fault


def damaged(payload, generator):
    """A payload with something done to it; sometimes nothing."""
    data = bytearray(payload)
    kind = generator.integers(0, 6)
    if kind == 0 and data:
        data[generator.integers(0, len(data))] ^= 1 << int(generator.integers(0, 8))
    elif kind == 1:
        del data[int(generator.integers(0, len(data) + 1)) :]
    elif kind == 2:
        data += bytes(generator.integers(0, 256, int(generator.integers(1, 5)), np.uint8))
    elif kind == 3:
        data = bytearray(generator.integers(0, 256, len(data), np.uint8).tobytes())
    elif kind == 4:
        place = int(generator.integers(0, len(data)))
        data[place : place + 2] = data[place : place + 2][::-1]
    return bytes(data)


@pytest.mark.parametrize("seed", range(40))
def test_many_damaged_messages_are_refused_as_one_by_one(seed):
    generator = np.random.default_rng(seed)
    specification = draw_codec(generator, "rans")
    codes = draw_codes(generator, specification, 24, CODES[seed % len(CODES)])
    payloads = [damaged(p, generator) for p in encode_many(specification, codes)]
    found, fault = decode_many(specification, payloads)
    expected, expected_fault = one_by_one(specification, payloads)
    assert np.array_equal(fault, expected_fault)
    assert np.array_equal(found, expected)
    assert fault.any()


def test_no_messages_are_none():
    specification = codec(Form((3, 2), (4,), lanes=2))
    assert encode_many(specification, np.empty((0, 6), np.uint8)) == []
    found, fault = decode_many(specification, [])
    assert found.shape == (0, 6)
    assert fault.shape == (0,)


def test_what_decodes_is_what_the_encoder_writes():
    """Of all payloads that decode to some codes only the encoder's own is taken."""
    specification = codec(Form((2, 2), (3,), lanes=2, frequencies="even"))
    taken = 0
    generator = np.random.default_rng(1)
    codes = draw_codes(generator, specification, 200)
    for row in codes:
        payload = bytearray(encode(specification, row[None]))
        for bit in range(8 * len(payload)):
            payload[bit // 8] ^= 1 << bit % 8
            found, fault = one_by_one(specification, [bytes(payload)])
            if not fault[0]:
                taken += 1
                assert encode(specification, found) == bytes(payload)
            payload[bit // 8] ^= 1 << bit % 8
    # Without the frame's checksum a few flips give another valid message.
    assert taken < 200 * 8 * 8 * 0.05


def sums_of_one_code(levels):
    """A code of frequency 4095 beside one of frequency 1, and a context of a single code."""
    return (4096,) if levels == 1 else (4097 - levels,) + (1,) * (levels - 1)


@pytest.mark.parametrize("levels", [1, 2, 16, 256])
@pytest.mark.parametrize("lanes", [1, 4])
def test_the_rarest_codes_take_twelve_bits_and_the_others_almost_none(levels, lanes):
    form = Form((4, 8, 8), (levels,), lanes=lanes)
    feature = build_feature(np.random.default_rng(0), form)
    stripe = dataclasses.replace(feature.stripes[0], frequencies=(sums_of_one_code(levels),))
    specification = CodecSpecification((dataclasses.replace(feature, stripes=(stripe,)),)).check()
    common = np.zeros((2, 256), np.uint8)
    payload = encode(specification, common)
    expected = 512 * -math.log2(sums_of_one_code(levels)[0] / 4096) / 8 + 4 * lanes
    assert len(payload) <= expected + 2 * lanes
    assert np.array_equal(decode(specification, payload, 2), common)
    if levels > 1:
        rare = np.full((2, 256), levels - 1, np.uint8)
        payload = encode(specification, rare)
        assert abs(len(payload) - (4 * lanes + 512 * 12 / 8)) <= 4 * lanes
        assert len(payload) <= largest_payload(specification, 2)
        assert np.array_equal(decode(specification, payload, 2), rare)


@pytest.mark.parametrize("chunk", [1, 7, 96, 97, 200])
def test_samples_that_are_looked_up_at_once_change_no_byte(monkeypatch, chunk):
    specification = codec(Form((4, 3, 4), (5, 16), caps=(1, 2, 3), lanes=2))
    codes = draw_codes(np.random.default_rng(8), specification, 5)
    expected = encode(specification, codes)
    monkeypatch.setattr(rans, "_CHUNK", chunk)
    assert encode(specification, codes) == expected
    assert np.array_equal(decode(specification, expected, 5), codes)


def test_the_encoder_takes_no_more_memory_for_more_samples():
    specification = codec(Form((8, 16, 16), (4,), lanes=4))
    codes = draw_codes(np.random.default_rng(9), specification, 150)
    tracemalloc.start()
    encode(specification, codes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 307,200 codes; a list of all steps would take more than 40 MB.
    assert peak < 15_000_000


@pytest.mark.parametrize("lanes", [9, 17, 64])
def test_many_lanes_and_large_caps(lanes):
    specification = codec(Form((70, 2), (2, 4), caps=(3, 3, 255), lanes=lanes))
    codes = draw_codes(np.random.default_rng(10), specification, 3)
    payloads = [encode(specification, row[None]) for row in codes]
    assert encode_many(specification, codes) == payloads
    assert np.array_equal(decode(specification, encode(specification, codes), 3), codes)
    found, fault = decode_many(specification, payloads)
    assert np.array_equal(found, codes)
    assert not fault.any()


def test_states_of_a_code_that_is_certain_stay_at_their_beginning():
    specification = codec(Form((4, 3), (1,), lanes=3))
    payload = encode(specification, np.zeros((5, 12), np.uint8))
    assert payload == np.full(3, 1 << 16, "<u4").tobytes()


def test_the_coder_follows_its_definition_step_by_step():
    """One lane, no context, the arithmetic written once more."""
    frequencies = (3000, 1000, 96)
    feature = build_feature(np.random.default_rng(0), Form((1, 40), (3,)))
    stripe = dataclasses.replace(feature.stripes[0], frequencies=(frequencies,))
    specification = CodecSpecification((dataclasses.replace(feature, stripes=(stripe,)),))
    codes = np.random.default_rng(2).integers(0, 3, (1, 40)).astype(np.uint8)
    below = (0, 3000, 4000)
    x, words = 65536, []
    for code in codes[0, ::-1].tolist():
        f = frequencies[code]
        if x >= f * 2**20:
            words.insert(0, x % 65536)
            x //= 65536
        x = x // f * 4096 + below[code] + x % f
    expected = x.to_bytes(4, "little") + b"".join(w.to_bytes(2, "little") for w in words)
    assert encode(specification, codes) == expected


def test_the_order_is_by_groups_of_lanes_row_column_and_channel():
    """Channels of a group are interleaved: told by codes that only one order explains."""
    feature = build_feature(np.random.default_rng(0), Form((3, 1, 2), (256,), lanes=2))
    stripe = dataclasses.replace(feature.stripes[0], frequencies=((16,) * 256,))
    specification = CodecSpecification((dataclasses.replace(feature, stripes=(stripe,)),))
    codes = np.array([[10, 11, 20, 21, 30, 31]], np.uint8)
    states, words = [65536, 65536], []
    for lane, code in [(0, 31), (0, 30), (1, 21), (0, 11), (1, 20), (0, 10)]:
        x = states[lane]
        if x >= 16 << 20:
            words.insert(0, x & 65535)
            x >>= 16
        states[lane] = (x // 16 << 12) + 16 * code + x % 16
    expected = np.array(states, "<u4").tobytes() + np.array(words, "<u2").tobytes()
    assert encode(specification, codes) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p[:-2],
        lambda p: p[:-1],
        lambda p: p + b"\0\0",
        lambda p: p + b"\0",
        lambda p: b"",
        lambda p: p[:7],
        lambda p: b"\xff\xff\0\0" + p[4:],
        lambda p: b"\0\0\1\0" + p[4:],
        lambda p: p[:4] + p[8:12] + p[4:8] + p[12:],
    ],
    ids=["word missing", "half a word", "word left", "byte left", "nothing", "no states",
         "state too small", "another state", "states moved"],
)  # fmt: skip
def test_a_damaged_payload_is_refused(change):
    specification = codec(Form((4, 6, 6), (16,), lanes=3))
    generator = np.random.default_rng(3)
    payload = encode(specification, draw_codes(generator, specification, 1))
    with pytest.raises(PayloadError):
        decode(specification, change(payload), 1)
    _, fault = decode_many(specification, [change(payload), payload])
    assert fault.tolist() == [True, False]


def test_features_of_fewer_lanes_use_the_first_states():
    generator = np.random.default_rng(4)
    wide = build_feature(generator, Form((6, 4), (5,), lanes=4), "a")
    narrow = build_feature(generator, Form((6, 4), (5,), lanes=1), "b")
    specification = CodecSpecification((narrow, wide)).check()
    codes = draw_codes(generator, specification, 3)
    payload = encode(specification, codes)
    assert lanes_of(specification) == 4
    assert np.array_equal(decode(specification, payload, 3), codes)


@settings(max_examples=20)
@given(messages("rans"))
def test_the_definition_of_frequencies_is_kept_by_the_strategy(message):
    for feature in message[0].features:
        for stripe in feature.stripes:
            assert all(sum(row) == 4096 and min(row) >= 1 for row in stripe.frequencies)


def test_drawn_frequencies_include_the_extremes():
    generator = np.random.default_rng(0)
    assert sorted(draw_frequencies(generator, 2, "one")) == [1, 4095]
    assert draw_frequencies(generator, 1, "steep") == (4096,)
    assert draw_frequencies(generator, 256, "even") == (16,) * 256
