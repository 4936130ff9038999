"""The benchmark of this machine's speed: its table, its picture, and the files it makes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.host_speed.networks import Network, make_files
from benchmarks.host_speed.report import draw, table
from benchmarks.host_speed.run import measure

DIGITS = Path(__file__).parents[2] / "sample_models" / "digits"

_DATA = {
    "rows": [
        {"network": "kws", "runtime": name, "p10_us": time, "median_us": time, "samples": 3}
        for name, time in (
            ("c, vnni", 20.0),
            ("c, portable", 2000.0),
            ("LiteRT int8, XNNPACK", 50.0),
        )
    ],
    "versions": {"onnxruntime": "1"},
    "left_out": {"vww": "it is not there"},
    "environment": {"processor": "a processor", "date": "2020-01-01"},
}


def test_the_table_compares_with_the_fastest_c():
    text = table(_DATA)

    assert "| c, vnni | **20.0** |" in text
    assert "| c, portable | 2,000 |" in text
    assert "| LiteRT int8, XNNPACK | 50.0 (2.50) |" in text
    assert "Left out: vww: it is not there" in text


def test_the_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    draw(_DATA, tmp_path / "x.png")

    assert (tmp_path / "x.png").stat().st_size > 1000


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler")
def test_every_runtime_runs_the_same_network(tmp_path):
    files = make_files(Network("digits", None, "digits.onnx"), DIGITS, tmp_path)
    rows, failed = measure("digits", files, 2, 1.0)

    assert failed == []
    names = [row.runtime for row in rows]
    assert "c, portable" in names
    assert names[-4:] == [
        "LiteRT int8, XNNPACK",
        "LiteRT int8, built-in kernels",
        "onnxruntime float",
        "onnxruntime U8S8",
    ]
    assert all(0 < row.p10_us <= row.median_us for row in rows)
