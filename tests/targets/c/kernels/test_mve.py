"""Helium kernels on the emulated Cortex-M55: many layers in one image, each against its formula."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from intaglio.targets.c import lifetimes, source
from intaglio.targets.c.boards import BOARDS, BuildOptions, measure, missing_packages
from intaglio.targets.c.kernels.choose import implement
from intaglio.targets.c.kernels.mve import KERNELS
from intaglio.targets.c.network import (
    Convolution,
    Pool,
    PRelu,
    Requantization,
    Rescale,
    Sum,
    Table,
    Tensor,
    Window,
)
from intaglio.transforms.fixed_point import Rounding, quantize_multiplier, rescale_double
from tests.targets.c.harness import STRICT, network_of
from tests.targets.c.reference import reference, rescaled

MISSING = missing_packages()
needs_board = pytest.mark.skipif(
    bool(MISSING), reason=f"needs the Debian packages {' '.join(MISSING)}"
)


class Maker:
    """Makes layers of one network, every one with inputs of its own.

    Args:
        seed: Of the random numbers.
    """

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.layers = []

    def tensor(self, shape):
        zero_point = int(self.random.choice([-128, 127, 0, *self.random.integers(-128, 128, 3)]))
        return Tensor(f"x{self.random.integers(1 << 40)}", shape, "int8", 0.1, zero_point)

    def rescale(self, channels, typical, kind):
        """A rescale of sums that are ``typical`` to most of int8, or a corner.

        ``positive`` and ``signed`` are the forms of :mod:`~.mve.scaling`; ``wild`` has any shift,
        multipliers of 0, and a clamp; ``general`` shifts around 31.
        """
        rng = self.random
        multiplier = rng.integers(1 << 30, 1 << 31, channels)
        shift = 31 + np.round(np.log2(typical / rng.uniform(20, 90, channels))).astype(np.int64)
        zero_point, low, high = int(rng.integers(-128, 128)), -128, 127
        if kind == "positive":
            low = zero_point = int(rng.choice([-128, -100, 5]))
            high = int(rng.choice([127, 100]))
        elif kind == "general":
            shift = rng.integers(29, 34, channels)
        elif kind == "wild":
            shift = rng.integers(2, 63, channels)
            multiplier[rng.random(channels) < 0.2] = 0
            low, high = -101, 99
        assert low <= high
        return Rescale(Rounding.DOUBLE, multiplier, np.maximum(shift, 2), zero_point, low, high)

    def convolution(
        self, image, outputs, kernel, kind="positive", strides=(1, 1), pads=(0, 0),
        dilations=(1, 1), result=None, groups=1,
    ):  # fmt: skip
        rng = self.random
        if result is None:
            result = tuple(
                (image[i] + 2 * pads[i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
                for i in (0, 1)
            )
        window = Window(image, (*result, outputs), kernel, strides, dilations, pads)
        weights = rng.integers(-128, 128, (outputs, *kernel, image[2] // groups)).astype(np.int8)
        weights[rng.random(outputs) < 0.1] = rng.choice([-128, 127])
        typical = 75 * 75 * np.sqrt(weights[0].size)
        bias = rng.integers(-9000, 9000, outputs)
        bias[rng.random(outputs) < 0.1] = rng.choice([-1, 1]) * (1 << 30)
        name = f"y{len(self.layers)}_{'x'.join(map(str, (*image, outputs, *kernel)))}_{kind}"
        layer = Convolution(
            name,
            (self.tensor((1, *image)),),
            Tensor(name, (1, *window.result), "int8", 0.1, 0),
            (),
            window=window,
            weights=weights,
            bias=bias.astype(np.int64),
            rescale=self.rescale(outputs, typical, kind),
            groups=groups,
        )
        self.layers.append(layer)
        return layer

    def depthwise(self, image, kind="positive", **options):
        return self.convolution(image, image[2], (3, 3), kind, groups=image[2], **options)

    def sum_of(self, shape, sign=1, low=-128, high=127):
        scales = self.random.uniform(0.02, 0.1, 2)
        largest = 2 * max(scales)
        name = f"y{len(self.layers)}_sum_{'x'.join(map(str, shape))}"
        self.layers.append(
            Sum(
                name,
                (self.tensor(shape), self.tensor(shape)),
                Tensor(name, shape, "int8", 0.1, 0),
                (),
                sign=sign,
                left_shift=20,
                first=_rescale(scales[0] / largest),
                second=_rescale(scales[1] / largest),
                rescale=_rescale(
                    largest / 2**20 / self.random.uniform(0.05, 0.2),
                    int(self.random.integers(-30, 30)), low, high,
                ),
            )
        )  # fmt: skip

    def table(self, shape, tables):
        entries = self.random.integers(-128, 128, (tables, 256)).astype(np.int8)
        name = f"y{len(self.layers)}_table_{'x'.join(map(str, shape))}"
        output = Tensor(name, shape, "int8", 0.1, 0)
        table = entries[0] if tables == 1 else entries
        self.layers.append(Table(name, (self.tensor(shape),), output, (), table))

    def requantization(self, shape, magnitude):
        name = f"y{len(self.layers)}_requantization_{'x'.join(map(str, shape))}"
        output = Tensor(name, shape, "int8", 0.1, 0)
        scale = _rescale(self.random.uniform(0.3, 1.5), 3, -128, 127)
        self.layers.append(
            Requantization(name, (self.tensor(shape),), output, (), scale, magnitude)
        )

    def prelu(self, shape, slopes):
        name = f"y{len(self.layers)}_prelu_{'x'.join(map(str, shape))}_{slopes}"
        output = Tensor(name, shape, "int8", 0.1, 0)
        values = self.random.integers(-127, 128, slopes).astype(np.int8)
        constant = Tensor(f"{name}_slopes", (slopes,), "int8", 0.01, 0, data=values)
        self.layers.append(
            PRelu(
                name, (self.tensor(shape), constant), output, (),
                positive=_rescale(self.random.uniform(0.4, 1.2), 7, -128, 127),
                negative=_rescale(self.random.uniform(0.002, 0.01), 7, -128, 127),
            )
        )  # fmt: skip

    def pool(self, image, kernel, average, strides=(1, 1), pads=(0, 0), result=(1, 1)):
        name = f"y{len(self.layers)}_pool_{'x'.join(map(str, (*image, *kernel)))}"
        window = Window(image, (*result, image[2]), kernel, strides, (1, 1), pads)
        output = Tensor(name, (1, *window.result), "int8", 0.1, 0)
        self.layers.append(Pool(name, (self.tensor((1, *image)),), output, (), window, average))


def _rescale(real, zero_point=0, low=-(1 << 31), high=(1 << 31) - 1):
    found = quantize_multiplier(np.array([real]))
    factor = found.multiplier.astype(np.int64)
    return Rescale(Rounding.DOUBLE, factor, found.shift, zero_point, low, high)


def dense_layers():
    make = Maker(0)
    for channels, outputs, kind in [
        (16, 16, "positive"), (8, 10, "signed"), (32, 7, "general"), (7, 9, "wild"),
        (20, 8, "signed"), (24, 6, "wild"), (128, 4, "positive"), (160, 2, "signed"),
        (144, 3, "wild"), (200, 4, "general"), (1, 2, "wild"),
    ]:  # fmt: skip
        make.convolution((3, 5, channels), outputs, (1, 1), kind)
    make.convolution((2, 2, 33), 5, (1, 1), "wild")
    for pixels, channels, outputs, kind in [
        (1, 64, 10, "signed"), (1, 256, 2, "positive"), (2, 40, 3, "wild"), (3, 7, 4, "general"),
        (9, 128, 6, "positive"), (6, 24, 5, "signed"), (5, 19, 4, "wild"), (7, 16, 4, "general"),
    ]:  # fmt: skip
        make.convolution((1, pixels, channels), outputs, (1, 1), kind)
    make.convolution((8, 9, 16), 6, (1, 1), "signed", strides=(2, 2))
    make.convolution((9, 5, 16), 6, (1, 1), "general", strides=(2, 2))
    for channels, size, kind in [
        (16, (6, 7), "positive"), (32, (5, 4), "signed"), (64, (4, 8), "wild"),
        (48, (3, 5), "general"), (16, (5, 3), "wild"), (96, (4, 4), "signed"),
    ]:  # fmt: skip
        make.convolution((*size, channels), 5, (3, 3), kind, pads=(1, 1))
    make.convolution((12, 13, 16), 6, (3, 3), "signed", strides=(2, 2), pads=(0, 0), result=(6, 6))
    make.convolution((9, 9, 32), 5, (3, 3), "wild", strides=(2, 2), pads=(1, 1))
    make.convolution((9, 10, 16), 4, (4, 5), "general", pads=(1, 2))
    make.convolution((7, 9, 3), 16, (3, 3), "positive", pads=(1, 1))
    make.convolution((16, 17, 3), 8, (3, 3), "wild", strides=(2, 2), result=(8, 8))
    make.convolution((20, 10, 1), 7, (10, 4), "signed", strides=(2, 2), pads=(4, 1))
    make.convolution((6, 9, 8), 3, (3, 3), "general", pads=(1, 1))
    make.convolution((7, 3, 4), 3, (3, 3), "wild", pads=(1, 1))
    make.convolution((10, 9, 5), 7, (3, 3), "wild", pads=(2, 2), dilations=(2, 2))
    make.convolution((6, 6, 40), 4, (5, 5), "signed", pads=(2, 2))
    return make.layers


def depthwise_layers():
    make = Maker(1)
    for image, kind in [
        ((8, 8, 8), "positive"), ((6, 6, 32), "signed"), ((5, 7, 20), "wild"),
        ((3, 3, 16), "general"), ((9, 5, 16), "positive"), ((2, 2, 5), "wild"),
        ((4, 9, 3), "signed"), ((3, 10, 40), "general"), ((7, 12, 4), "wild"),
    ]:  # fmt: skip
        make.depthwise(image, kind, pads=(1, 1))
    make.depthwise((6, 9, 24), "wild", pads=(0, 0))
    make.depthwise((5, 6, 8), "signed", pads=(2, 2))
    for columns, kind in [(16, "positive"), (13, "signed"), (11, "wild"), (7, "general"),
                          (24, "wild"), (3, "signed"), (5, "wild")]:  # fmt: skip
        options = {"strides": (2, 2), "pads": (columns % 2, columns % 2)}
        make.depthwise((6, columns, 16), kind, **options)
        make.depthwise((7, columns, 8 if columns % 2 else 20), kind, **options)
    # The end of the image is not used, or there is padding on the right alone.
    make.depthwise((9, 18, 8), "positive", strides=(2, 2), result=(4, 8))
    make.depthwise((8, 16, 4), "signed", strides=(2, 2), result=(4, 8))
    return make.layers


def other_layers():
    make = Maker(2)
    for shape, options in [
        ((1, 4, 4, 16), {}), ((1, 5, 13), {"sign": -1}), ((7,), {"low": -50, "high": 99}),
        ((1, 3, 5, 3), {"sign": -1, "high": 100}), ((1, 1), {}),
    ]:  # fmt: skip
        make.sum_of(shape, **options)
    for average in (True, False):
        make.pool((8, 8, 64), (8, 8), average)
        make.pool((9, 7, 5), (3, 3), average, (2, 2), (1, 1), (5, 4))
        make.pool((4, 5, 20), (2, 2), average, (2, 2), result=(2, 3))
        make.pool((4, 4, 9), (1, 1), average, result=(4, 4))
        make.pool((15, 17, 9), (15, 17), average)
    for channels in (1, 5, 8, 19):
        make.prelu((1, 3, 4, channels), channels)
    make.prelu((1, 3, 4, 12), 1)
    make.table((1, 7, 9, 11), 1)
    make.table((5,), 1)
    make.table((1, 3, 5, 13), 13)
    make.table((1, 3, 2, 8), 8)
    make.requantization((1, 8, 9, 11), False)
    make.requantization((1, 8, 8, 16), True)
    return make.layers


def judged(layer, arrays):
    """Output of a layer by its formula."""
    if isinstance(layer, Table):
        place = arrays[0].astype(np.int64) + 128
        if layer.table.ndim == 1:
            return layer.table[place]
        return layer.table[np.arange(len(layer.table)), place]
    if isinstance(layer, PRelu):
        values = arrays[0].astype(np.int64) - layer.inputs[0].zero_point
        below = rescaled(layer.negative, values * layer.inputs[1].data)
        return np.where(values >= 0, rescaled(layer.positive, values), below).astype(np.int8)
    if isinstance(layer, Requantization):
        centered = arrays[0].astype(np.int64) - layer.inputs[0].zero_point
        centered = np.abs(centered) if layer.magnitude else centered
        return rescaled(layer.rescale, centered).astype(np.int8)
    if not isinstance(layer, Sum):
        return reference(layer, arrays)
    first, second = (
        rescale_double(
            (array.astype(np.int64) - tensor.zero_point) << layer.left_shift,
            scale.multiplier, scale.shift,
        )
        for array, tensor, scale in zip(
            arrays, layer.inputs, (layer.first, layer.second), strict=True
        )
    )  # fmt: skip
    return rescaled(layer.rescale, first + layer.sign * second).astype(np.int8)


def values(rng, shape):
    """Random int8, at times only the rails."""
    if rng.random() < 0.3:
        return rng.choice(np.array([-128, 127], np.int8), shape)
    return rng.integers(-128, 128, shape).astype(np.int8)


def check(layers, folder, monkeypatch, budget, optimization="-O2"):
    """Compiles strictly, runs on the board and compares every output.

    Args:
        layers: The layers.
        folder: Where sources go.
        monkeypatch: Of the test.
        budget: Bytes of scratch memory that every kernel is offered.
        optimization: Of the compiler.
    """
    network = network_of(*layers, name="layers")
    choose = lambda layer, variant, _: implement(layer, variant, budget)  # noqa: E731
    for name in ("implement", "implement_within"):
        monkeypatch.setattr(lifetimes, name, choose)
    for name, text in source.write_sources(network, {"mve"}).files.items():
        (folder / name).write_text(text)
    rng = np.random.default_rng(7)
    given = {tensor: values(rng, tensor.shape) for tensor in network.inputs}
    wanted = [judged(layer, [given.get(t) for t in layer.inputs]) for layer in layers]
    run = measure(
        BOARDS["cortex-m55"],
        folder,
        network.name,
        [[given[t] for t in network.inputs]],
        network.outputs,
        exact=False,
        options=BuildOptions(optimization=optimization, flags=STRICT),
    )
    wrong = [
        tensor.name
        for tensor, found, want in zip(network.outputs, run.outputs[0], wanted, strict=True)
        if not np.array_equal(found, want)
    ]
    assert not wrong


@needs_board
@pytest.mark.parametrize("layers", [dense_layers, depthwise_layers, other_layers])
@pytest.mark.parametrize("budget", [0, 250, 900, 30_000])
def test_layers_have_the_bits_of_their_formulas(layers, budget, tmp_path, monkeypatch):
    made = layers()
    assert all(KERNELS[type(layer)](layer, "mve", budget) for layer in made)
    check(made, tmp_path, monkeypatch, budget)


@needs_board
@pytest.mark.parametrize("optimization", ["-O0", "-O3"])
def test_other_builds_have_the_same_bits(optimization, tmp_path, monkeypatch):
    layers = [*dense_layers()[::3], *depthwise_layers()[::3], *other_layers()]
    for place, layer in enumerate(layers):
        renamed = dataclasses.replace(layer.output, name=f"z{place}")
        layers[place] = dataclasses.replace(layer, name=f"z{place}", output=renamed)
    check(layers, tmp_path, monkeypatch, 2_000, optimization)


def test_what_has_no_kernel_here_is_left_to_others():
    make = Maker(3)
    layer = make.convolution((4, 4, 16), 8, (3, 3))
    single = dataclasses.replace(layer.rescale, rounding=Rounding.SINGLE)

    for change in (
        {"rescale": single},
        {"wide": True},
        {"weight_zero_point": 3},
        {"output": dataclasses.replace(layer.output, dtype="int16")},
    ):
        assert KERNELS[Convolution](dataclasses.replace(layer, **change), "mve", 0) is None


@pytest.mark.parametrize("layers", [dense_layers, depthwise_layers])
def test_scratch_memory_is_within_the_budget_or_the_least_there_is(layers):
    for layer in layers():
        least = KERNELS[Convolution](layer, "mve", 0).scratch
        for budget in (100, 500, 2_000, 9_000):
            scratch = KERNELS[Convolution](layer, "mve", budget).scratch
            assert scratch <= max(budget, least)


def test_a_stream_costs_little_more_than_weights_and_constants():
    make = Maker(4)
    for layer in (
        make.convolution((4, 4, 64), 64, (1, 1)),
        make.convolution((8, 8, 32), 32, (3, 3), pads=(1, 1)),
    ):
        made = KERNELS[Convolution](layer, "mve", 0)
        plain = layer.weights.size + 3 * 4 * layer.bias.size

        assert sum(array.data.nbytes for array in made.arrays) == plain
