"""The wire frame: header, dynamic ranges, payload, checksum; written and read in numpy.

Little endian::

     0  2  magic "IF"
     2  1  version, 1
     3  1  kind (low 4 bits) and coding (high 4 bits)
     4  4  session: the specification's hash
     8  2  samples, 1 to 65535
    10  4  bytes of the payload
    14  .  dynamic ranges, sample by sample
     .  .  payload
     .  4  CRC-32 of everything before

Shapes, bits and tables are not sent: the session stands for them. A reader takes nothing from a
frame on trust: what it allocates follows from the specification and the number of samples that it
was told to accept.
"""

from __future__ import annotations

import dataclasses
import enum
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.split.packing import (
    PackingError,
    check_levels,
    pack,
    packed_bytes,
    unpack,
)
from intaglio.transforms.split.rans import PayloadError, decode, encode, largest_payload
from intaglio.transforms.split.specification import CODINGS, CodecSpecification

MAGIC = b"IF"
VERSION = 1
HEADER = struct.Struct("<2sBBIHI")
CHECKSUM_BYTES = 4
LARGEST_SAMPLES = 0xFFFF

KINDS = ("feature", "gradient", "label", "loss sign", "control")


class FrameFault(enum.IntEnum):
    """What is wrong with a frame; the codes of the C reader are the same."""

    TOO_SHORT = 1
    MAGIC = 2
    VERSION = 3
    KIND = 4
    CODING = 5
    SESSION = 6
    SAMPLES = 7
    PAYLOAD_SIZE = 8
    LENGTH = 9
    CRC = 10
    PAYLOAD = 11
    RANGE = 12


_WORDS = {
    FrameFault.TOO_SHORT: "the frame is shorter than a header and a checksum",
    FrameFault.MAGIC: "it is no frame: it does not begin with IF",
    FrameFault.VERSION: f"the frame is of another version than {VERSION}",
    FrameFault.KIND: "the frame is of a kind that there is not",
    FrameFault.CODING: "the frame's coding is not the one agreed on",
    FrameFault.SESSION: "the frame belongs to another session: another model, cut or codec",
    FrameFault.SAMPLES: "the frame has no samples, or more than were agreed on",
    FrameFault.PAYLOAD_SIZE: "the payload is larger than so many samples can be",
    FrameFault.LENGTH: "the frame is not as long as its header says",
    FrameFault.CRC: "the checksum is wrong: bytes were damaged on the way",
    FrameFault.PAYLOAD: "the payload is none that the codec makes",
    FrameFault.RANGE: "a range ends below its beginning",
}


class FrameError(ValueError):
    """A frame that cannot be taken.

    Attributes:
        fault: What is wrong.
    """

    def __init__(self, fault: FrameFault) -> None:
        super().__init__(_WORDS[fault])
        self.fault = fault


@dataclasses.dataclass(frozen=True)
class Frame:
    """What was in a frame.

    Attributes:
        kind: Index into KINDS.
        samples: Number of samples.
        codes: uint8 [samples, codes] in wire order.
        ranges: int8 [samples, side_bytes].
    """

    kind: int
    samples: int
    codes: NDArray[np.uint8]
    ranges: NDArray[np.int8]


def largest_payload_bytes(specification: CodecSpecification, samples: int) -> int:
    """Bytes of a payload at most; of raw and packed ones exactly."""
    if specification.coding == "raw":
        return specification.codes * samples
    if specification.coding == "packed":
        return packed_bytes(specification) * samples
    return largest_payload(specification, samples)


def largest_frame_bytes(specification: CodecSpecification, samples: int) -> int:
    """Bytes of a whole frame at most."""
    ranges = specification.side_bytes * samples
    payload = largest_payload_bytes(specification, samples)
    return HEADER.size + ranges + payload + CHECKSUM_BYTES


def write_frame(
    specification: CodecSpecification,
    codes: NDArray[np.uint8],
    ranges: NDArray[np.int8],
    kind: int = 0,
) -> bytes:
    """A frame of some samples.

    Args:
        specification: The codec.
        codes: uint8 [N, codes] in wire order; N is 1 to 65535.
        ranges: int8 [N, side_bytes].
        kind: Index into KINDS.

    Raises:
        ValueError: The arrays do not fit the specification.
    """
    check_arrays(specification, codes, ranges)
    if not 0 <= kind < len(KINDS):
        raise ValueError(f"there is no kind {kind}")
    if specification.coding == "rans":
        payload = encode(specification, codes)
    elif specification.coding == "packed":
        payload = pack(specification, codes)
    else:
        payload = codes.tobytes()
    coding = CODINGS.index(specification.coding)
    header = HEADER.pack(
        MAGIC, VERSION, kind | coding << 4, specification.session, len(codes), len(payload)
    )
    body = header + ranges.tobytes() + payload
    return body + zlib.crc32(body).to_bytes(CHECKSUM_BYTES, "little")


