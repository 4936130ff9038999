"""The entropy coder in plain Python integers: interleaved rANS with static frequencies.

A state ``x`` is in [2^16, 2^32). A code of frequency ``f`` and cumulative frequency ``c`` (both of
4096) is encoded by::

    if x >= f 2^20: put the low 16 bits of x; x >>= 16
    x = (x // f) 4096 + c + x % f

and decoded, in the opposite order, by::

    s = x & 4095, the code with c <= s < c + f;  x = f (x >> 12) + s - c
    if x < 2^16: x = x 2^16 + next word

(J. Duda, Asymmetric numeral systems, arXiv 1311.2540; interleaving after F. Giesen, Interleaved
entropy coders, arXiv 1402.3392.) The order is that of decoding: sample, feature, group of ``lanes``
code channels, row, column, channel of the group; channel ``c`` belongs to state ``c % lanes``, so
that codes next to each other are independent. All states begin and must end at 2^16. A payload
is the final states (uint32 each), then the words (uint16) in the order of decoding, little endian.

This is the judge of the C coder, not the fast path.
"""

from __future__ import annotations

import math
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.split.coding import feature_codes
from intaglio.transforms.split.entropy import context_of
from intaglio.transforms.split.specification import (
    PROBABILITY_BITS,
    TOTAL,
    CodecSpecification,
    Feature,
)

LOWEST = 1 << 16
WORD_BITS = 16
_WORD = (1 << WORD_BITS) - 1
#: A state is made smaller where it is at least the frequency times this.
ROOM = LOWEST >> PROBABILITY_BITS << WORD_BITS

#: Codes that are looked up at once: the encoder's lists take about 150 bytes a code.
_CHUNK = 1 << 14

#: Where each code of a context begins in 0..4096, and the end: by stripe and context.
_Tables = list[list[list[int]]]


class PayloadError(ValueError):
    """A payload that no encoder made."""


def lanes_of(specification: CodecSpecification) -> int:
    """Number of states of a payload."""
    return max(feature.lanes for feature in specification.features)


def largest_payload(specification: CodecSpecification, samples: int) -> int:
    """Bytes that a payload of so many samples can have at most."""
    return 4 * lanes_of(specification) + 2 * specification.codes * samples


