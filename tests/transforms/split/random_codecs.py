"""Codecs and codes drawn by a numpy generator: consistent, and as odd as the definition allows."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.split.packing import pack
from intaglio.transforms.split.restoration import LARGEST_SHIFT, LEAST_SHIFT, Restoration
from intaglio.transforms.split.specification import (
    CODINGS,
    RANGES,
    TOTAL,
    CodecSpecification,
    Feature,
    Stripe,
)

#: What the frequencies of a context look like.
FREQUENCIES = ("even", "random", "one", "steep")
#: What codes look like: drawn evenly, the rarest ones, the most frequent ones, runs of one code.
CODES = ("even", "rare", "frequent", "runs")

LEVELS = (1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33, 64, 128, 255, 256)


@dataclasses.dataclass(frozen=True)
class Form:
    """What a feature is, apart from the numbers in its tables.

    Attributes:
        shape: Shape without the sample axis.
        levels: Levels of each stripe.
        share_channels: Channels that share a code; it divides the channels.
        share_patch: Side of the squares that share one.
        ranges: ``static`` or ``dynamic``.
        tile: Side of the tiles of dynamic ranges.
        caps: Caps of the contexts.
        lanes: States of the coder.
        frequencies: One of FREQUENCIES.
        references: Whether channels refer to others at all.
        filtered: Whether the server filters the feature.
    """

    shape: tuple[int, ...]
    levels: tuple[int, ...]
    share_channels: int = 1
    share_patch: int = 1
    ranges: str = "static"
    tile: int = 0
    caps: tuple[int, int, int] = (0, 0, 0)
    lanes: int = 1
    frequencies: str = "random"
    references: bool = True
    filtered: bool = False


def draw_form(generator: np.random.Generator) -> Form:
    """Any form of few elements."""
    rank = int(generator.integers(1, 4))
    share = int(generator.choice([1, 1, 1, 2, 3]))
    wire = int(generator.integers(1, 7))
    shape = (wire * share, *(int(generator.integers(1, 7)) for _ in range(rank - 1)))
    stripes = int(generator.integers(1, wire + 1))
    largest = int(generator.choice([2, 4, 16, 256]))
    levels = [level for level in LEVELS if level <= largest]
    dynamic = bool(generator.integers(0, 3) == 0)
    few_contexts = largest > 16
    return Form(
        shape,
        tuple(int(level) for level in generator.choice(levels, stripes)),
        share,
        int(generator.choice([1, 1, 1, 2, 3, 9])),
        RANGES[dynamic],
        int(generator.integers(0, 5)) if dynamic else 0,
        tuple(int(c) for c in generator.integers(0, 2 if few_contexts else 4, 3)),  # type: ignore[arg-type]
        int(generator.integers(1, 9)),
        str(generator.choice(FREQUENCIES)),
        bool(generator.integers(0, 4)),
        bool(generator.integers(0, 2)),
    )


def build_feature(generator: np.random.Generator, form: Form, name: str = "a") -> Feature:
    """A consistent feature of this form, with random tables."""
    channels = form.shape[0]
    wire = channels // form.share_channels
    contexts = int(np.prod([cap + 1 for cap in form.caps]))
    stripes = []
    for count, levels in zip(_parts(generator, wire, len(form.levels)), form.levels, strict=True):
        encode: tuple[int, ...] = ()
        if form.ranges == "static":
            # Half of them ascending as a fitted one, half of them anything.
            table = generator.integers(0, levels, 256)
            table = np.sort(table) if generator.integers(0, 2) else table
            encode = tuple(int(code) for code in table)
        rows = tuple(draw_frequencies(generator, levels, form.frequencies) for _ in range(contexts))
        stripes.append(Stripe(count, levels, encode, rows))
    decode = ()
    if form.ranges == "static":
        decode = tuple(
            tuple(int(value) for value in generator.integers(-128, 128, stripe.levels))
            for stripe in stripes
            for _ in range(stripe.channels * form.share_channels)
        )
    references = []
    for channel in range(wire):
        earlier = channel // form.lanes * form.lanes
        references.append(int(generator.integers(-1, earlier)) if form.references else -1)
    return Feature(
        name=name,
        source=f"{name}.float",
        shape=form.shape,
        scale=float(generator.uniform(0.001, 1)),
        zero_point=int(generator.integers(-128, 128)),
        order=tuple(int(c) for c in generator.permutation(channels)),
        stripes=tuple(stripes),
        decode=decode,
        ranges=form.ranges,
        tile=form.tile,
        share_channels=form.share_channels,
        share_patch=form.share_patch,
        caps=form.caps,
        references=tuple(references),
        lanes=form.lanes,
        restoration=draw_restoration(generator, channels) if form.filtered else None,
    )


def draw_restoration(generator: np.random.Generator, channels: int) -> Restoration:
    """A filter with any weights that it may have."""
    rows, columns = (int(side) for side in generator.choice([1, 3, 5], 2))
    inputs = rows * columns * int(generator.choice([1, channels]))
    weights = generator.integers(-128, 128, (channels, inputs))
    return Restoration(
        (rows, columns),
        tuple(tuple(row) for row in weights.tolist()),
        tuple(generator.integers(-(1 << 20), 1 << 20, channels).tolist()),
        tuple(generator.integers(LEAST_SHIFT, LARGEST_SHIFT + 1, channels).tolist()),
    )


def draw_frequencies(generator: np.random.Generator, levels: int, kind: str) -> tuple[int, ...]:
    """Frequencies of one context: at least 1 each, 4096 together."""
    left = TOTAL - levels
    if kind == "even":
        extra = np.full(levels, left // levels)
        extra[: left % levels] += 1
    elif kind == "one":
        # One code takes all that there is: the others are as rare as can be.
        extra = np.zeros(levels, np.int64)
        extra[int(generator.integers(0, levels))] = left
    else:
        steepness = 0.05 if kind == "steep" else 1.0
        shares = generator.dirichlet(np.full(levels, steepness) + 1e-3)
        extra = np.floor(shares * left).astype(np.int64)
        extra[int(generator.integers(0, levels))] += left - int(extra.sum())
    return tuple(int(f) + 1 for f in extra)


def draw_codec(
    generator: np.random.Generator, coding: str | None = None, features: int | None = None
) -> CodecSpecification:
    """A consistent specification of one or two small features."""
    count = int(generator.integers(1, 3)) if features is None else features
    made = tuple(
        build_feature(generator, draw_form(generator), name) for name in ("a", "b")[:count]
    )
    digits = generator.integers(0, 16, 64)
    found = CodecSpecification(
        made,
        str(generator.choice(CODINGS)) if coding is None else coding,
        "".join(f"{digit:x}" for digit in digits),
    )
    return found.check()


def draw_codes(
    generator: np.random.Generator,
    specification: CodecSpecification,
    samples: int,
    kind: str = "even",
) -> NDArray[np.uint8]:
    """Codes below the levels of their stripes: [samples, codes]."""
    parts = []
    for feature in specification.features:
        rows, columns = feature.code_plane
        for stripe in feature.stripes:
            shape = (samples, stripe.channels * rows * columns)
            parts.append(_draw_stripe(generator, stripe, shape, kind))
    return np.concatenate(parts, axis=1)


def _draw_stripe(
    generator: np.random.Generator, stripe: Stripe, shape: tuple[int, int], kind: str
) -> NDArray[np.uint8]:
    if kind == "runs":
        return np.repeat(generator.integers(0, stripe.levels, (shape[0], 1)), shape[1], 1).astype(
            np.uint8
        )
    allowed = np.arange(stripe.levels)
    if kind != "even" and stripe.frequencies:
        total = np.sum(stripe.frequencies, axis=0)
        limit = total.min() if kind == "rare" else total.max()
        allowed = np.flatnonzero(total == limit)
    return generator.choice(allowed, shape).astype(np.uint8)


def draw_ranges(
    generator: np.random.Generator, specification: CodecSpecification, samples: int
) -> NDArray[np.int8]:
    """Dynamic ranges with no end below its beginning: [samples, side_bytes]."""
    ends = generator.integers(-128, 128, (samples, specification.side_bytes // 2, 2))
    return np.sort(ends, axis=2).reshape(samples, -1).astype(np.int8)


def draw_features(
    generator: np.random.Generator, specification: CodecSpecification, samples: int
) -> dict[str, NDArray[np.int8]]:
    """int8 tensors that the codec takes, of widths from nothing to all of int8."""
    made = {}
    for feature in specification.features:
        low, high = np.sort(generator.integers(-128, 128, 2))
        values = generator.integers(low, high + 1, (samples, *feature.shape))
        made[feature.name] = values.astype(np.int8)
    return made


def payload_of(specification: CodecSpecification, codes: NDArray[np.uint8]) -> bytes:
    """The payload of codes as the specification's coding has it."""
    from intaglio.transforms.split.rans import encode

    if specification.coding == "rans":
        return encode(specification, codes)
    return pack(specification, codes) if specification.coding == "packed" else codes.tobytes()


def _parts(generator: np.random.Generator, total: int, count: int) -> list[int]:
    """Positive numbers that add up."""
    inner = np.sort(generator.choice(np.arange(1, total), count - 1, replace=False))
    return [int(n) for n in np.diff([0, *inner, total])]
