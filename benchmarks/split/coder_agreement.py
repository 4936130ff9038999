"""Do the C coder and its numpy definition agree on every byte and every refusal?

    python -m benchmarks.split.coder_agreement [--streams 1000000]

Many random specifications, many messages of one sample each: tiny alphabets, contexts of a single
symbol, frequencies of 1 and 4095, streams of nothing but the rarest codes, one or two features,
static and dynamic ranges. Of each message both write a frame, which must be the same bytes, and
read it again, which must be the same codes. Then it is damaged (bits, words, states, lengths,
header fields; the checksum computed anew), and both must find the same codes or the same fault.
"""

from __future__ import annotations

import argparse
import collections
import struct
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from intaglio.transforms.split.frames import HEADER, FrameError, FrameFault, read_frame, write_frame
from intaglio.transforms.split.rans import largest_payload
from intaglio.transforms.split.rans_many import decode_many, encode_many
from intaglio.transforms.split.specification import CODINGS, CodecSpecification
from numpy.typing import NDArray

from benchmarks.common import environment, write_json
from tests.transforms.split.random_codecs import CODES, draw_codec, draw_codes, draw_ranges

RESULTS = Path(__file__).resolve().parent / "results"

#: Messages of a specification; numpy codes them all in one go.
_MESSAGES = 1000

#: Of these, so many go through the whole numpy reader, whose pace is a message at a time.
_SLOW = 40

#: No sum of two features' codes is larger, so that a run takes minutes.
_MOST_CODES = 96

_DAMAGES = ("none", "bit", "cut", "longer", "noise", "swap", "state", "header", "unsealed")


class DisagreementError(Exception):
    """The two coders differ."""


