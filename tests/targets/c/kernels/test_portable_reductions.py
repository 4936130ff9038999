"""Portable products, pools and reductions equal their formulas, bit by bit."""

import itertools

import numpy as np
import pytest

from intaglio.targets.c.kernels.portable.reduction import reduce_axes
from intaglio.targets.c.network import Pool, Window
from tests.targets.c.random_layers import Maker


def distinct(results):
    return np.mean([len(np.unique(x)) > 1 for x in results if x.size > 1])


def test_products(capfd):
    maker = Maker(1)
    for _ in range(8):
        maker.product()
    for rounding in ("single", "double", "real", "wide"):
        maker.product(rounding=rounding, sizes=(3, 65, 33))
    for rounding in ("real", "wide"):
        maker.product("int16", "int16", rounding)
        maker.product("int16", "int8", rounding, sizes=(2, 300, 40))
    # One product of two int16 numbers reaches 2^30, and 2^31 does not fit.
    maker.product("int16", "int16", "double", sizes=(4, 1, 50))
    maker.product("int16", "int8", sizes=(4, 200, 5))
    maker.product(sizes=(1, 1, 1))
    assert distinct(maker.check(capfd)) > 0.55


def test_pools(capfd):
    maker = Maker(2)
    for average, dtype in itertools.product((False, True), ("int8", "int16")):
        for _ in range(8):
            maker.pool(average, dtype)
    x = maker.tensor("int8", (1, 7, 8, 33))
    window = Window((7, 8, 33), (3, 4, 33), (3, 3), dilations=(2, 3), pads=(0, 1))
    maker.add(Pool("dilated", (x,), maker.output((1, 3, 4, 33), "int8"), (), window, False))
    # Ties of both signs: averages of two numbers.
    x = maker.tensor("int8", (1, 2, 1, 255), np.arange(510).reshape(1, 2, 1, 255) % 255 - 127)
    window = Window((2, 1, 255), (1, 1, 255), (2, 1))
    maker.add(Pool("ties", (x,), maker.output((1, 1, 1, 255), "int8"), (), window, True))
    results = maker.check(capfd)
    assert distinct(results) > 0.9


def test_a_large_average_of_int16_needs_64_bits(capfd):
    maker = Maker(3)
    image = np.full((1, 256, 260, 2), -32768, np.int16)
    image[..., 1] = 32767
    x = maker.tensor("int16", image.shape, image)
    window = Window((256, 260, 2), (1, 1, 2), (256, 260))
    maker.add(Pool("all", (x,), maker.output((1, 1, 1, 2), "int16"), (), window, True))
    maker.reduction(image.shape, (0, 1, 2), dtype="int16", rounding="wide")
    results = maker.check(capfd)
    assert results[0].reshape(-1).tolist() == [-32768, 32767]


SHAPES = ((1, 4, 5, 40), (2, 3, 4, 3), (1, 1, 7), (5,), (3, 1, 2, 1, 4), (2, 3, 2, 2, 3, 2))


@pytest.mark.parametrize("kind", ["sum", "max", "min"])
def test_reductions_over_any_axes(kind, capfd):
    maker = Maker(4)
    for shape in SHAPES:
        subsets = [
            axes
            for count in range(1, len(shape) + 1)
            for axes in itertools.combinations(range(len(shape)), count)
        ]
        for place in maker.random.permutation(len(subsets))[:4]:
            dtype = maker.pick("int8", "int16")
            rounding = maker.pick("double", "single", "wide", "real") if kind == "sum" else None
            maker.reduction(shape, subsets[place], kind, dtype, rounding)
    # Three groups of reduced axes and three of kept ones.
    maker.reduction(SHAPES[-1], (0, 2, 4), kind)
    maker.reduction(SHAPES[-1], (1, 3, 5), kind)
    if kind == "sum":
        maker.reduction(SHAPES[1], (1, 2), kind, "int8", "double", output="int16")
    assert distinct(maker.check(capfd)) > 0.55


def test_layers_of_a_pattern_share_a_function():
    maker = Maker(5)
    first = maker.reduction((1, 4, 5, 40), (1, 2), rounding="wide")
    second = maker.reduction((1, 7, 1, 3), (1, 2), rounding="wide")
    texts = {reduce_axes(layer, "portable", 0).functions[0].text for layer in (first, second)}
    assert len(texts) == 1
    assert "reduce_sum_rk_int8_wide" in texts.pop()
