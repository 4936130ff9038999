"""Layers of added tables on emulated AArch64, bit for bit against the formula."""

import pytest

from tests.targets.c.kernels.neon_programs import CHECKS, Cases, needs_tools
from tests.targets.c.random_layers import Maker

pytestmark = needs_tools


@pytest.mark.parametrize("entries", ["int16", "int8"])
def test_rows_are_added(entries):
    maker, cases = Maker(41), Cases(41)
    for kind in ("dense", "groups", "connected", "dense"):
        cases.add(maker.additive_tables(kind, entries))
    cases.check("neon", CHECKS, special=3)


def test_channels_apart_are_left_to_plain_c():
    maker, cases = Maker(42), Cases(42)
    cases.add(maker.additive_tables("depthwise"))
    cases.check("neon", CHECKS, special=0)
