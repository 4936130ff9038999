"""Frames: golden bytes, every fault in its order, damage of all kinds, and bounded memory."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.transforms.split.frames import (
    HEADER,
    FrameError,
    FrameFault,
    largest_payload_bytes,
    read_frame,
    write_frame,
)
from intaglio.transforms.split.specification import CODINGS, CodecSpecification, Feature, Stripe
from tests.transforms.split.random_codecs import (
    CODES,
    Form,
    build_feature,
    draw_codec,
    draw_codes,
    draw_ranges,
)
from tests.transforms.split.strategies import messages


def small(coding="rans", ranges="static"):
    """Two channels of 1 x 2 places, three levels."""
    static = ranges == "static"
    stripe = Stripe(
        2, 3, tuple(min(i // 100, 2) for i in range(256)) if static else (), ((3000, 1000, 96),)
    )
    feature = Feature(
        name="x",
        source="x.float",
        shape=(2, 1, 2),
        scale=0.5,
        zero_point=-3,
        order=(1, 0),
        stripes=(stripe,),
        decode=((-100, 0, 100),) * 2 if static else (),
        ranges=ranges,
        references=(-1, -1),
        lanes=2,
    )
    return CodecSpecification((feature,), coding, "ab" * 32).check()


def sealed(body):
    return body + struct.pack("<I", zlib.crc32(body))


def fault_of(specification, data, largest=16):
    with pytest.raises(FrameError) as caught:
        read_frame(specification, data, largest)
    return caught.value.fault


@given(messages(), st.integers(0, 4))
def test_a_frame_is_read_as_it_was_written(message, kind):
    specification, codes, ranges = message
    data = write_frame(specification, codes, ranges, kind)
    frame = read_frame(specification, data, len(codes))
    assert (frame.kind, frame.samples) == (kind, len(codes))
    assert np.array_equal(frame.codes, codes)
    assert np.array_equal(frame.ranges, ranges)
    assert frame.codes.dtype == np.uint8
    assert frame.ranges.dtype == np.int8
    limit = largest_payload_bytes(specification, len(codes))
    assert len(data) <= 18 + ranges.size + limit


CODES_OF_GOLDEN = np.array([[0, 1, 2, 0], [0, 0, 0, 1]], np.uint8)
GOLDEN = {
    "raw": "49460100" "{session}" "0200" "08000000" "0001020000000001",
    "packed": "49460110" "{session}" "0200" "02000000" "2440",
}  # fmt: skip


@pytest.mark.parametrize("coding", ["raw", "packed"])
def test_golden_bytes(coding):
    specification = small(coding)
    session = specification.session.to_bytes(4, "little").hex()
    expected = sealed(bytes.fromhex(GOLDEN[coding].format(session=session)))
    assert write_frame(specification, CODES_OF_GOLDEN, np.empty((2, 0), np.int8)) == expected


def test_golden_bytes_of_the_entropy_coder_and_dynamic_ranges():
    """Written down once; the same ever after, session and checksum included."""
    static = write_frame(small(), CODES_OF_GOLDEN, np.empty((2, 0), np.int8), 2)
    assert static.hex() == STATIC
    ranges = np.array([[-128, 127], [5, 5]], np.int8)
    dynamic = write_frame(small("rans", "dynamic"), CODES_OF_GOLDEN, ranges)
    assert dynamic.hex() == DYNAMIC


STATIC = "49460122c9db6208020008000000284b0a00a83f46016098b17d"
DYNAMIC = "4946012054fde888020008000000807f0505284b0a00a83f4601797fb121"


def test_golden_session():
    assert small().session == 0x0862DBC9


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        (0, b"if", FrameFault.MAGIC),
        (2, b"\2", FrameFault.VERSION),
        (2, b"\0", FrameFault.VERSION),
        (3, b"\x25", FrameFault.KIND),
        (3, b"\x2f", FrameFault.KIND),
        (3, b"\x10", FrameFault.CODING),
        (3, b"\x30", FrameFault.CODING),
        (3, b"\xf0", FrameFault.CODING),
        (4, b"\0\0\0\0", FrameFault.SESSION),
        (8, b"\0\0", FrameFault.SAMPLES),
        (8, b"\x11\0", FrameFault.SAMPLES),
        (8, b"\xff\xff", FrameFault.SAMPLES),
        (10, b"\xff\xff\xff\xff", FrameFault.PAYLOAD_SIZE),
        (10, struct.pack("<I", 8 + 2 * 4 * 2 + 1), FrameFault.PAYLOAD_SIZE),
        (10, struct.pack("<I", 8 + 2 * 4 * 2), FrameFault.LENGTH),
        (10, b"\0\0\0\0", FrameFault.LENGTH),
        (8, b"\3\0", FrameFault.LENGTH),
    ],
)
def test_a_wrong_field_is_named(place, value, fault):
    """The checksum is right: the fault is that of the field."""
    specification = small("rans", "dynamic")
    ranges = np.array([[-128, 127], [5, 5]], np.int8)
    body = bytearray(write_frame(specification, CODES_OF_GOLDEN, ranges)[:-4])
    body[place : place + len(value)] = value
    assert fault_of(specification, sealed(bytes(body))) == fault


def test_faults_are_found_in_their_order():
    """Everything is wrong at first; each thing put right brings out the next fault."""
    specification = small("rans", "dynamic")
    ranges = np.array([[7, -7], [5, 5]], np.int8)
    good = np.array([[-7, 7], [5, 5]], np.int8)
    right = write_frame(specification, CODES_OF_GOLDEN, good)
    payload = right[HEADER.size + 4 : -4]
    session = specification.session
    side = ranges.tobytes()

    def frame(magic, version, kind, coding, of, samples, size, tail):
        return HEADER.pack(magic, version, kind | coding << 4, of, samples, size) + tail

    junk = side + b"\xff" * len(payload) + b"\0\0\0\0" + b"more"
    bad = [b"XX", 9, 15, 15, session ^ 1, 99, 1 << 20]
    fixed = [b"IF", 1, 4, 2, session, 2, len(payload)]
    faults = list(FrameFault)
    assert fault_of(specification, b"XX" + bytes(15)) == faults[0]
    for count in range(8):
        fields = [*fixed[:count], *bad[count:]]
        found = fault_of(specification, frame(*fields, junk))
        assert found == faults[1 + count]
    exact = frame(*fixed, junk[:-4])
    assert fault_of(specification, exact) == FrameFault.CRC
    assert fault_of(specification, sealed(exact[:-4])) == FrameFault.PAYLOAD
    healed = sealed(frame(*fixed, side + payload))
    assert fault_of(specification, healed) == FrameFault.RANGE
    assert read_frame(specification, sealed(frame(*fixed, good.tobytes() + payload))).samples == 2


@pytest.mark.parametrize("coding", ["raw", "packed"])
def test_codes_beyond_the_levels_and_padding_are_faults_of_the_payload(coding):
    specification = small(coding)
    body = bytearray(write_frame(specification, CODES_OF_GOLDEN, np.empty((2, 0), np.int8))[:-4])
    body[-1] |= 3 << 6 if coding == "packed" else 3
    assert fault_of(specification, sealed(bytes(body))) == FrameFault.PAYLOAD


@pytest.mark.parametrize("coding", CODINGS)
def test_a_payload_of_another_size_is_a_fault_of_the_payload(coding):
    specification = small(coding)
    body = write_frame(specification, CODES_OF_GOLDEN, np.empty((2, 0), np.int8))[:-4]
    payload = body[HEADER.size :][:-1]
    header = HEADER.pack(b"IF", 1, CODINGS.index(coding) << 4, specification.session, 2,
                         len(payload))  # fmt: skip
    assert fault_of(specification, sealed(header + payload)) == FrameFault.PAYLOAD


def some_frames():
    made = []
    for seed in range(9):
        generator = np.random.default_rng(seed)
        specification = draw_codec(generator, CODINGS[seed % 3])
        codes = draw_codes(generator, specification, 1 + seed % 3, CODES[seed % 4])
        ranges = draw_ranges(generator, specification, len(codes))
        made.append((specification, write_frame(specification, codes, ranges)))
    return made


@pytest.mark.parametrize("index", range(9))
def test_every_flipped_bit_is_found(index):
    specification, data = some_frames()[index]
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        if bit // 8 == 3 and (changed[3] & 15) < 5:
            # Kind is a field like any other: the checksum finds it.
            assert fault_of(specification, bytes(changed)) in (FrameFault.CRC, FrameFault.CODING)
        else:
            fault_of(specification, bytes(changed))


@pytest.mark.parametrize("index", range(9))
def test_every_truncation_and_every_extension_is_found(index):
    specification, data = some_frames()[index]
    for length in range(len(data)):
        expected = FrameFault.TOO_SHORT if length < 18 else FrameFault.LENGTH
        assert fault_of(specification, data[:length]) == expected
        assert fault_of(specification, data[:length], 1 << 16) == expected
    for more in (b"\0", b"\xff", bytes(100), data):
        assert fault_of(specification, data + more) == FrameFault.LENGTH


@settings(max_examples=80)
@given(messages(), st.binary(max_size=200))
def test_random_bytes_give_nothing_but_faults(message, noise):
    specification, codes, ranges = message
    fault_of(specification, noise)
    data = write_frame(specification, codes, ranges)
    fault_of(specification, data[:14] + noise + b"x")


@settings(max_examples=80)
@given(messages(), st.data())
def test_a_sealed_frame_with_damage_is_refused_or_says_something_valid(message, data):
    """Whoever computes the checksum anew still cannot make a reader go astray."""
    specification, codes, ranges = message
    body = bytearray(write_frame(specification, codes, ranges)[:-4])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place] = data.draw(st.integers(0, 255))
    fault = None
    try:
        frame = read_frame(specification, sealed(bytes(body)), 4)
    except FrameError as error:
        fault = error.fault
    if fault is None:
        assert write_frame(specification, frame.codes, frame.ranges, frame.kind)
    assert fault not in (FrameFault.CRC, FrameFault.TOO_SHORT)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("ranges", ["static", "dynamic"])
def test_hostile_sizes_take_no_memory(coding, ranges):
    """What is allocated follows from the specification and the limit, not from the header."""
    form = Form((16, 16, 16), (4,), ranges=ranges, lanes=4, frequencies="even")
    generator = np.random.default_rng(0)
    specification = CodecSpecification((build_feature(generator, form),), coding).check()
    negotiated = 4
    claims = [(s, size) for s in (1, 4, 5, 65535) for size in (0, 1, 1 << 20, 2**32 - 1)]
    tails = (0, 4, 40_000)
    frames = [
        sealed(
            HEADER.pack(b"IF", 1, CODINGS.index(coding) << 4, specification.session, samples, size)
            + bytes(tail)
        )
        for samples, size in claims
        for tail in tails
    ]
    tracemalloc.start()
    for data in frames:
        fault_of(specification, data, negotiated)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * negotiated * specification.codes


def test_the_largest_payload_of_noise_takes_little_more_than_itself():
    """Noise decodes to the end, so that nothing is refused early."""
    form = Form((16, 16, 16), (256,), lanes=4, frequencies="even")
    generator = np.random.default_rng(0)
    specification = CodecSpecification((build_feature(generator, form),)).check()
    words = generator.integers(0, 256, 2 * 2 * specification.codes, np.uint8).tobytes()
    payload = struct.pack("<4I", *[1 << 31] * 4) + words
    assert len(payload) == largest_payload_bytes(specification, 2)
    data = sealed(HEADER.pack(b"IF", 1, 0x20, specification.session, 2, len(payload)) + payload)
    tracemalloc.start()
    assert fault_of(specification, data, 2) == FrameFault.PAYLOAD
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(data)


def test_a_payload_of_zeros_that_fits_is_refused_before_it_grows():
    """The largest payload that may be, of nothing useful: no more than the codes are allocated."""
    form = Form((16, 16, 16), (4,), lanes=4, frequencies="even")
    generator = np.random.default_rng(0)
    specification = CodecSpecification((build_feature(generator, form),)).check()
    size = largest_payload_bytes(specification, 1)
    body = HEADER.pack(b"IF", 1, 0x20, specification.session, 1, size) + bytes(size)
    data = sealed(body)
    tracemalloc.start()
    assert fault_of(specification, data, 1) == FrameFault.PAYLOAD
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(data) + 64 * specification.codes


@pytest.mark.parametrize(
    ("codes", "ranges", "kind", "message"),
    [
        (np.zeros((1, 4), np.int16), None, 0, "codes are int16"),
        (np.zeros((1, 3), np.uint8), None, 0, r"codes are uint8 \(1, 3\)"),
        (np.zeros(4, np.uint8), None, 0, "codes are"),
        (np.zeros((0, 4), np.uint8), np.zeros((0, 2), np.int8), 0, "1 to 65535 samples, not 0"),
        (np.full((1, 4), 3, np.uint8), None, 0, "beyond the levels"),
        (np.zeros((1, 4), np.uint8), np.zeros((1, 1), np.int8), 0, "ranges are"),
        (np.zeros((1, 4), np.uint8), np.zeros((2, 2), np.int8), 0, "ranges are"),
        (np.zeros((1, 4), np.uint8), np.array([[1, 0]], np.int8), 0, "ends below"),
        (np.zeros((1, 4), np.uint8), None, 5, "no kind 5"),
        (np.zeros((1, 4), np.uint8), None, -1, "no kind -1"),
    ],
)
def test_the_writer_refuses_what_does_not_fit(codes, ranges, kind, message):
    side = np.zeros((1, 2), np.int8) if ranges is None else ranges
    with pytest.raises(ValueError, match=message):
        write_frame(small("rans", "dynamic"), codes, side, kind)


def test_a_frame_of_another_codec_is_of_another_session():
    static, dynamic = small(), small("rans", "dynamic")
    data = write_frame(static, CODES_OF_GOLDEN, np.empty((2, 0), np.int8))
    assert fault_of(dynamic, data) == FrameFault.SESSION


def test_any_buffer_of_bytes_is_taken():
    data = write_frame(small(), CODES_OF_GOLDEN, np.empty((2, 0), np.int8))
    for view in (bytearray(data), memoryview(data)):
        assert np.array_equal(read_frame(small(), view).codes, CODES_OF_GOLDEN)


@pytest.mark.parametrize("coding", CODINGS)
def test_the_largest_number_of_samples(coding):
    form = Form((1,), (2,), frequencies="one")
    specification = CodecSpecification(
        (build_feature(np.random.default_rng(0), form),), coding
    ).check()
    codes = draw_codes(np.random.default_rng(1), specification, 65535)
    side = np.empty((65535, 0), np.int8)
    frame = read_frame(specification, write_frame(specification, codes, side))
    assert np.array_equal(frame.codes, codes)
    with pytest.raises(ValueError, match="65535 samples, not 65536"):
        write_frame(specification, np.zeros((65536, 1), np.uint8), np.empty((65536, 0), np.int8))
