"""The benchmark of single operators measures what its table says."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.operators.run import measure, table
from tests.property.tflite_runtimes import Runtimes


@pytest.fixture
def runtimes():
    found = Runtimes()
    yield found
    found.close()


def test_rows_count_cases_and_values(runtimes):
    exact = measure("ADD", "int8", "litert", 3, runtimes)
    assert (exact.cases, exact.differing, exact.largest) == (3, 0, 0)
    assert exact.values > 100
    known = measure("AVERAGE_POOL_2D", "uint8", "litert", 8, runtimes)
    assert known.differing > 0
    assert known.largest == 1
    data = {
        "rows": [dataclasses.asdict(exact), dataclasses.asdict(known)],
        "versions": {"ai-edge-litert": "1"},
        "environment": {"date": "2020-01-01"},
    }
    text = table(data)
    assert f"| ADD, int8 |  |  | {exact.values:,} | **0** |" in text
    assert f"**{known.differing:,}** (1)" in text
    assert "| AVERAGE_POOL_2D, uint8 |  | — |" in text
    assert "the uint8 kernel rounds otherwise" in text
