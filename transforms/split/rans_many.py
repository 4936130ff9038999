"""Many messages of one sample at once: the coder of :mod:`rans`, vectorized over the messages.

Messages are independent, so that one step is the same arithmetic for all of them, in int64. The
bytes are those that :func:`rans.encode` makes of each sample alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.split.rans import LOWEST, ROOM, WORD_BITS, lanes_of, symbols
from intaglio.transforms.split.specification import (
    PROBABILITY_BITS,
    TOTAL,
    CodecSpecification,
    Feature,
)

_WORD = (1 << WORD_BITS) - 1


def encode_many(specification: CodecSpecification, codes: NDArray[np.uint8]) -> list[bytes]:
    """A payload for each sample.

    Args:
        specification: The codec, its coding ``rans``.
        codes: [M, codes] in wire order.

    Returns:
        M payloads of one sample each.
    """
    count = len(codes)
    # By step first: each step then reads one row.
    steps = np.ascontiguousarray(symbols(specification, codes).transpose(1, 2, 0))
    states = np.full((lanes_of(specification), count), LOWEST, np.int64)
    words = np.zeros((len(steps), count), np.uint16)
    full = np.zeros((len(steps), count), bool)
    for step in range(len(steps) - 1, -1, -1):
        lane, frequency, cumulative = steps[step]
        # The lane of a place is the same in all messages.
        x = states[lane[0]] if count else states[0]
        full[step] = x >= frequency * ROOM
        words[step] = x & _WORD
        x = np.where(full[step], x >> WORD_BITS, x)
        states[lane[0] if count else 0] = (
            (x // frequency << PROBABILITY_BITS) + cumulative + x % frequency
        )
    heads = np.ascontiguousarray(states.T).astype("<u4")
    words, full = np.ascontiguousarray(words.T).astype("<u2"), np.ascontiguousarray(full.T)
    return [heads[m].tobytes() + words[m][full[m]].tobytes() for m in range(count)]


def decode_many(
    specification: CodecSpecification, payloads: Sequence[bytes]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Undoes :func:`encode_many`.

    Args:
        specification: The codec.
        payloads: Payloads of one sample each; they may be damaged.

    Returns:
        Codes [M, codes], and whether each payload is one that no encoder makes, where
        :func:`rans.decode` raises; its codes are 0 then.
    """
    reader = _Reader.of(payloads, lanes_of(specification))
    parts = []
    for feature in specification.features:
        planes = _decode_planes(feature, reader)
        parts.append(planes.reshape(feature.codes, len(payloads)))
    fault = reader.fault | (reader.states != LOWEST).any(axis=0)
    fault |= reader.used != reader.ends
    codes = np.ascontiguousarray(np.concatenate(parts).T)
    codes[fault] = 0
    return codes, fault


@dataclasses.dataclass
class _Reader:
    """States of the decoder and what each message has left.

    Attributes:
        states: [lanes, M].
        words: Words of all messages one behind the other, and one more.
        used: Place of each message's next word.
        ends: Place behind its last.
        fault: Whether it is damaged.
    """

    states: NDArray[np.int64]
    words: NDArray[np.uint16]
    used: NDArray[np.int64]
    ends: NDArray[np.int64]
    fault: NDArray[np.bool_]

    @classmethod
    def of(cls, payloads: Sequence[bytes], lanes: int) -> _Reader:
        """Reads the states; messages without them are damaged, and run on as empty ones."""
        head = 4 * lanes
        fault = np.array([len(p) < head or len(p) % 2 != 0 for p in payloads], bool)
        empty = np.full(lanes, LOWEST, "<u4").tobytes()
        sound = [empty if bad else bytes(p) for p, bad in zip(payloads, fault, strict=True)]
        states = np.frombuffer(b"".join(p[:head] for p in sound), "<u4")
        states = np.ascontiguousarray(states.reshape(len(sound), lanes).T).astype(np.int64)
        fault |= (states < LOWEST).any(axis=0)
        ends = np.cumsum([(len(p) - head) // 2 for p in sound], dtype=np.int64)
        used = np.concatenate([[0], ends[:-1]]).astype(np.int64)[: len(sound)]
        words = np.frombuffer(b"".join(p[head:] for p in sound) + bytes(2), "<u2")
        return cls(np.maximum(states, LOWEST), words, used, ends, fault)

    def step(
        self, lane: int, starts: NDArray[np.int64], rows: NDArray[np.int64], levels: int
    ) -> NDArray[np.int64]:
        """One code of each message.

        Args:
            lane: The state to take it from.
            starts: Where each code begins in each context, 4096 a context, and the end of all.
            rows: Context of each message.
            levels: Codes of a context.
        """
        x = self.states[lane]
        slot = x & (TOTAL - 1)
        index = np.searchsorted(starts, rows * TOTAL + slot, side="right") - 1
        start = starts[index]
        x = (starts[index + 1] - start) * (x >> PROBABILITY_BITS) + rows * TOTAL + slot - start
        low = x < LOWEST
        missing = low & (self.used >= self.ends)
        self.fault |= missing
        low &= ~missing
        x = np.where(low, x << WORD_BITS | self.words[np.where(low, self.used, 0)], x)
        self.used += low
        # A damaged message runs on from any state; nobody looks at its codes.
        self.states[lane] = np.where(missing, LOWEST, x)
        code: NDArray[np.int64] = index - rows * levels
        return code


def _decode_planes(feature: Feature, reader: _Reader) -> NDArray[np.uint8]:
    """One feature of all messages: [code channels, rows, columns, M]."""
    rows, columns = feature.code_plane
    count = len(reader.used)
    left_cap, upper_cap, other_cap = feature.caps
    tables = [_starts(stripe.frequencies) for stripe in feature.stripes]
    stripes = feature.channel_stripes
    # A row and a column of 0 in front are the neighbors beyond the border.
    planes = np.zeros((feature.code_channels, rows + 1, columns + 1, count), np.uint8)
    for channel, y, x in _places(feature):
        context = np.minimum(planes[channel, y, x - 1], left_cap).astype(np.int64)
        context = context * (upper_cap + 1) + np.minimum(planes[channel, y - 1, x], upper_cap)
        context *= other_cap + 1
        other = feature.references[channel]
        if other >= 0:
            context += np.minimum(planes[other, y, x], other_cap)
        stripe = stripes[channel]
        levels = feature.stripes[stripe].levels
        lane = channel % feature.lanes
        planes[channel, y, x] = reader.step(lane, tables[stripe], context, levels)
    return np.ascontiguousarray(planes[:, 1:, 1:])


def _places(feature: Feature) -> Iterator[tuple[int, int, int]]:
    """Channel, row and column of each code in the order of decoding, rows and columns from 1."""
    rows, columns = feature.code_plane
    for first in range(0, feature.code_channels, feature.lanes):
        for y in range(1, rows + 1):
            for x in range(1, columns + 1):
                for channel in range(first, min(first + feature.lanes, feature.code_channels)):
                    yield channel, y, x


def _starts(frequencies: tuple[tuple[int, ...], ...]) -> NDArray[np.int64]:
    table = np.array(frequencies, np.int64).reshape(-1)
    return np.concatenate([[0], np.cumsum(table)]).astype(np.int64)
