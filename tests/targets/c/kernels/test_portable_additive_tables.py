"""Layers of added tables in C equal their formula, bit by bit, on every processor kind here."""

import numpy as np
import pytest

from intaglio.targets.c.kernels.choose import implement
from intaglio.targets.c.kernels.portable.additive_tables import blocked, store
from intaglio.targets.c.network import IndexedTables, Window
from tests.targets.c.harness import runs_here
from tests.targets.c.random_layers import Maker

KINDS = ("dense", "groups", "depthwise", "multiplied", "connected")
VARIANTS = [
    pytest.param(name, marks=pytest.mark.skipif(not runs_here(name), reason="no such processor"))
    for name in ("portable", "avx2", "vnni")
]
#: It stops with a message where C leaves something undefined.
BUILDS = (("-O1", "-fsanitize=undefined"),)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("entries", ["int16", "int8"])
def test_every_kind_of_layer(variant, entries, capfd):
    maker = Maker(21)
    for kind in (*KINDS, "dense"):
        maker.additive_tables(kind, entries)
    maker.additive_tables("dense", entries, "int16")
    results = maker.check(capfd, variant=variant, builds=BUILDS, memory=100_000)
    varied = [len(np.unique(result)) > 1 for result in results if result.size > 1]
    assert np.mean(varied) > 0.4


@pytest.mark.parametrize("variant", VARIANTS)
def test_many_taps_of_8_bits_do_not_overflow(variant, capfd):
    maker = Maker(22)
    window = Window((1, 1, 600), (1, 1, 3), (1, 1))
    layer = maker.additive_tables("dense", "int8", window=window)
    for branch in layer.branches:
        branch.tables[:, ::2], branch.tables[:, 1::2] = -128, 127
    maker.check(capfd, variant=variant, builds=BUILDS)


@pytest.mark.skipif(not runs_here("avx2"), reason="no AVX2")
def test_avx2_has_its_own_function():
    maker = Maker(24)
    assert "avx2_look_up_int16" in implement(maker.additive_tables("dense"), "avx2", 0).call
    assert "avx2" not in implement(maker.additive_tables("depthwise"), "avx2", 0).call


def test_rows_that_the_clamp_makes_up_for_are_not_stored():
    tables = np.zeros((3, 10, 2), np.int16)
    tables[0, 4:7] = np.arange(6).reshape(3, 2) + 1
    tables[0, 7:] = tables[0, 6]
    tables[2] = 5
    stored = store(IndexedTables(tables, low=-5))
    # The second tap adds nothing; the third is one row.
    assert stored.taps.tolist() == [[0, 0, -2, 3], [2, 4, -5, 0]]
    assert stored.tables.tolist() == [[0, 0], [1, 2], [3, 4], [5, 6], [5, 5]]


def test_blocks_of_16_outputs_lie_apart():
    tables = np.arange(2 * 3 * 40).reshape(2, 3, 40).astype(np.int16) + 1
    stored = store(IndexedTables(tables))
    flat = blocked(stored, 2)
    assert flat.size == tables.size
    # Each group has a block of 16 and one of 4.
    assert flat[:16].tolist() == tables[0, 0, :16].tolist()
    assert flat[16 * 6 : 16 * 6 + 4].tolist() == tables[0, 0, 16:20].tolist()
    assert flat[20 * 6 : 20 * 6 + 16].tolist() == tables[0, 0, 20:36].tolist()
