"""Convolutions with trained weights for Helium, on the emulated Cortex-M55."""

from __future__ import annotations

import pytest

from intaglio.targets.c.kernels.choose import implement
from intaglio.targets.c.network import Window
from tests.targets.c.kernels.test_trained_dsp import check, corners, kinds, on_board
from tests.targets.c.kernels.test_trained_portable import TrainedMaker

M55 = {"board": "cortex-m55", "processor": "mve"}


@on_board
@pytest.mark.parametrize("budget", [0, 60_000])
@pytest.mark.parametrize("make", [kinds, corners])
def test_layers_have_the_bits_of_the_formula(tmp_path, monkeypatch, make, budget):
    check(make(21), tmp_path, monkeypatch, budget, "-O2", (), **M55)


@on_board
def test_the_build_without_optimisation_has_the_bits_of_the_formula(tmp_path, monkeypatch):
    check(kinds(22), tmp_path, monkeypatch, 60_000, "-O0", (), **M55)


def test_dense_layers_are_vectors_and_depthwise_ones_those_of_dsp():
    maker = TrainedMaker(23)
    dense = Window((5, 5, 8), (5, 5, 8), (3, 3), pads=(1, 1))
    names = []
    for depth, groups in ((8, 1), (1, 8)):
        layer = maker.convolved_trained(
            dense, depth, groups, output="int8", wide=False, trained_bias=False, limit=127,
            rounding="double",
        )  # fmt: skip
        names.append(implement(layer, "mve", 10_000).functions[-1].name)
    assert names[0].startswith("mve_trained")
    assert names[1] == "dsp_trained_depthwise"
