"""Convolutions with trained weights equal their formula bit by bit, in portable C.

``TrainedMaker`` makes the layers for the tests of the other processors, too.
"""

import numpy as np
import pytest

from intaglio.targets.c.kernels.portable.trained import convolve_trained
from intaglio.targets.c.network import TrainedConvolution, Window
from tests.targets.c.random_layers import INT32_LIMIT, Maker
from tests.targets.c.reference import accumulators

KINDS = ("dense", "groups", "depthwise", "multiplied", "connected", "single")


class TrainedMaker(Maker):
    """Makes layers with trained weights, constant or in memory."""

    def trained(self, kind=None, window=None, depth=None, groups=None, **given):
        """A layer of a kind: as ``Maker.convolution``, or ``single`` (one channel in, any out)."""
        kind = kind or self.pick(*KINDS)
        if groups is None:
            groups = {"dense": 1, "connected": 1, "single": 1}.get(kind, self.integer(2, 5))
            if kind == "depthwise":
                groups = self.pick(2, 3, 8, 16, 33, 48, 70)
        if depth is None:
            depth = self.pick(1, 2, 3, 4, 7, 16, 21, 48)
        if kind in ("depthwise", "multiplied", "single"):
            depth = 1
        if kind == "connected":
            depth = self.integer(1, 700)
        if window is None:
            filters = groups * (1 if kind == "depthwise" else self.pick(1, 2, 5, 9, 17, 33, 48))
            window = self.window(groups * depth, filters)
            if kind == "connected":
                rows = self.integer(1, 9)
                window = Window((1, rows, depth), (1, rows, filters), (1, 1))
        return self.convolved_trained(window, depth, groups, **given)

    def convolved_trained(
        self, window, depth, groups=1, limit=None, wide=None, output=None, rounding=None,
        spread=None, zero_point=None, trained_bias=None, constant=None, moving=None,
    ):  # fmt: skip
        """A layer of this geometry whose sums use what the types allow.

        ``moving`` limits the trained bias, which may else be as large as sums allow.
        """
        shape = (window.result[2], *window.kernel, depth)
        products = int(np.prod(shape[1:]))
        limit = limit or self.pick(32767, 32767, 20000, 127)
        if rounding in ("double", "single"):
            limit = min(limit, (INT32_LIMIT - 1) // (products * 255))
        spread = spread or self.pick("all", "all", "rails", "signs", "small")
        x = self.tensor("int8", (1, *window.image), zero_point=zero_point)
        if spread == "signs":
            self.arrays[x.name][:] = 127 if x.zero_point < 0 else -128
        constant = self.pick(False, True) if constant is None else constant
        weights = self.tensor("int16", shape, self.weights(shape, limit, spread), 0, constant)
        bound = products * limit * 255
        if wide is None:
            more = rounding in (None, "wide", "real") and self.pick(False, False, False, True)
            wide = bound >= INT32_LIMIT or more
        fits = rounding in ("double", "single") or not wide
        room = INT32_LIMIT - 1 - bound if fits else 1 << 40
        reach = self.pick(0, min(room, bound // 4), min(room, bound // 20))
        bias = self.random.integers(-reach, reach, window.result[2], endpoint=True)
        inputs = [x, weights]
        if self.pick(False, True) if trained_bias is None else trained_bias:
            # A layer with a moving bias is called wide, whatever its sums need.
            if rounding in ("double", "single"):
                wide = self.pick(False, True)
            most = min((room - int(np.abs(bias).max(initial=0))) // 2, INT32_LIMIT - 1)
            most = min(most, moving or most)
            moving = self.random.integers(-most, most, window.result[2], endpoint=True)
            inputs.append(self.tensor("int32", moving.shape, moving, 0, constant))
        dtype = output or self.pick("int8", "int8", "int32")
        layer = TrainedConvolution(
            f"trained {len(self.layers)}", tuple(inputs), self.output((1, *window.result), dtype),
            (), window, bias, None, groups, limit, wide,
        )  # fmt: skip
        return self.scaled(layer, dtype, rounding)

    def weights(self, shape, limit, spread):
        """Weights all over, on the rails, with one sign, or small."""
        if spread == "rails":
            return self.random.choice(np.array([-limit, limit]), shape)
        if spread == "signs":
            return np.full(shape, self.pick(-limit, limit))
        most = 2 if spread == "small" else limit
        return self.random.integers(-most, most, shape, endpoint=True)

    def rescale(self, acc, channels, dtype, rounding=None, wide=False):
        """As for other convolutions; results of int32 have neither a zero point nor a clamp."""
        if dtype != "int32":
            return super().rescale(acc, channels, dtype, rounding, wide)
        made = super().rescale(acc, channels, "int32", rounding, wide)
        return type(made)(made.rounding, made.multiplier, made.shift)

    def zero_point(self, dtype):
        """Any for int8, with its rails; 0 for others."""
        return super().zero_point(dtype) if dtype == "int8" else 0

    def acc(self, layer):
        """Exact sums of a layer."""
        return accumulators(layer, [self.arrays[tensor.name] for tensor in layer.inputs])


GEOMETRIES = (
    Window((9, 9, 3), (2, 2, 5), (2, 2), strides=(7, 6)),
    Window((3, 4, 3), (9, 8, 5), (3, 3), pads=(5, 4)),
    Window((1, 1, 3), (3, 3, 5), (3, 3), pads=(2, 2)),
    Window((20, 1, 3), (10, 1, 5), (5, 1), strides=(2, 1), pads=(2, 0)),
    Window((20, 1, 3), (12, 1, 5), (5, 1), dilations=(2, 1)),
    Window((1, 20, 3), (1, 10, 5), (1, 4), strides=(1, 2), pads=(0, 1)),
    Window((6, 5, 3), (1, 1, 5), (6, 5)),
    Window((6, 5, 3), (2, 2, 5), (3, 2), strides=(3, 2), dilations=(2, 3), pads=(2, 1)),
    Window((6, 5, 3), (0, 2, 5), (3, 2)),
    Window((20, 18, 3), (6, 8, 5), (15, 11)),
    Window((6, 5, 3), (3, 3, 20), (1, 1), strides=(2, 2)),
    Window((6, 5, 3), (8, 7, 17), (1, 1), pads=(1, 1)),
)


def add_geometries(maker):
    """Strides above the kernel, windows all in the padding, one column, kernels of image size."""
    for window in GEOMETRIES:
        maker.convolved_trained(window, window.image[2])
        filters = 3 if window.result[2] == 5 else 6
        deep = Window(
            window.image, (*window.result[:2], filters), window.kernel, window.strides,
            window.dilations, window.pads,
        )  # fmt: skip
        maker.convolved_trained(deep, 1, groups=3)


def add_sums_at_the_limits(maker):
    """Sums next to 2^31 in 32 bits, and such as need more, with results of both types."""
    for products, wide in ((257, False), (256, True), (257, True), (258, True), (1500, True)):
        for kernel in ((1, 1), (1, products)):
            depth = products // kernel[1]
            window = Window((1, 7 * kernel[1], depth), (1, 7, 19), kernel, strides=(1, kernel[1]))
            for zero_point in (-128, 127):
                for dtype in ("int8", "int32"):
                    layer = maker.convolved_trained(
                        window, depth, spread="signs", limit=32767, wide=wide, output=dtype,
                        zero_point=zero_point, trained_bias=False,
                    )  # fmt: skip
                    assert np.abs(maker.acc(layer)).max() >= products * 32767 * 255 * 0.99
    # Both parts of a bias fit 32 bits, and their sum does not.
    for filters in (5, 8):
        window = Window((1, 3, 300), (1, 3, filters), (1, 1))
        for rounding in ("wide", "real"):
            layer = maker.convolved_trained(
                window, 300, wide=True, rounding=rounding, trained_bias=True, spread="all"
            )
            layer.bias[:] = INT32_LIMIT - 1
            maker.arrays[layer.inputs[2].name][:] = INT32_LIMIT - 1


def beside_fixed_ones(seed):
    """Layers with trained weights beside such as have others: a prefix of the network is frozen."""
    maker = TrainedMaker(seed)
    for groups in (1, 8):
        for rounding in ("double", "single"):
            depth = 8 // groups
            window = Window((5, 5, 8), (5, 5, 8), (3, 3), pads=(1, 1))
            maker.convolution("dense", rounding=rounding, weight_zero_point=0)
            weights = maker.values("int8", (8, 3, 3, depth))
            maker.convolved(window, weights, groups, rounding=rounding, weight_zero_point=0)
            maker.convolved_trained(
                window, depth, groups, output="int8", rounding=rounding, wide=False,
                trained_bias=False, spread="all",
            )  # fmt: skip
    return maker


def distinct(results):
    """Share of outputs that are not one value only."""
    return np.mean([len(np.unique(result)) > 1 for result in results if result.size > 1])


@pytest.mark.parametrize("seed", [1, 2])
def test_all_kinds(seed, capfd):
    maker = TrainedMaker(seed)
    for kind in KINDS * 5:
        maker.trained(kind)
    for kind in KINDS:
        for rounding in ("double", "single", "wide", "real"):
            maker.trained(kind, rounding=rounding)
    assert distinct(maker.check(capfd)) > 0.7


def test_geometry(capfd):
    maker = TrainedMaker(3)
    add_geometries(maker)
    assert distinct(maker.check(capfd)) > 0.7


def test_sums_at_the_limits(capfd):
    maker = TrainedMaker(4)
    add_sums_at_the_limits(maker)
    maker.check(capfd)


def test_weights_are_read_when_the_layer_runs():
    """The weights are an input of the network: no constant array holds them."""
    maker = TrainedMaker(5)
    layer = maker.trained("dense", constant=False)
    code = convolve_trained(layer, "portable", 0)
    assert {array.name for array in code.arrays} == {"bias", "multiplier", "shift"}
    assert code.scratch == 0


def test_layers_beside_fixed_ones(capfd):
    beside_fixed_ones(7).check(capfd)
