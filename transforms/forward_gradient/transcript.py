"""A transcript: the signs of a training run, two bits each, from which its weights come back.

Layout, little-endian::

    0    4   "IFGT"
    4    2   version, 1
    6    2   probes of a step, m
    8    4   seed of the first step
    12   32  SHA-256 of the specification's JSON
    44   32  digest of the weights that the run began with
    76   124 31 numbers of 4 bytes: the step from which on the k-th halving holds; 2^32 - 1 for none
    200  32  digest of the weights that the transcript ends with; zeros while it is not finished
    232      codes of two bits, lowest first, m for each step: 1 for the sign +1, 2 for -1, 3 for a
             tie; 0 ends the transcript

A step is written by setting bits that were 0. So a file that is cut or was never finished still
reads: what is whole of it counts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.forward_gradient.specification import (
    LARGEST_SHIFT,
    MOST_PROBES,
    StepSpecification,
)

MAGIC = b"IFGT"
VERSION = 1
HEADER_BYTES = 232
HALVINGS_OFFSET = 76
NO_HALVING = (1 << 32) - 1

_HEAD = struct.Struct("<4sHHI32s32s")
_HALVINGS = struct.Struct(f"<{LARGEST_SHIFT}I")
_END = struct.Struct("<32s")

#: Code of a sign, and sign of a code; 0 is no sign.
_CODES = {1: 1, -1: 2, 0: 3}
_SIGNS = np.array([0, 1, -1, 0], np.int8)


@dataclasses.dataclass(frozen=True, eq=False)
class Transcript:
    """The signs of a run.

    Attributes:
        specification: SHA-256 of the specification, hexadecimal; see :func:`specification_digest`.
        weights: Digest of the weights the run began with, hexadecimal.
        first_seed: Seed of the first step.
        probes: Probes of a step.
        halvings: Steps from which on the step is halved once more, ascending.
        signs: int8 ``[steps, probes]``: 1, 0 or -1.
        end: Digest of the weights behind the last step, hexadecimal; empty while unfinished.
    """

    specification: str
    weights: str
    first_seed: int
    probes: int
    halvings: tuple[int, ...]
    signs: NDArray[np.int8]
    end: str = ""

    @property
    def steps(self) -> int:
        """How many steps it has."""
        return len(self.signs)

    def step_shift(self, step: int) -> int:
        """How many times the step is halved in step ``step``."""
        return sum(start <= step for start in self.halvings)

    def first(self, steps: int) -> Transcript:
        """The transcript of the first ``steps`` steps."""
        halvings = tuple(start for start in self.halvings if start < steps)
        end = self.end if steps >= self.steps else ""
        return dataclasses.replace(self, halvings=halvings, signs=self.signs[:steps], end=end)


def specification_digest(specification: StepSpecification) -> str:
    """SHA-256 of a specification's JSON, hexadecimal."""
    return hashlib.sha256(specification.to_json().encode()).hexdigest()


def encode(transcript: Transcript) -> bytes:
    """The transcript as a file.

    Raises:
        ValueError: It has more halvings than there are places, or a number out of range.
    """
    return header(transcript) + pack_signs(transcript.signs)


def header(transcript: Transcript) -> bytes:
    """What stands before the codes of a transcript.

    Raises:
        ValueError: It has more halvings than there are places, or a number out of range.
    """
    if len(transcript.halvings) > LARGEST_SHIFT:
        raise ValueError(f"a transcript holds at most {LARGEST_SHIFT} halvings")
    places = [*transcript.halvings, *[NO_HALVING] * (LARGEST_SHIFT - len(transcript.halvings))]
    try:
        return (
            _HEAD.pack(
                MAGIC,
                VERSION,
                transcript.probes,
                transcript.first_seed,
                bytes.fromhex(transcript.specification),
                bytes.fromhex(transcript.weights),
            )
            + _HALVINGS.pack(*places)
            + _END.pack(bytes.fromhex(transcript.end))
        )
    except struct.error as error:
        raise ValueError(f"no transcript holds this: {error}") from error


def pack_signs(signs: NDArray[np.int8]) -> bytes:
    """Signs as codes of two bits, the last byte filled with zeros."""
    flat = signs.reshape(-1)
    codes = np.array([_CODES[int(sign)] for sign in flat], np.uint8)
    padded = np.concatenate([codes, np.zeros(-len(codes) % 4, np.uint8)]).reshape(-1, 4)
    packed = (padded << np.array([0, 2, 4, 6], np.uint8)).sum(axis=1, dtype=np.uint8)
    return bytes(packed)


def decode(data: bytes) -> Transcript:
    """Reads a transcript, whole or cut.

    Raises:
        ValueError: It is none, or damaged before its codes or behind its end.
    """
    if data[:4] != MAGIC:
        raise ValueError("this is no transcript of a training run")
    if len(data) < HEADER_BYTES:
        raise ValueError(f"the transcript ends within its first {HEADER_BYTES} bytes")
    _, version, probes, seed, specification, weights = _HEAD.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"the transcript has version {version}, known is {VERSION}")
    if not 1 <= probes <= MOST_PROBES:
        raise ValueError(f"the transcript says {probes} probes a step")
    signs = _unpack_signs(data[HEADER_BYTES:], probes)
    halvings = list(_HALVINGS.unpack_from(data, HALVINGS_OFFSET))
    stated = [place for place in halvings if place != NO_HALVING]
    if stated != halvings[: len(stated)] or stated != sorted(stated):
        raise ValueError("the halvings of the transcript are out of order")
    (end,) = _END.unpack_from(data, HEADER_BYTES - _END.size)
    return Transcript(
        specification.hex(),
        weights.hex(),
        seed,
        probes,
        tuple(stated),
        signs,
        end.hex() if any(end) else "",
    )


def _unpack_signs(data: bytes, probes: int) -> NDArray[np.int8]:
    packed = np.frombuffer(data, np.uint8)
    codes = (packed[:, None] >> np.array([0, 2, 4, 6], np.uint8) & 3).reshape(-1)
    ends = np.flatnonzero(codes == 0)
    count = int(ends[0]) if len(ends) else len(codes)
    if codes[count:].any():
        raise ValueError("the transcript goes on behind its end: it is damaged")
    steps = count // probes
    return np.asarray(_SIGNS[codes[: steps * probes]].reshape(steps, probes), np.int8)
