"""What layers cost, and which pay."""

from __future__ import annotations

import pytest

from intaglio.passes.tables.cost import (
    WITH_MULTIPLIER,
    WITHOUT_MULTIPLIER,
    choose,
    figures,
    format_seconds,
    predict,
)
from intaglio.report.tables_cost import tables_section


def test_counts_of_a_layer():
    cost = predict("conv", "Conv", 100, 72, (64, 4), WITHOUT_MULTIPLIER)
    assert (cost.products, cost.lookups) == (7200, 14400)
    assert (cost.weight_bytes, cost.table_bytes) == (72, 136 * 72)
    assert cost.seconds == pytest.approx(7200 * 40 / 48e6)
    assert cost.table_seconds == pytest.approx(14400 * 6 / 48e6)
    assert cost.speedup == pytest.approx(40 / 12)


@pytest.mark.parametrize(("rows", "bytes_each"), [((256,), 512), ((64, 4), 136), ((16, 16), 64)])
def test_bytes_of_a_weight(rows, bytes_each):
    assert predict("conv", "Conv", 1, 10, rows, WITH_MULTIPLIER).table_bytes == 10 * bytes_each


def test_tables_beyond_the_cache_are_read_slower():
    small = predict("a", "Conv", 1, 1000, (256,), WITH_MULTIPLIER)
    large = predict("b", "Conv", 1, 10000, (256,), WITH_MULTIPLIER)
    assert large.table_seconds == pytest.approx(40 * small.table_seconds)


def test_what_saves_most_for_a_byte_goes_first():
    costs = [
        predict("many bytes", "Gemm", 1, 100, (256,), WITHOUT_MULTIPLIER),
        predict("few bytes", "Conv", 50, 100, (256,), WITHOUT_MULTIPLIER),
        predict("fits beside", "Conv", 1, 20, (256,), WITHOUT_MULTIPLIER),
    ]
    decided = choose(costs, 120 * 512)
    assert [cost.substituted for cost in decided] == [False, True, True]
    assert "no room" in decided[0].reason
    assert "tables pay" in decided[1].reason


def test_with_a_multiplier_nothing_pays():
    [cost] = choose([predict("conv", "Conv", 50, 9, (256,), WITH_MULTIPLIER)], 1 << 30)
    assert not cost.substituted
    assert figures(cost) in cost.reason
    assert "450 look-ups in 4,608 bytes" in cost.reason


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5, "2.5 s"), (0.0125, "12.5 ms"), (3e-6, "3 µs"), (4e-10, "0.4 ns"), (0.0, "0 ns")],
)
def test_times_have_units(seconds, text):
    assert format_seconds(seconds) == text


def test_the_report_shows_bytes_after_pruning():
    cost = predict("conv", "Conv", 10, 9, (64, 4), WITHOUT_MULTIPLIER)
    [chosen] = choose([cost], 1 << 20)
    facts = {"layers": [chosen.to_dict()], "split": "6/2", "multiplier": False}
    pruned = {"layers": [{"layer": "conv", "bytes": 500}, {"layer": "conv", "bytes": 40}]}
    steps = [
        {"name": "tables.substitute_convolutions", "facts": facts},
        {"name": "tables.prune_rows", "facts": pruned},
    ]
    section = tables_section(steps)
    assert section is not None
    assert section["table_bytes"] == 540
    assert section["rows"][0]["verdict"] == "tables"
    assert tables_section(steps[1:]) is None
