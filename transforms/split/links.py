"""How long one sample takes from the device over a link through the server.

The three stages of one sample come after each other::

    seconds = 2 * device_macs / device_speed + bits / bandwidth + 2 * server_macs / server_speed

with speeds in operations a second, two of them to a multiply-accumulate. Latency and the headers of
the network are not in it.
"""

from __future__ import annotations

import dataclasses
import math
import re

_BANDWIDTH = re.compile(
    r"\s*(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
    r"\s*(?P<prefix>[kKmMgG]?)(?P<unit>[A-Za-z]*(?:/s)?)\s*"
)
_PREFIXES = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_OPERATIONS = 2


@dataclasses.dataclass(frozen=True)
class Link:
    """A device, a server, and what is between them.

    Attributes:
        bandwidth: Bits a second from device to server.
        device_gops: Speed of the device in 10^9 operations a second.
        server_gops: Speed of the server.
    """

    bandwidth: float
    device_gops: float
    server_gops: float

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, not a positive number")

    def seconds(self, device_macs: int, bits: float, server_macs: int) -> float:
        """Seconds of one sample: the formula of the module."""
        device = _OPERATIONS * device_macs / (self.device_gops * 1e9)
        server = _OPERATIONS * server_macs / (self.server_gops * 1e9)
        return device + bits / self.bandwidth + server


def parse_bandwidth(text: str) -> float:
    """Reads a bandwidth: ``1Mbps``, ``500 kbit/s``, ``2.5MB/s``, or a number of bits a second.

    Prefixes k, M and G are powers of 1000 in either case. ``b`` is a bit, ``B`` a byte.

    Args:
        text: The bandwidth.

    Returns:
        Bits a second.

    Raises:
        ValueError: The text is none, or not more than nothing.
    """
    found = _BANDWIDTH.fullmatch(text)
    bits = None if found is None else _bits_of_unit(found["unit"])
    if found is None or bits is None:
        raise ValueError(f"{text!r} is not a bandwidth such as 500kbps, 1Mbps or 10Mbit/s")
    value = float(found["number"]) * _PREFIXES[found["prefix"].lower()] * bits
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"a bandwidth of {text!r} cannot be used")
    return value


def describe_bandwidth(bits: float) -> str:
    """``bits`` a second in words: ``1 Mbit/s``."""
    for prefix, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if bits >= factor:
            return f"{bits / factor:g} {prefix}bit/s"
    return f"{bits:g} bit/s"


def _bits_of_unit(unit: str) -> int | None:
    """Bits in one of a unit, None where it is none."""
    if unit in ("", "bps", "b/s"):
        return 1
    if unit in ("Bps", "B/s"):
        return 8
    word = unit.lower()
    if word in ("bit", "bits", "bit/s", "bits/s", "bitps"):
        return 1
    return 8 if word in ("byte", "bytes", "byte/s", "bytes/s") else None
