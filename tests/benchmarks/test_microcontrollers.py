"""The benchmark of boards measures what its tables say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import intaglio
from benchmarks.microcontrollers import figure
from benchmarks.microcontrollers.peers import MICRO, NETWORKS
from benchmarks.microcontrollers.run import SAMPLES, Layer, Row, measure_network, row
from benchmarks.microcontrollers.tables import layers, table
from intaglio.targets.c.boards import BOARDS, missing_packages

DIGITS = Path(__file__).parents[2] / "sample_models" / "digits"


def _row(network, board, **changes):
    made = Row(
        network, board, 12_345_678.0, 12_345_000, 12_346_000, None, 90_000, 5_000, 80_000, 50_000,
        472, 50, 0, (Layer("conv", "Convolution", 1000, 2500.0),),
    )  # fmt: skip
    return dataclasses.asdict(dataclasses.replace(made, **changes))


def _data(*rows):
    return {
        "rows": list(rows),
        "optimization": "-O2",
        "samples": SAMPLES,
        "compiler": "gcc 1",
        "emulator": "QEMU 1",
        "left_out": {"KWS": "it is not there"},
        "environment": {"date": "2020-01-01"},
    }


def test_every_board_has_figures_of_the_peer():
    assert set(MICRO) == set(BOARDS)
    assert all(set(found) == set(NETWORKS) for found in MICRO.values())


def test_tables_put_ours_beside_the_peer():
    data = _data(
        _row("ResNet8", "cortex-m4", cycles=20_000_000, differing=3),
        _row("VWW", "cortex-m55"),
    )
    text = table(data)

    assert (
        "| ResNet8, cortex-m4 | **12,345,678** | 29,863,150 | 0.41 | 20.00 | 36.40 | 3 of 50 |"
    ) in text
    # Of the peer's two optimizations the better is what we are divided by.
    assert "| 6,557,952 (6,433,605) | 1.92 |" in text
    assert "| **emitted C, modelled** | 20.00 |  |  |" in text
    assert "Left out: KWS: it is not there" in text
    assert "| conv (Convolution) | 1,000 | 2,500 | 2.50 | 0.0 % |" in layers(data)


def test_the_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    figure.write(_data(_row("KWS", "cortex-m7")), tmp_path / "x.png")

    assert (tmp_path / "x.png").stat().st_size > 1000


@pytest.mark.skipif(
    bool(missing_packages()), reason=f"needs the Debian packages {' '.join(missing_packages())}"
)
def test_a_row_has_the_figures_of_a_run(tmp_path):
    bundle = intaglio.convert(
        DIGITS / "digits.onnx",
        targets=["onnx-integer", "c"],
        calibration=DIGITS / "calibration.npz",
        out=tmp_path / "digits",
    )
    found = row("digits", bundle, measure_network(bundle, BOARDS["cortex-m4"], "-O2"))

    assert (found.values, found.differing) == (SAMPLES * 10, 0)
    assert found.least <= found.instructions <= found.most
    assert found.cycles
    assert sum(layer.macs for layer in found.layers) == 86_848
    assert found.flash_bytes > found.code_bytes + found.weight_bytes
