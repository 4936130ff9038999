"""The codec of a cut: everything that device and server agree on once, as data.

A feature is one int8 tensor at the cut, ``[N, C]``, ``[N, C, T]`` or ``[N, C, H, W]``. On the wire
it is *codes*: small integers, one a place, in wire order (sample, feature, channel, row, column).
Channels come in the order ``Feature.order``; runs of them, the stripes, share one quantizer and
one set of frequency tables. Both sides know this specification; a frame carries its hash only.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from intaglio.transforms.split.restoration import Restoration

#: Version of the codec's definition; part of the hash.
VERSION = 1

#: Bits of a probability: the frequencies of a context sum to 2^12.
PROBABILITY_BITS = 12
TOTAL = 1 << PROBABILITY_BITS

CODINGS = ("raw", "packed", "rans")
RANGES = ("static", "dynamic")


@dataclasses.dataclass(frozen=True)
class Stripe:
    """A run of code channels with one quantizer.

    Attributes:
        channels: How many code channels it has.
        levels: Codes are 0 to ``levels - 1``; 1 to 256.
        encode: With static ranges the code of each int8 value, from -128 up: 256 entries. Empty
            with dynamic ranges, where the codes follow from the group's range.
        frequencies: For each context the frequency of each code, at least 1 each, summing to 4096.
            Empty where the coding is not ``rans``.
    """

    channels: int
    levels: int
    encode: tuple[int, ...] = ()
    frequencies: tuple[tuple[int, ...], ...] = ()

    @property
    def bits(self) -> int:
        """Bits of a packed code."""
        return max(1, (self.levels - 1).bit_length())


@dataclasses.dataclass(frozen=True)
class Feature:
    """How one tensor at the cut goes over the wire.

    Attributes:
        name: Name of the value in the integer graph.
        source: Name of the float tensor it stands for.
        shape: Its shape without the sample axis: ``(C,)``, ``(C, T)`` or ``(C, H, W)``.
        scale: Scale of its int8 values.
        zero_point: Their zero point.
        order: The channel of the tensor that each wire channel is; a permutation of 0..C-1.
        stripes: The stripes in wire order; their channels sum to C / share_channels.
        decode: For each wire channel the int8 value of each code (as many as its stripe's levels).
            Empty with dynamic ranges.
        ranges: ``static`` or ``dynamic``.
        tile: Side of the square tiles that have a range of their own; 0 for the whole plane.
            Dynamic ranges only.
        share_channels: Wire channels that share one code, one after the other; 1 for none.
        share_patch: Side of the square of places that share one code; 1 for none.
        caps: Largest left, upper and reference code that a context tells apart; 0 for no such
            context.
        references: For each code channel the code channel whose code at the same place is part of
            the context; -1 for none. It lies in an earlier group of ``lanes`` channels.
        lanes: States that the entropy coder interleaves: code channel c belongs to state
            ``c % lanes``.
        restoration: What the server filters the decoded feature with; None for nothing.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    order: tuple[int, ...]
    stripes: tuple[Stripe, ...]
    decode: tuple[tuple[int, ...], ...] = ()
    ranges: str = "static"
    tile: int = 0
    share_channels: int = 1
    share_patch: int = 1
    caps: tuple[int, int, int] = (0, 0, 0)
    references: tuple[int, ...] = ()
    lanes: int = 1
    restoration: Restoration | None = None

    @property
    def channels(self) -> int:
        """Channels of the tensor."""
        return self.shape[0]

    @property
    def plane(self) -> tuple[int, int]:
        """Rows and columns of a channel of the tensor."""
        rows, columns = (1, 1, *self.shape[1:])[-2:]
        return rows, columns

    @property
    def code_channels(self) -> int:
        """Channels of the codes."""
        return self.channels // self.share_channels

    @property
    def code_plane(self) -> tuple[int, int]:
        """Rows and columns of a channel of the codes; patches at the border may be cut short."""
        rows, columns = self.plane
        patch = self.share_patch
        return -(-rows // patch), -(-columns // patch)

    @property
    def elements(self) -> int:
        """Elements of the tensor in a sample."""
        return math.prod(self.shape)

    @property
    def codes(self) -> int:
        """Codes of a sample."""
        return self.code_channels * math.prod(self.code_plane)

    @property
    def contexts(self) -> int:
        """Contexts of a code."""
        return math.prod(cap + 1 for cap in self.caps)

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles of a plane of codes; one each without tiles."""
        if not self.tile:
            return 1, 1
        rows, columns = self.code_plane
        return -(-rows // self.tile), -(-columns // self.tile)

    @property
    def side_bytes(self) -> int:
        """Bytes of a sample's ranges: lowest and highest of each group, stripe by stripe."""
        if self.ranges == "static":
            return 0
        return 2 * len(self.stripes) * math.prod(self.tiles)

    @property
    def channel_stripes(self) -> tuple[int, ...]:
        """Index of the stripe of each code channel."""
        return tuple(i for i, stripe in enumerate(self.stripes) for _ in range(stripe.channels))


@dataclasses.dataclass(frozen=True)
class CodecSpecification:
    """The codec of all features of a cut.

    Attributes:
        features: One or two of them, in graph order.
        coding: ``raw`` (a byte a code), ``packed`` (bits) or ``rans`` (entropy coded).
        model_hash: SHA-256 of the source model's file, in hex: other weights, other session.
    """

    features: tuple[Feature, ...]
    coding: str = "rans"
    model_hash: str = ""

    @property
    def codes(self) -> int:
        """Codes of a sample."""
        return sum(feature.codes for feature in self.features)

    @property
    def elements(self) -> int:
        """Elements of a sample."""
        return sum(feature.elements for feature in self.features)

    @property
    def side_bytes(self) -> int:
        """Bytes of a sample's dynamic ranges."""
        return sum(feature.side_bytes for feature in self.features)

    @functools.cached_property
    def session(self) -> int:
        """The session: the first 32 bits of the specification's SHA-256, as an integer."""
        digest = hashlib.sha256(self.to_json().encode()).digest()
        return int.from_bytes(digest[:4], "little")

    def to_json(self) -> str:
        """The specification as JSON text; the same specification gives the same text."""
        data = {"version": VERSION, **dataclasses.asdict(self)}
        return json.dumps(data, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> CodecSpecification:
        """Reads what :meth:`to_json` wrote, and checks it.

        Raises:
            ValueError: It is no specification, or not a consistent one.
        """
        try:
            data = json.loads(text)
            if data.pop("version") != VERSION:
                raise ValueError("it is of another version")
            features = tuple(_feature(item) for item in data.pop("features"))
            found = cls(features=features, **data)
            found.check()
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"this is no codec specification: {error}") from error
        return found

    def check(self) -> CodecSpecification:
        """The specification itself where it is consistent.

        Raises:
            ValueError: It is not; the message says where.
        """
        if self.coding not in CODINGS:
            raise ValueError(f"coding is {self.coding!r}")
        if not self.features:
            raise ValueError("there is no feature")
        for feature in self.features:
            _check(feature, self.coding)
        return self


def _feature(data: Mapping[str, Any]) -> Feature:
    stripes = tuple(
        Stripe(
            int(item["channels"]),
            int(item["levels"]),
            tuple(item["encode"]),
            tuple(tuple(row) for row in item["frequencies"]),
        )
        for item in data["stripes"]
    )
    left, upper, reference = data["caps"]
    restoration = data["restoration"]
    return Feature(
        **{
            **data,
            "shape": tuple(data["shape"]),
            "order": tuple(data["order"]),
            "stripes": stripes,
            "decode": tuple(tuple(row) for row in data["decode"]),
            "caps": (left, upper, reference),
            "references": tuple(data["references"]),
            "restoration": None if restoration is None else _restoration(restoration),
        }
    )


def _restoration(data: Mapping[str, Any]) -> Restoration:
    rows, columns = data["kernel"]
    return Restoration(
        (rows, columns),
        tuple(tuple(row) for row in data["weights"]),
        tuple(data["biases"]),
        tuple(data["shifts"]),
    )


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def _check(feature: Feature, coding: str) -> None:
    name = feature.name
    _require(1 <= len(feature.shape) <= 3 and min(feature.shape) > 0, f"{name}: shape")
    _require(sorted(feature.order) == list(range(feature.channels)), f"{name}: order")
    _require(feature.ranges in RANGES, f"{name}: ranges")
    _require(feature.tile >= 0 and feature.share_patch >= 1, f"{name}: tile or share_patch")
    _require(
        feature.share_channels >= 1 and feature.channels % feature.share_channels == 0,
        f"{name}: share_channels",
    )
    _require(
        sum(stripe.channels for stripe in feature.stripes) == feature.code_channels
        and all(stripe.channels > 0 for stripe in feature.stripes),
        f"{name}: stripes do not add up to its channels",
    )
    _require(1 <= feature.lanes <= 64, f"{name}: lanes")
    _require(all(0 <= cap <= 255 for cap in feature.caps), f"{name}: caps")
    dynamic = feature.ranges == "dynamic"
    _require(not (feature.tile and not dynamic), f"{name}: tiles without dynamic ranges")
    for stripe in feature.stripes:
        _check_stripe(feature, stripe, coding)
    if not dynamic:
        levels = [feature.stripes[i].levels for i in feature.channel_stripes]
        of_wire = [level for level in levels for _ in range(feature.share_channels)]
        _require([len(row) for row in feature.decode] == of_wire, f"{name}: decode")
        _require(
            all(-128 <= value <= 127 for row in feature.decode for value in row),
            f"{name}: decode holds more than 8 bits",
        )
    if feature.restoration is not None:
        feature.restoration.check(feature.channels)
    if coding == "rans":
        _require(len(feature.references) == feature.code_channels, f"{name}: references")
        _require(
            all(
                -1 <= other < channel // feature.lanes * feature.lanes
                for channel, other in enumerate(feature.references)
            ),
            f"{name}: a reference lies in no earlier group of lanes",
        )


def _check_stripe(feature: Feature, stripe: Stripe, coding: str) -> None:
    name = feature.name
    _require(1 <= stripe.levels <= 256, f"{name}: levels")
    if feature.ranges == "static":
        _require(len(stripe.encode) == 256, f"{name}: encode")
        _require(all(0 <= c < stripe.levels for c in stripe.encode), f"{name}: encode")
    if coding == "rans":
        _require(len(stripe.frequencies) == feature.contexts, f"{name}: frequencies")
        for row in stripe.frequencies:
            _require(
                len(row) == stripe.levels and min(row) >= 1 and sum(row) == TOTAL,
                f"{name}: frequencies of a context do not sum to {TOTAL}",
            )
