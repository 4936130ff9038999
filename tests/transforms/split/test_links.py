from __future__ import annotations

import pytest

from intaglio.transforms.split.links import Link, describe_bandwidth, parse_bandwidth


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("1Mbps", 1e6),
        ("500kbps", 5e5),
        ("500 Kbit/s", 5e5),
        ("10Mbit/s", 1e7),
        ("10 mbps", 1e7),
        ("2.5Gb/s", 2.5e9),
        ("2MB/s", 1.6e7),
        ("1kBps", 8e3),
        ("3 Mbytes/s", 2.4e7),
        ("1e6", 1e6),
        ("1.5E3bps", 1.5e3),
        (".5M", 5e5),
        ("64", 64.0),
    ],
)
def test_bandwidths_are_read(text, bits):
    assert parse_bandwidth(text) == bits


@pytest.mark.parametrize(
    "text",
    ["", "fast", "Mbps", "1Tbps", "1 MBPS", "-1Mbps", "1Mbps/s", "0", "0kbps", "1e999", "nan"],
)
def test_what_is_no_bandwidth_is_refused_with_the_text(text):
    with pytest.raises(ValueError, match="bandwidth") as caught:
        parse_bandwidth(text)
    assert repr(text) in str(caught.value)


def test_bandwidths_are_told_in_the_largest_unit():
    told = [describe_bandwidth(bits) for bits in (2.5e9, 1e6, 5e5, 64)]
    assert told == ["2.5 Gbit/s", "1 Mbit/s", "500 kbit/s", "64 bit/s"]


def test_a_sample_takes_the_time_of_device_link_and_server():
    link = Link(bandwidth=1000, device_gops=2, server_gops=50)
    assert link.seconds(10**9, 0, 0) == 1
    assert link.seconds(0, 500, 0) == 0.5
    assert link.seconds(0, 0, 10**9) == 0.04
    assert link.seconds(10**9, 500, 10**9) == pytest.approx(1.54)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_speeds_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="device_gops"):
        Link(1e6, value, 1)
