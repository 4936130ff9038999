"""Frames that must be refused: with the fault that the numpy reader finds, by both C coders."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.targets.c.split.library import Coder
from intaglio.transforms.split import frames
from intaglio.transforms.split.frames import FrameError, FrameFault
from intaglio.transforms.split.specification import CodecSpecification
from tests.targets.c.split.specifications import cases, feature, random_codes


def sealed(data):
    """The frame with a right checksum."""
    return bytes(data[:-4]) + zlib.crc32(data[:-4]).to_bytes(4, "little")


def fault_of(read):
    try:
        read()
    except FrameError as error:
        return error.fault
    return None


def agreed(specification, data, largest):
    """The fault that all three readers find."""
    found = {
        fault_of(lambda: frames.read_frame(specification, data, largest)),
        *(
            fault_of(lambda fast=fast: Coder(specification, fast=fast).read_frame(data, largest))
            for fast in (False, True)
        ),
    }
    assert len(found) == 1, found
    return found.pop()


def made(coding, levels=5):
    rng = np.random.default_rng(3)
    found = feature(
        rng, (6, 5, 7), levels=(levels,), stripes=2, caps=(2, 1, 3), lanes=4, coding=coding,
        dynamic=True,
    )  # fmt: skip
    specification = CodecSpecification((found,), coding)
    codes, ranges = random_codes(rng, specification, 3)
    return specification, codes, ranges, Coder(specification).write_frame(codes, ranges)


def changed(data, at, value):
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize("coding", ["raw", "packed", "rans"])
def test_every_fault_of_the_header(coding):
    specification, _, _, data = made(coding)
    size = int.from_bytes(data[10:14], "little")
    for fault, bad in (
        (FrameFault.TOO_SHORT, b""),
        (FrameFault.TOO_SHORT, data[:17]),
        (FrameFault.MAGIC, changed(data, 0, b"J")),
        (FrameFault.MAGIC, changed(data, 1, b"G")),
        (FrameFault.VERSION, changed(data, 2, b"\x02")),
        (FrameFault.KIND, changed(data, 3, bytes([data[3] & 0xF0 | 5]))),
        (FrameFault.CODING, changed(data, 3, bytes([data[3] ^ 0x40]))),
        (FrameFault.SESSION, changed(data, 7, bytes([data[7] ^ 1]))),
        (FrameFault.SAMPLES, changed(data, 8, b"\0\0")),
        (FrameFault.SAMPLES, changed(data, 8, b"\4\0")),
        (FrameFault.PAYLOAD_SIZE, changed(data, 10, b"\xff\xff\xff\xff")),
        (FrameFault.LENGTH, changed(data, 10, (size - 1).to_bytes(4, "little"))),
        (FrameFault.LENGTH, changed(data, 8, b"\2\0") if coding == "rans" else data + b"\0"),
        (FrameFault.LENGTH, data + b"\0"),
        (FrameFault.LENGTH, data[:-1]),
        (FrameFault.CRC, changed(data, len(data) - 1, bytes([data[-1] ^ 1]))),
        (FrameFault.CRC, changed(data, 20, bytes([data[20] ^ 1]))),
    ):
        assert agreed(specification, bad, 3) == fault
    assert agreed(specification, data, 3) is None
    assert agreed(specification, data, 2) == FrameFault.SAMPLES


@pytest.mark.parametrize("coding", ["raw", "packed", "rans"])
def test_a_range_that_ends_before_it_begins(coding):
    specification, *_, data = made(coding)
    bad = sealed(changed(data, 14, b"\x05\x04"))
    assert agreed(specification, bad, 3) == FrameFault.RANGE


@pytest.mark.parametrize("coding", ["raw", "packed", "rans"])
def test_a_payload_that_is_too_short(coding):
    specification, *_, data = made(coding)
    size = int.from_bytes(data[10:14], "little")
    for less in (1, 2, size):
        bad = changed(
            data[: len(data) - 4 - less] + bytes(4), 10, (size - less).to_bytes(4, "little")
        )
        assert agreed(specification, sealed(bad), 3) == FrameFault.PAYLOAD


def test_payloads_that_no_writer_makes():
    side = 3 * 4
    specification, *_, data = made("raw")
    assert agreed(specification, sealed(changed(data, 14 + side, b"\5")), 3) == FrameFault.PAYLOAD
    specification, *_, data = made("packed")
    assert agreed(specification, sealed(changed(data, 14 + side, b"\7")), 3) == FrameFault.PAYLOAD
    bits = specification.features[0].stripes[1].channels * 35 * 3
    assert bits % 8, "there is padding"
    last = bytes([data[-5] | 0x80])
    assert (
        agreed(specification, sealed(changed(data, len(data) - 5, last)), 3) == FrameFault.PAYLOAD
    )
    specification, *_, data = made("rans")
    size = int.from_bytes(data[10:14], "little")
    longer = changed(data[:-4] + bytes(6), 10, (size + 2).to_bytes(4, "little"))
    assert agreed(specification, sealed(longer), 3) == FrameFault.PAYLOAD
    for at, value in ((14 + side, bytes(4)), (14 + side, b"\xff"), (len(data) - 6, b"\xff\xff")):
        bad = sealed(changed(data, at, value))
        assert bad != data
        assert agreed(specification, bad, 3) == FrameFault.PAYLOAD


def test_all_truncations():
    specification, *_, data = made("rans")
    for size in range(len(data)):
        assert agreed(specification, data[:size], 3) in (FrameFault.TOO_SHORT, FrameFault.LENGTH)


@given(cases(), st.data())
@settings(deadline=None, max_examples=100)
def test_any_change_is_judged_the_same(case, data):
    """Also where the checksum is right; and what is taken is written the same way again."""
    specification, codes, ranges = case
    frame = bytearray(Coder(specification).write_frame(codes, ranges))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(3, len(frame) - 5))
        frame[at] = data.draw(st.integers(0, 255))
    frame = sealed(frame)
    if agreed(specification, frame, 3) is None:
        taken = Coder(specification).read_frame(frame, 3)
        assert Coder(specification).write_frame(taken.codes, taken.ranges, taken.kind) == frame
