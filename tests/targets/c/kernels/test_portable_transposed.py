"""Portable transposed convolutions equal their formula, bit by bit."""

import numpy as np
import pytest

from intaglio.targets.c.kernels.portable.transposed import convolve_transposed
from tests.targets.c.random_layers import Maker


def test_any_geometry_and_type(capfd):
    maker = Maker(1)
    for _ in range(20):
        maker.transposed()
    for rounding in ("real", "wide", "double", "single"):
        maker.transposed(rounding=rounding)
        maker.transposed("int16", rounding=rounding)
    for rounding in ("real", "wide", "wide"):
        layer = maker.transposed("int16", wide=True, rounding=rounding)
        assert "wide_sum" in convolve_transposed(layer, "portable", 0).call
        maker.transposed("int8", wide=True, rounding=rounding)
    results = maker.check(capfd)
    assert np.mean([len(np.unique(x)) > 1 for x in results if x.size > 1]) > 0.8


def test_a_table_of_offsets_only_where_there_is_a_zero_point():
    maker = Maker(2)
    for layer in (maker.transposed("int16"), *(maker.transposed() for _ in range(6))):
        names = {array.name for array in convolve_transposed(layer, "portable", 0).arrays}
        assert ("offsets" in names) == (layer.inputs[0].zero_point != 0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 120))
def test_more_of_them(seed, capfd):
    maker = Maker(seed)
    for _ in range(40):
        maker.transposed(maker.pick("int8", "int16"), wide=maker.pick(False, False, True))
    maker.check(capfd)