def encode(specification: CodecSpecification, codes: NDArray[np.uint8]) -> bytes:
    """The payload of some samples.

    Args:
        specification: The codec, its coding ``rans``.
        codes: [N, codes] in wire order.
    """
    states = [LOWEST] * lanes_of(specification)
    words = array("H")
    rows = max(1, _CHUNK // specification.codes)
    for first in reversed(range(0, len(codes), rows)):
        steps = symbols(specification, codes[first : first + rows]).reshape(-1, 3).tolist()
        for lane, frequency, cumulative in reversed(steps):
            x = states[lane]
            if x >= frequency * ROOM:
                words.append(x & _WORD)
                x >>= WORD_BITS
            states[lane] = (x // frequency << PROBABILITY_BITS) + cumulative + x % frequency
    return np.array(states, "<u4").tobytes() + np.array(words[::-1], "<u2").tobytes()


def symbols(specification: CodecSpecification, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """State, frequency and cumulative frequency of every code, in the order of decoding.

    Args:
        specification: The codec, its coding ``rans``.
        codes: [N, codes] in wire order.

    Returns:
        [N, codes, 3].
    """
    made: list[NDArray[np.int64]] = []
    for feature, planes in feature_codes(specification, codes):
        context = context_of(planes, feature)
        frequency = np.empty(planes.shape, np.int64)
        cumulative = np.empty(planes.shape, np.int64)
        first = 0
        for stripe in feature.stripes:
            part = slice(first, first + stripe.channels)
            first += stripe.channels
            table = np.array(stripe.frequencies, np.int64)
            below = np.cumsum(table, axis=1) - table
            frequency[:, part] = table[context[:, part], planes[:, part]]
            cumulative[:, part] = below[context[:, part], planes[:, part]]
        lane = np.broadcast_to(
            (np.arange(feature.code_channels) % feature.lanes)[:, None, None], planes.shape
        )
        stacked = np.stack([lane, frequency, cumulative], axis=-1)
        made.append(_decoding_order(stacked, feature))
    return np.concatenate(made, axis=1)


def _decoding_order(planes: NDArray[np.int64], feature: Feature) -> NDArray[np.int64]:
    """[N, C, R, K, 3] as [N, codes, 3], groups of lanes interleaved."""
    groups = []
    for first in range(0, feature.code_channels, feature.lanes):
        group = planes[:, first : first + feature.lanes].transpose(0, 2, 3, 1, 4)
        groups.append(group.reshape(len(planes), math.prod(group.shape[1:4]), 3))
    return np.concatenate(groups, axis=1)


def decode(specification: CodecSpecification, payload: bytes, samples: int) -> NDArray[np.uint8]:
    """Undoes :func:`encode`.

    Args:
        specification: The codec.
        payload: States and words.
        samples: How many samples it holds.

    Returns:
        Codes [samples, codes].

    Raises:
        PayloadError: States or words are missing, left over, or impossible.
    """
    lanes = lanes_of(specification)
    if len(payload) < 4 * lanes or len(payload) % 2:
        raise PayloadError(f"{len(payload)} bytes are no payload of {lanes} states")
    states = [int(x) for x in np.frombuffer(payload, "<u4", lanes)]
    if min(states) < LOWEST:
        raise PayloadError("a state is too small")
    # One by one: a list of all words would take 18 times as much memory as they do.
    words = (word for (word,) in struct.iter_unpack("<H", payload[4 * lanes :]))
    tables = [_tables(feature) for feature in specification.features]
    made = np.empty((samples, specification.codes), np.uint8)
    for sample in range(samples):
        first = 0
        for feature, below in zip(specification.features, tables, strict=True):
            planes = _decode_planes(feature, below, states, words)
            made[sample, first : first + feature.codes] = planes.reshape(-1)
            first += feature.codes
    if any(x != LOWEST for x in states) or next(words, None) is not None:
        raise PayloadError("states or words are left over")
    return made


def _decode_planes(
    feature: Feature, tables: _Tables, states: list[int], words: Iterator[int]
) -> NDArray[np.uint8]:
    """One sample of one feature: [code channels, rows, columns]."""
    rows, columns = feature.code_plane
    stripes = feature.channel_stripes
    left_cap, upper_cap, other_cap = feature.caps
    planes = np.zeros((feature.code_channels, rows + 1, columns + 1), np.uint8)
    for first in range(0, feature.code_channels, feature.lanes):
        group = range(first, min(first + feature.lanes, feature.code_channels))
        for y in range(1, rows + 1):
            for x in range(1, columns + 1):
                for channel in group:
                    other = feature.references[channel]
                    near = 0 if other < 0 else min(int(planes[other, y, x]), other_cap)
                    context = min(int(planes[channel, y, x - 1]), left_cap) * (upper_cap + 1)
                    context += min(int(planes[channel, y - 1, x]), upper_cap)
                    context = context * (other_cap + 1) + near
                    below = tables[stripes[channel]][context]
                    planes[channel, y, x] = _step(states, channel - first, below, words)
    return planes[:, 1:, 1:]


def _tables(feature: Feature) -> _Tables:
    return [
        [list(accumulate(row, initial=0)) for row in stripe.frequencies]
        for stripe in feature.stripes
    ]


def _step(states: list[int], lane: int, below: list[int], words: Iterator[int]) -> int:
    """One code from one state."""
    x = states[lane]
    slot = x & (TOTAL - 1)
    code = bisect_right(below, slot) - 1
    x = (below[code + 1] - below[code]) * (x >> PROBABILITY_BITS) + slot - below[code]
    if x < LOWEST:
        word = next(words, None)
        if word is None:
            raise PayloadError("words are missing")
        x = x << WORD_BITS | word
    states[lane] = x
    return code
