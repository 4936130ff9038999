"""Portable convolutions equal their formula, bit by bit, for shapes and constants with corners."""

import numpy as np
import pytest

from intaglio.targets.c.kernels.portable.convolution import convolve
from intaglio.targets.c.network import Window
from tests.targets.c.random_layers import INT32_LIMIT, Maker
from tests.targets.c.reference import accumulators

KINDS = ("dense", "groups", "depthwise", "multiplied", "connected")


def distinct(results):
    """Share of outputs that are not one value only."""
    return np.mean([len(np.unique(result)) > 1 for result in results if result.size > 1])


#: Enough for every window that is gathered.
MEMORY = 100_000


@pytest.mark.parametrize(("seed", "memory"), [(1, 0), (2, MEMORY)])
def test_int8(seed, memory, capfd):
    maker = Maker(seed)
    for kind in KINDS * 7:
        maker.convolution(kind)
    for kind in KINDS:
        maker.convolution(kind, rounding="real")
        maker.convolution(kind, rounding="wide")
    assert distinct(maker.check(capfd, memory=memory)) > 0.7


@pytest.mark.parametrize(("seed", "memory"), [(3, 0), (13, MEMORY)])
def test_int16(seed, memory, capfd):
    maker = Maker(seed)
    for kind in KINDS * 2:
        maker.convolution(kind, "int16")
        maker.convolution(kind, "int16", wide=True)
    for kind in KINDS:
        maker.convolution(kind, "int16", wide=True, rounding="real")
        maker.convolution(kind, "int8", output="int16")
        maker.convolution(kind, "int16", output="int8")
    # Wide sums take 256 products at a time.
    for size, filters in ((256, 5), (257, 4), (600, 3)):
        window = Window((1, 2, size), (1, 2, filters), (1, 1))
        weights = maker.values("int8", (filters, 1, 1, size))
        layer = maker.convolved(window, weights, dtype="int16", weight_zero_point=0, wide=True)
        assert "wide_sum" in convolve(layer, "portable", 0).call
    assert distinct(maker.check(capfd, memory=memory)) > 0.7


def test_weights_with_a_zero_point(capfd):
    maker = Maker(4)
    for kind in KINDS * 2:
        for zero_point in (-128, 127, 5):
            maker.convolution(kind, weight_zero_point=zero_point)
    assert distinct(maker.check(capfd, memory=MEMORY)) > 0.7


@pytest.mark.parametrize("memory", [0, MEMORY])
def test_geometry(memory, capfd):
    """Strides above the kernel, windows all in the padding, one column, kernels of image size."""
    maker = Maker(5)
    geometries = (
        Window((9, 9, 3), (2, 2, 5), (2, 2), strides=(7, 6)),
        Window((3, 4, 3), (9, 8, 5), (3, 3), pads=(5, 4)),
        Window((1, 1, 3), (3, 3, 5), (3, 3), pads=(2, 2)),
        Window((20, 1, 3), (10, 1, 5), (5, 1), strides=(2, 1), pads=(2, 0)),
        Window((20, 1, 3), (12, 1, 5), (5, 1), dilations=(2, 1)),
        Window((1, 20, 3), (1, 10, 5), (1, 4), strides=(1, 2), pads=(0, 1)),
        Window((6, 5, 3), (1, 1, 5), (6, 5)),
        Window((6, 5, 3), (2, 2, 5), (3, 2), strides=(3, 2), dilations=(2, 3), pads=(2, 1)),
        Window((6, 5, 3), (0, 2, 5), (3, 2)),
        Window((20, 18, 1), (6, 8, 5), (15, 11)),
    )
    for window in geometries:
        weights = maker.values("int8", (5, *window.kernel, 3 if window.image[2] == 3 else 1))
        maker.convolved(window, weights)
        if window.image[2] == 3:
            deep = Window(
                (*window.image[:2], 5), window.result, window.kernel, window.strides,
                window.dilations, window.pads,
            )  # fmt: skip
            maker.convolved(deep, maker.values("int8", (5, *window.kernel, 1)), groups=5)
    assert distinct(maker.check(capfd, memory=memory)) > 0.7


def test_sums_at_the_limits_of_32_bits_and_beyond(capfd):
    maker = Maker(6)
    for size, rounding in ((65535, "double"), (66051, "single"), (66500, "wide"), (70000, "real")):
        # 255 * 128 * 65793 < 2^31, so the last two need more.
        window = Window((1, 2, size), (1, 2, 2), (1, 1))
        weights = np.full((2, 1, 1, size), 127 if size == 66051 else -128, np.int8)
        array = np.full((1, 1, 2, size), -128)
        array[:, :, 1] = 127
        x = maker.tensor("int8", (1, 1, 2, size), array, zero_point=127)
        layer = maker.convolved(window, weights, rounding=rounding, x=x, weight_zero_point=0)
        largest = np.abs(accumulators(layer, [array.astype(np.int8)])).max()
        assert (largest >= INT32_LIMIT) == (rounding in ("wide", "real"))
        assert largest > INT32_LIMIT * 0.99
    maker.check(capfd)


def test_layers_of_the_same_types_share_a_function():
    maker = Maker(7)
    layers = [maker.convolution("dense", rounding="double", weight_zero_point=0) for _ in range(8)]
    made = [convolve(layer, "portable", 10000) for layer in layers]
    names = {code.functions[0].name for code in made}
    assert names <= {"convolution_int8_double", "convolution_int8_double_high"}
    assert len({code.functions[0].text for code in made}) == len(names)


def test_patches_only_where_there_is_memory_for_one():
    maker = Maker(9)
    x = maker.tensor("int8", (1, 5, 5, 2))
    for kernel, dilation, needed in ((3, 1, 18), (1, 1, 0), (1, 2, 0), (5, 1, 0), (2, 3, 8)):
        size = 5 - (kernel - 1) * dilation
        window = Window((5, 5, 2), (size, size, 3), (kernel,) * 2, dilations=(dilation,) * 2)
        weights = maker.values("int8", (3, kernel, kernel, 2))
        layer = maker.convolved(window, weights, x=x, weight_zero_point=0)
        assert convolve(layer, "portable", needed).scratch == needed
        assert "by_rows" not in convolve(layer, "portable", needed).call
        if needed:
            code = convolve(layer, "portable", needed - 1)
            assert "by_rows" in code.call
            assert code.scratch == 0


def test_without_padding_nothing_is_given_back():
    """The zero point is in the bias, and the call names it only where windows leave the image."""
    maker = Maker(8)
    x = maker.tensor("int8", (1, 5, 5, 2), zero_point=-77)
    weights = maker.values("int8", (3, 3, 3, 2))
    for pads, result in (((0, 0), 3), ((1, 1), 5), ((0, 0), 4)):
        window = Window((5, 5, 2), (result, result, 3), (3, 3), pads=pads)
        layer = maker.convolved(window, weights, x=x, weight_zero_point=0)
        code = convolve(layer, "portable", 0)
        arrays = {array.name: array.data for array in code.arrays}
        folded = layer.bias + 77 * weights.astype(int).sum((1, 2, 3))
        np.testing.assert_array_equal(arrays["bias"], folded)
        assert ("-77" in code.call) == (result != 3)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 140))
def test_more_of_them(seed, capfd):
    maker = Maker(seed)
    for _ in range(40):
        maker.convolution(dtype=maker.pick("int8", "int8", "int16"))
    maker.check(capfd, memory=MEMORY * (seed % 2))
