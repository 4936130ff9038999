"""The worked example of docs/wire-format.md, computed anew from the page's own definition."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from intaglio.transforms.split.frames import KINDS, FrameFault, read_frame
from intaglio.transforms.split.specification import CODINGS, CodecSpecification, Feature, Stripe

PAGE = Path(__file__).parents[3] / "docs" / "wire-format.md"
CODES = [[2, 1, 2, 2], [0, 1, 2, 1]]
FREQUENCIES = (3000, 1000, 96)
BELOW = (0, 3000, 4000)
#: Sample and place of each code in the order of decoding: both channels of a place in turns.
ORDER = [(sample, place) for sample in (0, 1) for place in (0, 2, 1, 3)]


def specification():
    stripe = Stripe(2, 3, tuple(min(i // 100, 2) for i in range(256)), (FREQUENCIES,))
    feature = Feature(
        name="x", source="x.float", shape=(2, 1, 2), scale=0.5, zero_point=-3, order=(1, 0),
        stripes=(stripe,), decode=((-100, 0, 100),) * 2, references=(-1, -1), lanes=2,
    )  # fmt: skip
    return CodecSpecification((feature,), "rans", "ab" * 32).check()


def crc(data):
    """CRC-32 bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def payload():
    """States and words by the encoder of the page."""
    states, words = [65536, 65536], []
    for sample, place in reversed(ORDER):
        code, lane = CODES[sample][place], place // 2
        x, f = states[lane], FREQUENCIES[code]
        if x >= f << 20:
            words.insert(0, x & 65535)
            x >>= 16
        states[lane] = 4096 * (x // f) + BELOW[code] + x % f
    return states, words


def frame():
    states, words = payload()
    body = struct.pack(f"<2I{len(words)}H", *states, *words)
    head = struct.pack("<2sBBIHI", b"IF", 1, 2 | 2 << 4, specification().session, 2, len(body))
    return head + body + struct.pack("<I", crc(head + body))


def rows():
    """The table of fields."""
    data = frame()
    states, words = payload()
    fields = [
        (2, '"IF"'),
        (1, "version 1"),
        (1, "kind 2, coding 2 (rans)"),
        (4, f"session {specification().session:08x}"),
        (2, "2 samples"),
        (4, f"{len(data) - 18} bytes of payload"),
        *[(4, f"state {lane}: {state}") for lane, state in enumerate(states)],
        *[(2, f"word: {word}") for word in words],
        (4, "CRC-32"),
    ]
    made, first = [], 0
    for size, meaning in fields:
        made.append(f"| `{data[first : first + size].hex(' ')}` | {meaning} |")
        first += size
    assert first == len(data)
    return made


def steps():
    """The table of the decoder's steps, by the decoder of the page."""
    states, words = payload()
    made = [
        "| sample | channel | column | x | s | code | x after |",
        "|---|---|---|---|---|---|---|",
    ]
    for sample, place in ORDER:
        lane = place // 2
        x = states[lane]
        slot = x % 4096
        code = max(k for k in range(3) if BELOW[k] <= slot)
        after = FREQUENCIES[code] * (x // 4096) + slot - BELOW[code]
        if after < 65536:
            after = after << 16 | words.pop(0)
        assert code == CODES[sample][place]
        made.append(f"| {sample} | {lane} | {place % 2} | {x} | {slot} | {code} | {after} |")
        states[lane] = after
    assert states == [65536, 65536]
    assert not words
    return made


def test_the_example_is_what_the_page_defines():
    text = PAGE.read_text(encoding="utf-8")
    data = frame()
    assert data.hex(" ") in text
    assert "\n".join(rows()) in text
    assert "\n".join(steps()) in text
    found = read_frame(specification(), data, 2)
    assert found.codes.tolist() == CODES
    assert found.kind == 2


def test_the_page_lists_all_faults_with_their_numbers():
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.M)
    assert found == [(str(int(fault)), fault.name) for fault in FrameFault]


def test_the_page_names_kinds_and_codings():
    text = PAGE.read_text(encoding="utf-8")
    kinds = ", ".join(f"{number} {kind}" for number, kind in enumerate(KINDS))
    codings = ", ".join(f"{number} {coding}" for number, coding in enumerate(CODINGS))
    assert f"Kinds: {kinds}. Codings: {codings}." in text
