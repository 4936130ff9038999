"""Convolutions for Cortex-M with DSP, on the emulated M4: each layer against the formula in numpy.

Every build is one image with many layers; each layer gets a budget of scratch memory of its own.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from intaglio.targets.c import lifetimes
from intaglio.targets.c.boards import BOARDS, BuildOptions, measure, missing_packages
from intaglio.targets.c.kernels.choose import implement
from intaglio.targets.c.kernels.dsp import KERNELS
from intaglio.targets.c.network import Convolution, Rescale, Tensor, Window
from intaglio.targets.c.source import write_sources
from intaglio.transforms.fixed_point import Rounding
from tests.targets.c.harness import STRICT, network_of
from tests.targets.c.reference import reference

MISSING = missing_packages()
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"needs the Debian packages {' '.join(MISSING)}"
)

#: With the assembler, without, and without optimisation, where a register more is taken.
BUILDS = (("-O2", ()), ("-O2", ("-DDSP_PLAIN",)), ("-O0", ()))
#: Bytes of scratch memory that cost nothing.
BUDGETS = (0, 300, 2_500, 12_000, 60_000)


def random_layer(
    seed, channels, outputs, kernel, strides=(1, 1), dilations=(1, 1), pads=None, size=(6, 7),
    groups=1, rounding="double", relu=False, wild=False,
):  # fmt: skip
    """A layer whose results use the whole range; ``wild`` has channels that hardly depend on x."""
    rng = np.random.default_rng(seed)
    pads = pads if pads is not None else tuple((k - 1) // 2 for k in kernel)
    result = tuple(
        max(1, (size[i] + 2 * pads[i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1)
        for i in (0, 1)
    )
    window = Window((*size, channels), (*result, outputs), kernel, strides, dilations, pads)
    weights = rng.integers(-127, 128, (outputs, *kernel, channels // groups)).astype(np.int8)
    bias = rng.integers(-9000, 9000, outputs)
    # From here on clear of the ends: a scale at which sums are some hundreds.
    typical = 75 * 75 * np.sqrt(weights[0].size)
    shift = np.full(outputs, 31 + max(2, round(np.log2(typical / 60)))) + rng.integers(-1, 2)
    shift = shift + rng.integers(0, 2, outputs)
    multiplier = rng.integers(1 << 30, 1 << 31, outputs)
    if wild:
        bias[0], shift[0] = 1 << 30, 57
        bias[1], shift[1], multiplier[1] = -(1 << 30), 60, (1 << 31) - 1
        bias[2], shift[2], multiplier[2] = 123, 31, 0
        # Sums on both sides of a step: the kernel moves the threshold.
        bias[3], shift[3], multiplier[3] = (3 << 25) - 7, 56, 1 << 30
        weights[3] = rng.integers(-1, 2, weights[3].shape)
    zero_point = int(rng.integers(-128, 128))
    low, high = (zero_point, min(127, zero_point + 90)) if relu else (-128, 127)
    rescale = Rescale(
        Rounding(rounding), multiplier.astype(np.int64), shift.astype(np.int64), zero_point,
        low, high,
    )  # fmt: skip
    image = Tensor(f"x{seed}", (1, *size, channels), "int8", 1.0, int(rng.integers(-128, 128)))
    return Convolution(
        name=f"y{seed}",
        inputs=(image,),
        output=Tensor(f"y{seed}", (1, *result, outputs), "int8", 1.0, zero_point),
        sources=(),
        window=window,
        weights=weights,
        bias=bias.astype(np.int64),
        rescale=rescale,
        groups=groups,
    )  # fmt: skip


def following(layer, seed, **options):
    """A layer that reads the result of another one, which lies in the arena."""
    size, channels = layer.window.result[:2], layer.window.result[2]
    outputs = options.pop("outputs", channels)
    after = random_layer(seed, channels, outputs, size=size, **options)
    return dataclasses.replace(after, inputs=(layer.output,))


def some_layers():
    numbers = itertools.count()

    def one(*arguments, **options):
        return random_layer(next(numbers), *arguments, **options)

    layers = [
        # depths of 1 to 17 steps of the inner loop, odd and even numbers of pixels and channels
        *(one(4 * n, 2 + n % 3, (1, 1), size=(3, n)) for n in range(1, 18)),
        one(8, 6, (3, 3), size=(9, 8)),
        one(8, 5, (3, 3), strides=(2, 2), pads=(0, 0), size=(8, 7), rounding="single"),
        # Winograd's, with enough scratch memory
        one(16, 9, (3, 3), size=(9, 7)),
        one(12, 8, (3, 3), size=(8, 10), pads=(0, 0), relu=True, rounding="single"),
        one(64, 8, (3, 3), size=(5, 4), pads=(2, 0), rounding="single"),
        one(20, 8, (3, 3), size=(4, 5), wild=True),
        one(12, 4, (5, 3), strides=(2, 1), dilations=(1, 2), relu=True),
        one(4, 3, (3, 2), dilations=(2, 1), pads=(3, 4), size=(5, 4)),
        one(3, 8, (3, 3), strides=(2, 2), pads=(0, 0), size=(8, 8)),
        one(3, 16, (3, 3), size=(5, 6), relu=True, rounding="single"),
        one(1, 7, (10, 4), strides=(2, 2), pads=(4, 1), size=(13, 10)),
        one(2, 2, (2, 3), dilations=(1, 2), size=(6, 6)),
        one(5, 3, (1, 1), strides=(2, 3)),
        one(16, 8, (1, 1), strides=(2, 2), size=(7, 6)),
        one(64, 10, (1, 1), size=(1, 1)),
        one(7, 9, (1, 1), size=(1, 1)),
        one(5, 6, (1, 1), size=(1, 1), rounding="single", relu=True),
        one(44, 4, (1, 1), size=(1, 1), wild=True),
        one(4, 1, (1, 1), size=(1, 1)),
        one(2, 3, (1, 1), size=(1, 1)),
        one(16, 8, (3, 3), size=(4, 4), wild=True),
        one(9, 6, (1, 1), size=(3, 3), wild=True, rounding="single", relu=True),
    ]
    for stride, columns in itertools.product((1, 2), (1, 2, 3, 5, 8)):
        pads = (1, 1) if stride == 1 else (int(columns % 2), 0 if columns > 2 else 1)
        layers.append(
            one(
                8, 8, (3, 3), strides=(stride, stride), pads=pads, size=(2 + columns, columns),
                groups=8, rounding=("double", "single")[columns % 2], relu=columns == 5,
            )
        )  # fmt: skip
    layers.append(one(4, 4, (3, 3), groups=4, wild=True))
    # chains, whose inner tensors may be overwritten in place
    first = one(8, 12, (3, 3), size=(11, 9))
    narrow = following(first, next(numbers), outputs=8, kernel=(1, 1))
    depthwise = following(narrow, next(numbers), kernel=(3, 3), groups=8)
    same = following(depthwise, next(numbers), kernel=(1, 1), relu=True)
    again = following(same, next(numbers), kernel=(3, 3), groups=8)
    last = following(again, next(numbers), outputs=6, kernel=(1, 1))
    chain = [first, narrow, depthwise, same, again, last]
    for channels, size in ((16, (12, 11)), (12, (13, 6)), (24, (5, 17))):
        start = one(4, channels, (1, 1), size=size)
        middle = following(start, next(numbers), kernel=(3, 3))
        chain += [start, middle, following(middle, next(numbers), kernel=(3, 3), outputs=8)]
    return [*layers, *chain]


def evaluated(layers, rng):
    """Inputs of a network of these layers, and every result."""
    arrays = {}
    for layer in layers:
        for tensor in layer.inputs:
            if tensor not in arrays:
                limits = np.iinfo(tensor.dtype)
                numbers = rng.integers(limits.min, limits.max, tensor.shape, endpoint=True)
                arrays[tensor] = numbers.astype(tensor.dtype)
        arrays[layer.output] = reference(layer, [arrays[t] for t in layer.inputs])
    return arrays


def check(layers, tmp_path, monkeypatch, budget, optimization, flags):
    """Compiles strictly, runs on the board, and compares the outputs."""
    network = network_of(*layers, name="layers")
    for name in ("implement", "implement_within"):
        monkeypatch.setattr(
            lifetimes, name, lambda layer, variant, _: implement(layer, variant, budget)
        )
    for name, text in write_sources(network, {"dsp"}).files.items():
        (tmp_path / name).write_text(text)
    samples = [evaluated(layers, np.random.default_rng(seed)) for seed in range(2)]
    run = measure(
        BOARDS["cortex-m4"],
        tmp_path,
        network.name,
        [[arrays[t] for t in network.inputs] for arrays in samples],
        network.outputs,
        expected=[[arrays[t] for t in network.outputs] for arrays in samples],
        exact=False,
        options=BuildOptions(optimization=optimization, flags=(*flags, *STRICT)),
    )
    wrong = [
        tensor.name
        for arrays, outputs in zip(samples, run.outputs, strict=True)
        for tensor, found in zip(network.outputs, outputs, strict=True)
        if not np.array_equal(arrays[tensor], found)
    ]
    assert not wrong
    assert run.differing == 0


@pytest.mark.parametrize("budget", BUDGETS)
def test_random_layers_have_the_bits_of_the_formula(tmp_path, monkeypatch, budget):
    layers = some_layers()
    assert all(KERNELS[Convolution](layer, "dsp", budget) is not None for layer in layers)
    check(layers, tmp_path, monkeypatch, budget, "-O2", ())


@pytest.mark.parametrize(("optimization", "flags"), BUILDS[1:])
def test_other_builds_have_the_bits_of_the_formula(tmp_path, monkeypatch, optimization, flags):
    check(some_layers(), tmp_path, monkeypatch, 2_500, optimization, flags)


def test_layers_outside_the_conditions_are_left_to_the_portable_kernels():
    layer = random_layer(0, 8, 4, (3, 3))
    large = dataclasses.replace(layer.rescale, shift=layer.rescale.shift * 0 + 31)
    wide = dataclasses.replace(layer, wide=True)
    asymmetric = dataclasses.replace(layer, weight_zero_point=1)

    for other in (dataclasses.replace(layer, rescale=large), wide, asymmetric):
        assert KERNELS[Convolution](other, "dsp", 0) is None


def test_results_take_the_place_of_inputs_only_where_blocks_allow_it():
    def in_place(layer):
        return KERNELS[Convolution](layer, "dsp", 0).in_place

    assert in_place(random_layer(0, 8, 8, (1, 1))) == (0,)
    assert in_place(random_layer(0, 8, 12, (1, 1))) == ()
    assert in_place(random_layer(0, 8, 8, (1, 1), strides=(2, 2))) == ()
    assert in_place(random_layer(0, 8, 8, (3, 3))) == ()
    assert in_place(random_layer(0, 16, 16, (3, 3), size=(32, 32))) == (0,)
    assert in_place(random_layer(0, 16, 16, (3, 3), size=(34, 34), pads=(0, 0))) == ()
    assert in_place(random_layer(0, 8, 8, (3, 3), groups=8)) == (0,)
    assert in_place(random_layer(0, 8, 8, (3, 3), groups=8, strides=(2, 2))) == ()


def test_scratch_memory_stays_within_the_budget_where_the_least_fits():
    layer = random_layer(0, 16, 16, (3, 3), size=(16, 16))
    least = KERNELS[Convolution](layer, "dsp", 0).scratch

    for budget in range(least, 20_000, 500):
        assert least <= KERNELS[Convolution](layer, "dsp", budget).scratch <= budget