def check_arrays(
    specification: CodecSpecification, codes: NDArray[np.uint8], ranges: NDArray[np.int8]
) -> None:
    """Refuses arrays that the specification does not describe.

    Raises:
        ValueError: A shape or type is wrong, a code has no level, or a range is none.
    """
    count = len(codes) if codes.ndim else 0
    if codes.dtype != np.uint8 or codes.shape != (count, specification.codes):
        raise ValueError(f"codes are {codes.dtype} {codes.shape}")
    if ranges.dtype != np.int8 or ranges.shape != (count, specification.side_bytes):
        raise ValueError(f"ranges are {ranges.dtype} {ranges.shape}")
    if not 1 <= count <= LARGEST_SAMPLES:
        raise ValueError(f"a frame holds 1 to {LARGEST_SAMPLES} samples, not {count}")
    if not check_levels(specification, codes):
        raise ValueError("a code is beyond the levels of its stripe")
    if (ranges[:, 1::2] < ranges[:, ::2]).any():
        raise ValueError("a range ends below its beginning")


def read_frame(
    specification: CodecSpecification, data: bytes, largest_samples: int = LARGEST_SAMPLES
) -> Frame:
    """Reads a frame of which nothing is known.

    Args:
        specification: The codec.
        data: The bytes.
        largest_samples: Most samples to accept.

    Raises:
        FrameError: It cannot be taken.
    """
    kind, samples, size = _read_header(specification, data, largest_samples)
    side = specification.side_bytes * samples
    if len(data) != HEADER.size + side + size + CHECKSUM_BYTES:
        raise FrameError(FrameFault.LENGTH)
    if zlib.crc32(data[:-CHECKSUM_BYTES]).to_bytes(4, "little") != data[-CHECKSUM_BYTES:]:
        raise FrameError(FrameFault.CRC)
    first = HEADER.size + side
    codes = _read_payload(specification, bytes(data[first : first + size]), samples)
    ranges = np.frombuffer(data, np.int8, side, HEADER.size)
    ranges = ranges.reshape(samples, specification.side_bytes)
    if (ranges[:, 1::2] < ranges[:, ::2]).any():
        raise FrameError(FrameFault.RANGE)
    return Frame(kind, samples, codes, ranges)


def _read_header(
    specification: CodecSpecification, data: bytes, largest_samples: int
) -> tuple[int, int, int]:
    """Kind, samples and bytes of the payload."""
    if len(data) < HEADER.size + CHECKSUM_BYTES:
        raise FrameError(FrameFault.TOO_SHORT)
    magic, version, kind, session, samples, size = HEADER.unpack_from(data)
    faults = {
        FrameFault.MAGIC: magic != MAGIC,
        FrameFault.VERSION: version != VERSION,
        FrameFault.KIND: kind & 15 >= len(KINDS),
        FrameFault.CODING: kind >> 4 != CODINGS.index(specification.coding),
        FrameFault.SESSION: session != specification.session,
        FrameFault.SAMPLES: not 1 <= samples <= largest_samples,
        FrameFault.PAYLOAD_SIZE: size > largest_payload_bytes(specification, samples),
    }
    for fault, holds in faults.items():
        if holds:
            raise FrameError(fault)
    return int(kind & 15), int(samples), int(size)


def _read_payload(
    specification: CodecSpecification, payload: bytes, samples: int
) -> NDArray[np.uint8]:
    try:
        if specification.coding == "rans":
            return decode(specification, payload, samples)
        if specification.coding == "packed":
            return unpack(specification, payload, samples)
    except (PayloadError, PackingError) as error:
        raise FrameError(FrameFault.PAYLOAD) from error
    if len(payload) != specification.codes * samples:
        raise FrameError(FrameFault.PAYLOAD)
    codes = np.frombuffer(payload, np.uint8).reshape(samples, specification.codes)
    if not check_levels(specification, codes):
        raise FrameError(FrameFault.PAYLOAD)
    return codes
