"""Codes as a little-endian bit stream, each stripe of a sample padded to a byte."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.split.coding import feature_codes
from intaglio.transforms.split.specification import CodecSpecification, Stripe


class PackingError(ValueError):
    """Packed bytes that are none."""


def packed_bytes(specification: CodecSpecification) -> int:
    """Bytes of a packed sample."""
    return sum(size for *_, size in _parts(specification))


def pack(specification: CodecSpecification, codes: NDArray[np.uint8]) -> bytes:
    """Packs codes.

    A stripe's codes come in wire order, ``stripe.bits`` bits each, the lowest bit first; a stripe
    of one level takes no bytes at all.

    Args:
        specification: The codec.
        codes: [N, codes] in wire order.
    """
    made = []
    for start, stripe, count, size in _parts(specification):
        part = codes[:, start : start + count]
        bits = (part[:, :, None] >> np.arange(stripe.bits, dtype=np.uint8)) & 1
        if size:
            made.append(np.packbits(bits.reshape(len(codes), -1), axis=1, bitorder="little"))
    return np.concatenate(made, axis=1).tobytes() if made else b""


def unpack(specification: CodecSpecification, payload: bytes, samples: int) -> NDArray[np.uint8]:
    """Undoes :func:`pack`.

    Args:
        specification: The codec.
        payload: Packed bytes of all samples.
        samples: How many.

    Returns:
        Codes [samples, codes].

    Raises:
        PackingError: The length is wrong, a code has no level, or padding is not 0.
    """
    each = packed_bytes(specification)
    if len(payload) != each * samples:
        raise PackingError(f"{len(payload)} bytes are not {samples} samples of {each}")
    rows = np.frombuffer(payload, np.uint8).reshape(samples, each)
    found = np.zeros((samples, specification.codes), np.uint8)
    offset = 0
    for start, stripe, count, size in _parts(specification):
        if not size:
            continue
        bits = np.unpackbits(rows[:, offset : offset + size], axis=1, bitorder="little")
        offset += size
        used = count * stripe.bits
        if bits[:, used:].any():
            raise PackingError("padding is not 0")
        places = bits[:, :used].reshape(samples, count, stripe.bits)
        values = (places << np.arange(stripe.bits, dtype=np.uint8)).sum(axis=2, dtype=np.uint16)
        if values.max(initial=0) >= stripe.levels:
            raise PackingError(f"a code is not below {stripe.levels}")
        found[:, start : start + count] = values
    return found


def check_levels(specification: CodecSpecification, codes: NDArray[np.uint8]) -> bool:
    """Whether every code is below the levels of its stripe."""
    return all(
        int(planes[:, first : first + stripe.channels].max(initial=0)) < stripe.levels
        for feature, planes in feature_codes(specification, codes)
        for first, stripe in _starts(feature.stripes)
    )


def _starts(stripes: tuple[Stripe, ...]) -> Iterator[tuple[int, Stripe]]:
    first = 0
    for stripe in stripes:
        yield first, stripe
        first += stripe.channels


def _parts(specification: CodecSpecification) -> Iterator[tuple[int, Stripe, int, int]]:
    """First code, stripe, number of codes and bytes of each stripe of a sample."""
    start = 0
    for feature in specification.features:
        rows, columns = feature.code_plane
        for stripe in feature.stripes:
            count = stripe.channels * rows * columns
            size = -(-count * stripe.bits // 8) if stripe.levels > 1 else 0
            yield start, stripe, count, size
            start += count