def payload_damage(data: bytearray, kind: str, generator: np.random.Generator) -> bytearray:
    """A payload with something wrong."""
    if not data:
        return data
    place = int(generator.integers(0, len(data)))
    if kind == "bit":
        data[place] ^= 1 << int(generator.integers(0, 8))
    elif kind == "cut":
        del data[place:]
    elif kind == "longer":
        data += generator.integers(0, 256, int(generator.integers(1, 5)), np.uint8).tobytes()
    elif kind == "noise":
        count = int(generator.integers(0, len(data) + 1))
        data[: max(count, 1)] = generator.integers(0, 256, max(count, 1), np.uint8).tobytes()
    elif kind == "swap" and len(data) >= 4:
        place = int(generator.integers(0, len(data) // 2 - 1)) * 2
        data[place : place + 4] = data[place + 2 : place + 4] + data[place : place + 2]
    elif kind == "state" and len(data) >= 4:
        word = int(generator.choice([0, 65535, 65536, 65537, 2**31, 2**32 - 1]))
        data[:4] = struct.pack("<I", word)
    return data


def framed(specification: CodecSpecification, payload: bytes, side: bytes, kind: int = 0) -> bytes:
    """A sealed frame of one sample around any payload."""
    coding = CODINGS.index(specification.coding)
    body = (
        HEADER.pack(b"IF", 1, kind | coding << 4, specification.session, 1, len(payload))
        + side
        + payload
    )
    return body + zlib.crc32(body).to_bytes(4, "little")


def numpy_answer(specification: CodecSpecification, data: bytes) -> tuple[int, bytes, bytes]:
    """Fault, codes and ranges by the definition."""
    try:
        frame = read_frame(specification, data, 1)
    except FrameError as error:
        return int(error.fault), b"", b""
    return 0, frame.codes.tobytes(), frame.ranges.tobytes()


def c_answer(coder: Any, data: bytes) -> tuple[int, bytes, bytes]:
    """The same by the C coder."""
    try:
        frame = coder.read_frame(data, 1)
    except FrameError as error:
        return int(error.fault), b"", b""
    return 0, frame.codes.tobytes(), frame.ranges.tobytes()


def require(same: bool, what: str, specification: CodecSpecification, data: bytes) -> None:
    """Stops where the coders differ.

    Raises:
        DisagreementError: They do; the message has all that is needed to see it again.
    """
    if not same:
        raise DisagreementError(f"{what}\n{specification.to_json()}\n{data.hex()}")


def draw_small(generator: np.random.Generator, coding: str) -> CodecSpecification:
    """A specification of few codes."""
    while True:
        found = draw_codec(generator, coding)
        if found.codes <= _MOST_CODES:
            return found


class Tally:
    """What was compared.

    Attributes:
        counts: Streams by what was done to them, and faults by name.
    """

    def __init__(self) -> None:
        self.specifications = 0
        self.streams = 0
        self.codes = 0
        self.bytes = 0
        self.damages: collections.Counter[str] = collections.Counter()
        self.faults: collections.Counter[str] = collections.Counter()

    def add(self, damage: str, fault: int, size: int) -> None:
        """Counts a stream."""
        self.streams += 1
        self.bytes += size
        self.damages[damage] += 1
        self.faults[FrameFault(fault).name if fault else "NONE"] += 1


def compare(
    specification: CodecSpecification,
    coders: list[Any],
    messages: int,
    generator: np.random.Generator,
    tally: Tally,
) -> None:
    """Half of the streams as the encoders write them, half of them damaged."""
    half = messages // 2
    # Every kind of codes has its share.
    parts = np.array_split(np.arange(half), len(CODES))
    codes = np.concatenate(
        [draw_codes(generator, specification, len(p), k) for p, k in zip(parts, CODES, strict=True)]
    )
    ranges = draw_ranges(generator, specification, half)
    payloads = sound(specification, coders, codes, ranges, tally)
    damaged(specification, coders, payloads, ranges, messages - half, generator, tally)
    tally.specifications += 1
    tally.codes += messages * specification.codes


def sound(
    specification: CodecSpecification,
    coders: list[Any],
    codes: NDArray[np.uint8],
    ranges: NDArray[np.int8],
    tally: Tally,
) -> list[bytes]:
    """Compares what both write, and reads it again; returns the payloads."""
    rans = specification.coding == "rans"
    payloads = encode_many(specification, codes) if rans else []
    for index in range(len(codes)):
        one, side = codes[index : index + 1], ranges[index : index + 1]
        if rans and index >= _SLOW:
            expected = framed(specification, payloads[index], side.tobytes())
        else:
            expected = write_frame(specification, one, side)
            if rans:
                own = framed(specification, payloads[index], side.tobytes())
                require(own == expected, "the two numpy coders differ", specification, own)
            else:
                payloads.append(expected[HEADER.size + specification.side_bytes : -4])
        for coder in coders:
            found = coder.write_frame(one, side, 0)
            require(found == expected, "C wrote other bytes", specification, expected)
            answer = c_answer(coder, expected)
            same = answer == (0, one.tobytes(), side.tobytes())
            require(same, "C reads something else", specification, expected)
        tally.add("as written", 0, len(expected))
    return payloads


def damaged(
    specification: CodecSpecification,
    coders: list[Any],
    payloads: list[bytes],
    ranges: NDArray[np.int8],
    count: int,
    generator: np.random.Generator,
    tally: Tally,
) -> None:
    """Compares what both make of damaged frames."""
    kinds = generator.choice(_DAMAGES, count)
    places = generator.integers(0, len(payloads), count)
    made = [
        bytes(payload_damage(bytearray(payloads[place]), str(kind), generator))
        for kind, place in zip(kinds, places, strict=True)
    ]
    whole = _answers(specification, made) if specification.coding == "rans" else None
    for index, (kind, place) in enumerate(zip(kinds.tolist(), places.tolist(), strict=True)):
        side = ranges[place].tobytes()
        if side and generator.integers(0, 8) == 0:
            side = generator.integers(0, 256, len(side), np.uint8).tobytes()
        data = framed(specification, made[index], side, int(generator.integers(0, 5)))
        if kind == "header":
            data = header_damage(data, generator)
        elif kind == "unsealed":
            place_of = int(generator.integers(0, len(data)))
            data = data[:place_of] + bytes([data[place_of] ^ 0x40]) + data[place_of + 1 :]
        if whole is None or kind in ("header", "unsealed") or index < _SLOW:
            expected = numpy_answer(specification, data)
            if whole is not None and kind not in ("header", "unsealed"):
                own = _with_ranges(specification, whole[index], made[index], side)
                require(own == expected, "the two numpy coders differ", specification, data)
        else:
            expected = _with_ranges(specification, whole[index], made[index], side)
        for coder in coders:
            answer = c_answer(coder, data)
            require(answer == expected, f"{answer} and {expected}", specification, data)
        tally.add(kind, expected[0], len(data))


def header_damage(data: bytes, generator: np.random.Generator) -> bytes:
    """One byte of the header is another, or the frame another length; sealed again."""
    body = bytearray(data[:-4])
    if generator.integers(0, 4) == 0:
        body = body[: int(generator.integers(0, len(body)))] or body
    else:
        body[int(generator.integers(0, HEADER.size))] = int(generator.integers(0, 256))
    return bytes(body) + zlib.crc32(bytes(body)).to_bytes(4, "little")


def _answers(specification: CodecSpecification, payloads: list[bytes]) -> list[tuple[int, bytes]]:
    """Fault and codes of many payloads."""
    codes, fault = decode_many(specification, payloads)
    return [
        (int(FrameFault.PAYLOAD), b"") if bad else (0, row.tobytes())
        for row, bad in zip(codes, fault, strict=True)
    ]


def _with_ranges(
    specification: CodecSpecification, answer: tuple[int, bytes], payload: bytes, side: bytes
) -> tuple[int, bytes, bytes]:
    """What the whole reader says, from what the payload says: sizes come before, ranges behind."""
    if len(payload) > largest_payload(specification, 1):
        return int(FrameFault.PAYLOAD_SIZE), b"", b""
    fault, codes = answer
    ends = np.frombuffer(side, np.int8)
    if not fault and (ends[1::2] < ends[::2]).any():
        fault = int(FrameFault.RANGE)
    return (fault, b"", b"") if fault else (0, codes, side)


def measure(streams: int, seed: int) -> dict[str, Any]:
    """Compares so many streams.

    Raises:
        DisagreementError: The coders differ.
        ToolError: There is no C compiler.
    """
    from intaglio.targets.c.split.library import Coder

    generator = np.random.default_rng(seed)
    tally = Tally()
    begin = time.monotonic()
    while tally.streams < streams:
        # The entropy coder is what can go wrong; the others are here for their refusals.
        coding = str(generator.choice(("rans",) * 8 + CODINGS[:2]))
        specification = draw_small(generator, coding)
        coders = [Coder(specification, fast=fast) for fast in (True, False)]
        messages = _MESSAGES if coding == "rans" else _MESSAGES // 10
        compare(specification, coders, messages, generator, tally)
        if sys.stderr.isatty():
            print(f"\r{tally.streams}", end="", file=sys.stderr)
    return {
        "specifications": tally.specifications,
        "streams": tally.streams,
        "codes": tally.codes,
        "bytes": tally.bytes,
        "disagreements": 0,
        "seconds": round(time.monotonic() - begin, 1),
        "seed": seed,
        "damages": dict(sorted(tally.damages.items())),
        "faults": dict(sorted(tally.faults.items())),
    }


def main() -> int:
    """Compares, prints counts and writes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "coder_agreement.json")
    chosen = parser.parse_args()
    found = measure(chosen.streams, chosen.seed)
    write_json(chosen.out, {"environment": environment(), **found})
    for name, value in found.items():
        print(f"{name}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
