"""Random numbers without state: a hash of a counter and a seed.

Every weight's perturbation is recomputed from its index where it is needed, so that it is never
stored, and any runtime with 32-bit integers gives the same one.

``H(i, seed)``: ``x = i * 0x9E3779B9 + seed; x ^= x >> 16; x *= 0x7feb352d; x ^= x >> 15;
x *= 0x846ca68b; x ^= x >> 16``, all modulo 2^32. The mixing is the 32-bit integer hash "lowbias32"
of C. Wellons' hash prospector; the multiplier of the counter is 2^32 divided by the golden ratio.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Perturbations are integers in units of 1/32.
UNIT = 32
UNIT_BITS = 5

#: What the counter and the hash are multiplied by.
COUNTER_FACTOR = 0x9E3779B9
FIRST_FACTOR = 0x7FEB352D
SECOND_FACTOR = 0x846CA68B

#: Added to a tensor's number for the stream of its stochastic rounding.
ROUNDING_STREAM = 1 << 31

_MASK = np.uint64(0xFFFFFFFF)


class Law(str, Enum):
    """Distribution of a perturbation ``z`` of standard deviation 1, that is 32 units."""

    #: 32 or -32, by the lowest bit of the hash.
    RADEMACHER = "rademacher"
    #: ``16 * (ones among the lowest 16 bits - 8)``.
    BINOMIAL = "binomial"

    @property
    def largest(self) -> int:
        """Largest magnitude in units of 1/32."""
        return 32 if self is Law.RADEMACHER else 128


def counter_hash(index: ArrayLike, seed: int) -> NDArray[np.uint32]:
    """``H(i, seed)`` of the module.

    Args:
        index: counters, integers of 0 to 2^32 - 1, any shape.
        seed: any integer; its lowest 32 bits count.

    Returns:
        uint32, the shape of ``index``.
    """
    x = np.asarray(index, np.uint64) * np.uint64(COUNTER_FACTOR) & _MASK
    x = x + np.uint64(seed & 0xFFFFFFFF) & _MASK
    x ^= x >> np.uint64(16)
    x = x * np.uint64(FIRST_FACTOR) & _MASK
    x ^= x >> np.uint64(15)
    x = x * np.uint64(SECOND_FACTOR) & _MASK
    x ^= x >> np.uint64(16)
    return np.asarray(x.astype(np.uint32))


def hash_seed(seed: int) -> int:
    """``H(0, seed)``."""
    return int(counter_hash(0, seed))


def stream_seed(step_seed: int, probe: int, number: int) -> int:
    """Seed of one tensor's perturbation: ``H(H(step seed + probe) + number)``, ``H`` at 0.

    Args:
        step_seed: Seed of the step.
        probe: Index of the probe.
        number: Number of the tensor; :data:`ROUNDING_STREAM` more for its stochastic rounding.
    """
    return hash_seed(hash_seed(step_seed + probe) + number)


def perturbation(hashes: NDArray[np.uint32], law: Law) -> NDArray[np.int32]:
    """``z`` in units of 1/32 from the hashes of the counters.

    Args:
        hashes: uint32, any shape.
        law: Distribution.

    Returns:
        int32, the same shape.
    """
    if law is Law.RADEMACHER:
        return np.asarray(32 - 64 * (hashes & 1).astype(np.int32), np.int32)
    bits = np.unpackbits((hashes & 0xFFFF).astype("<u2")[..., None].view(np.uint8), axis=-1)
    return np.asarray(16 * (bits.sum(axis=-1, dtype=np.int32) - 8), np.int32)
