"""Indices of split values, and what tables take; the look-up itself is tested with the function."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.transforms.additive_tables import Index, LayerSize, split_index, storage


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", range(1, 8))
def test_split_indices_cover_their_rows_and_give_the_value_back(bits, signed):
    values = np.arange(-128, 128) if signed else np.arange(256)
    upper, lower = split_index(bits, signed)
    high = upper.rows(values, 1 << (8 - bits))
    low = lower.rows(values, 1 << bits)
    assert set(high) == set(range(1 << (8 - bits)))
    assert set(low) == set(range(1 << bits))
    np.testing.assert_array_equal(((high + upper.low) << bits) + low, values)


def test_indices_beyond_the_table_read_its_first_or_last_row():
    assert Index(low=-2).rows(np.array([-128, -3, -2, 0, 1, 2, 127]), 4).tolist() == [
        0, 0, 0, 2, 3, 3, 3,
    ]  # fmt: skip


def small(levels):
    return [LayerSize(9, 16, levels), LayerSize(16, 16, levels), LayerSize(16, 16, levels)]


def test_storage_of_the_small_network_with_full_rows():
    found = storage([small(64), small(4)])
    assert found.stored_bytes == 41 * 16 * 68 == 44_608
    assert found.unsplit_bytes == 167_936
    assert found.discretization_ratio == pytest.approx(3.765, abs=1e-3)
    # The paper: over 7, and 7.8 from rounded megabytes.
    assert found.separable_ratio == pytest.approx(7.957, abs=1e-3)
    # 256^9 rows of 16 bytes are 7.6e22.
    assert found.window_digits == 23
    assert "3.76x (DDM)" in str(found)
    assert "10^22 B" in str(found)


def test_storage_of_the_large_network():
    def large(levels):
        stage = [LayerSize(9 * 16, 1, levels), LayerSize(16, 16, levels)]
        return [LayerSize(9, 16, levels), LayerSize(16, 16, levels), *6 * stage,
                LayerSize(16, 16, levels)]  # fmt: skip

    found = storage([large(64), large(4)])
    assert found.unsplit_bytes == 764 * 1024
    # What the published 4.48 makes of it rounds to the published 171 KiB.
    assert round(found.unsplit_bytes / 1024 / 4.48) == 171


def test_ranges_of_tables_may_differ():
    rows = (64, 60, 1, *[50] * 6)
    pruned = storage([[LayerSize(9, 16, rows)]], entry_bytes=2)
    assert pruned.stored_bytes == 2 * 16 * sum(rows)
    with pytest.raises(ValueError, match="3 row counts for 9 tables"):
        storage([[LayerSize(9, 16, (1, 2, 3))]])


def test_branches_have_the_same_layers():
    with pytest.raises(ValueError, match="same layers"):
        storage([small(64), small(4)[:2]])
