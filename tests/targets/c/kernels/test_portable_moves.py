"""Portable moves, takes and float borders equal their formulas, bit by bit."""

import numpy as np

from intaglio.targets.c.kernels.portable.border import cross_border
from intaglio.targets.c.kernels.portable.move import move
from intaglio.targets.c.network import Block
from tests.targets.c.harness import network_of, run
from tests.targets.c.random_layers import Maker


def test_moves(capfd):
    maker = Maker(1)
    for dtype in ("int8", "int16"):
        maker.transpose((3, 4, 5), (2, 1, 0), dtype)
        maker.transpose((2, 3, 4, 5), (3, 1, 0, 2), dtype)
        maker.transpose((2, 3, 2, 3, 2, 5), (4, 2, 0, 3, 1, 5), dtype)
        maker.transpose((2, 3, 2, 3, 2), (4, 2, 0, 3, 1), dtype)
        # Concat of three, one of them a constant.
        blocks = [Block(i, (4, 3), (3, 1), 0, (9, 1), 3 * i) for i in range(3)]
        maker.move([(4, 3)] * 3, (4, 9), blocks, dtype=dtype, constant=(1,))
        # Padding, by bytes that are alike and by others.
        for fill in (0, -1, -128, 77):
            block = Block(0, (2, 3), (3, 1), 0, (5, 1), 6)
            maker.move([(2, 3)], (4, 5), [block], fill, dtype)
        # A whole copy, a part of it, one element, a reversal, steps, a repetition, nothing.
        maker.move([(12,)], (12,), [Block(0, (12,), (1,), 0, (1,), 0)], dtype=dtype)
        maker.move([(12,)], (5,), [Block(0, (5,), (1,), 3, (1,), 0)], dtype=dtype)
        maker.move([(12,)], (1,), [Block(0, (), (), 7, (), 0)], dtype=dtype)
        maker.move([(12,)], (12,), [Block(0, (12,), (-1,), 11, (1,), 0)], dtype=dtype)
        maker.move([(4, 6)], (2, 2), [Block(0, (2, 2), (12, -3), 4, (2, 1), 0)], dtype=dtype)
        maker.move([(4,)], (3, 4), [Block(0, (3, 4), (0, 1), 0, (4, 1), 0)], dtype=dtype)
        maker.move([(4,)], (4,), [Block(0, (0, 4), (4, 1), 0, (4, 1), 0)], fill=3, dtype=dtype)
        maker.move([(4,)], (3,), [Block(0, (3,), (0,), 2, (1,), 0)], dtype=dtype)
        sizes, strides = (2, 2, 2, 3), (-12, 6, -3, 1)
        maker.move([(24,)], (24,), [Block(0, sizes, strides, 15, (12, 6, 3, 1), 0)], dtype=dtype)
    results = maker.check(capfd)
    assert np.mean([len(np.unique(x)) > 1 for x in results if x.size > 1]) > 0.8


def test_a_run_is_one_memcpy():
    maker = Maker(2)
    layer = maker.move([(12,)], (5,), [Block(0, (5,), (1,), 3, (1,), 0)], dtype="int16")
    assert move(layer, "portable", 0).call == "memcpy(y, x0 + 3, 10u);"


def test_takes(capfd):
    maker = Maker(3)
    for dtype in ("int8", "int16"):
        maker.take(3, 5, 7, 9, dtype)
        maker.take(1, 5, 1, 9, dtype)
        maker.take(4, 1, 1, 2, dtype)
        maker.take(2, 6, 3, 0, dtype)
        maker.take(1, 70000, 2, 20, dtype)
    results = maker.check(capfd)
    assert results[4].size == 40


def border_values(scale):
    """Ties and their neighbours, rails and far beyond, numbers that are none."""
    steps = np.arange(-300, 300, dtype=np.float32) + np.float32(0.5)
    ties = (steps * np.float32(scale)).astype(np.float32)
    near = [np.nextafter(ties, np.float32(sign)) for sign in (-np.inf, np.inf)]
    rails = np.float32(scale) * np.array([32767, 32767.5, 32768, -32768.5, -32769, 4e9], np.float32)
    special = np.array([0, -0.0, 1e-45, 3e38, -3e38, np.inf, -np.inf], np.float32)
    return np.concatenate([ties, *near, rails, special]).astype(np.float32)


def test_float_borders(capfd):
    maker = Maker(4)
    for dtype in ("int8", "int16"):
        for scale in (1.0, 0.5, 0.1, 0.00390625, 0.0235294122248888, 3e-5, 40.0):
            maker.border(dtype, scale, border_values(scale))
            maker.border(dtype, scale)
    results = maker.check(capfd, builds=[("-O3",), ("-O0", "-fsanitize=undefined")])
    assert any(-128 in result and 127 in result for result in results if result.dtype == np.int8)


def test_not_a_number_gives_the_smallest(capfd):
    maker = Maker(5)
    layer = maker.border("int8", 0.5, np.array([np.nan, 1.0], np.float32))
    code = cross_border(layer, "portable", 0)
    assert "0.5f" in code.call
    result = run(network_of(layer), maker.arrays)[layer.output.name]
    zero_point = layer.output.zero_point
    assert result.tolist() == [-128, min(127, 2 + zero_point)]
