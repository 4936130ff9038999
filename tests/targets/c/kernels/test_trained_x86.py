"""Convolutions with trained weights equal their formula bit by bit, on AVX2 and AVX-512."""

import dataclasses

import numpy as np
import pytest

from intaglio.targets.c.kernels.choose import implement
from intaglio.targets.c.network import Rescale, Window
from intaglio.transforms.fixed_point import Rounding
from tests.targets.c.harness import runs_here
from tests.targets.c.kernels.test_trained_portable import (
    KINDS,
    TrainedMaker,
    add_geometries,
    add_sums_at_the_limits,
    beside_fixed_ones,
    distinct,
)

VARIANTS = [
    pytest.param(name, marks=pytest.mark.skipif(not runs_here(name), reason=f"needs {name}"))
    for name in ("avx2", "vnni")
]
#: Each variant is built with optimisation, and so that undefined behaviour is found.
BUILDS = (("-O2",), ("-O1", "-fsanitize=undefined"))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", [1, 2])
def test_all_kinds(seed, variant, capfd):
    maker = TrainedMaker(seed)
    for kind in KINDS * 5:
        maker.trained(kind)
    for kind in KINDS:
        for rounding in ("double", "single", "wide", "real"):
            maker.trained(kind, rounding=rounding)
    assert distinct(maker.check(capfd, variant, BUILDS)) > 0.7


@pytest.mark.parametrize("variant", VARIANTS)
def test_geometry(variant, capfd):
    maker = TrainedMaker(3)
    add_geometries(maker)
    assert distinct(maker.check(capfd, variant, BUILDS)) > 0.7


@pytest.mark.parametrize("variant", VARIANTS)
def test_sums_at_the_limits(variant, capfd):
    maker = TrainedMaker(4)
    add_sums_at_the_limits(maker)
    maker.check(capfd, variant, BUILDS)


def end_of(layer, variant):
    """Which end a layer has: what its tiles call, or that it has none of its own."""
    code = implement(layer, variant, 0)
    if "x86_pack_trained" not in code.call:
        return "few" if "trained_dots" in code.call else "portable"
    texts = "".join(function.text for function in code.functions)
    if "finish_int" in texts:
        return "memory"
    return "wide" if "rescale_sums" in texts else "narrow"


@pytest.mark.parametrize("variant", ["avx2", "vnni"])
def test_each_kind_of_sum_has_its_end(variant):
    """What speed rests on: no layer with sums that vectors can end falls back to memory."""
    maker = TrainedMaker(5)
    typical = {"spread": "all", "trained_bias": False, "limit": 32767}

    def layer(channels, kernel=(1, 1), groups=1, size=(16, 20), output="int8", scale="double"):
        pads = tuple((k - 1) // 2 for k in kernel)
        window = Window((*size, channels), (*size, channels), kernel, pads=pads)
        made = maker.convolved_trained(
            window, channels // groups, groups, output=output, rounding=scale,
            wide=scale == "wide", **typical,
        )  # fmt: skip
        # A scale that sums of this size have.
        most = np.abs(maker.acc(made)).max()
        shift = 31 + int(np.ceil(np.log2(most / 127)))
        rescale = Rescale(Rounding(scale), np.array([3 << 29]), np.array([shift]), -3, -128, 127)
        return dataclasses.replace(made, rescale=rescale)

    assert end_of(layer(48), variant) == "narrow"
    assert end_of(layer(48, (3, 3), 48), variant) == "narrow"
    assert end_of(layer(48, (3, 3), scale="wide"), variant) == "wide"
    assert end_of(layer(48, output="int32"), variant) == "memory"
    assert end_of(layer(640, size=(1, 1), scale="wide"), variant) == "few"
    assert end_of(layer(48, (3, 3), 4), variant) == "portable"


@pytest.mark.parametrize("variant", VARIANTS)
def test_typical_layers(variant, capfd):
    """Many channels and pixels, with every number of registers and of pixels left over."""
    maker = TrainedMaker(6)
    for filters in (1, 8, 17, 31, 48, 80):
        for columns in (1, 5, 11):
            window = Window((4, columns, 6), (4, columns, filters), (1, 3), pads=(0, 1))
            maker.convolved_trained(window, 6, output="int8", rounding="double", wide=False)
            maker.convolved_trained(window, 6, output="int8", rounding="wide", wide=True)
            channels = max(filters, 2)
            window = Window((5, columns, channels), (5, columns, channels), (3, 3), pads=(1, 1))
            maker.convolved_trained(window, 1, channels, output="int8", rounding="double")
            maker.convolved_trained(window, 1, channels, output="int8", rounding="wide", wide=True)
    assert distinct(maker.check(capfd, variant, (("-O1", "-fsanitize=undefined"),))) > 0.7


@pytest.mark.parametrize("variant", VARIANTS)
def test_layers_beside_fixed_ones(variant, capfd):
    beside_fixed_ones(7).check(capfd, variant, BUILDS)
