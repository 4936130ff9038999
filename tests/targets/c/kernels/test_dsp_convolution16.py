"""Convolutions of int16 for Cortex-M with DSP, on the emulated M4, against the formula in numpy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from intaglio.targets.c.boards import missing_packages
from intaglio.targets.c.kernels.dsp import KERNELS
from intaglio.targets.c.network import Convolution, Tensor
from intaglio.transforms.fixed_point import Rounding
from tests.targets.c.kernels.test_dsp_convolution import check, random_layer

MISSING = missing_packages()
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"needs the Debian packages {' '.join(MISSING)}"
)


def wider(layer, rounding, wide, output="int16"):
    """The layer with int16 activations, whose sums are 2^8 times larger."""
    rescale = layer.rescale
    limits = np.iinfo(output)
    low = 0 if rescale.minimum > -128 else limits.min
    more = 0 if output == "int16" else 8
    rescale = dataclasses.replace(
        rescale, rounding=Rounding(rounding), zero_point=0, shift=rescale.shift + more,
        minimum=low, maximum=limits.max,
    )  # fmt: skip
    size = layer.inputs[0].shape
    return dataclasses.replace(
        layer,
        inputs=(Tensor(layer.inputs[0].name, size, "int16", 1.0, 0),),
        output=Tensor(layer.output.name, layer.output.shape, output, 1.0, 0),
        bias=layer.bias * (1 << 22 if wide else 256),
        rescale=rescale,
        wide=wide,
    )


def some_layers():
    shapes = [
        {"channels": 8, "outputs": 6, "kernel": (1, 1)},
        {"channels": 12, "outputs": 5, "kernel": (1, 1), "strides": (2, 2), "relu": True},
        {"channels": 3, "outputs": 4, "kernel": (3, 3)},
        {"channels": 5, "outputs": 3, "kernel": (2, 3), "strides": (1, 2), "pads": (1, 3)},
        {"channels": 4, "outputs": 2, "kernel": (3, 2), "dilations": (2, 3), "size": (8, 9)},
        {"channels": 7, "outputs": 9, "kernel": (1, 1), "size": (1, 1)},
    ]
    layers = []
    for shape in shapes:
        for rounding, wide, output in (
            ("wide", True, "int16"), ("double", False, "int16"), ("single", False, "int8"),
        ):  # fmt: skip
            layers.append(wider(random_layer(len(layers), **shape), rounding, wide, output))
    return layers


@pytest.mark.parametrize(
    ("optimization", "flags"), [("-O2", ()), ("-O2", ("-DDSP_PLAIN",)), ("-O0", ())]
)
def test_random_layers_have_the_bits_of_the_formula(tmp_path, monkeypatch, optimization, flags):
    layers = some_layers()
    assert all(KERNELS[Convolution](layer, "dsp", 0) is not None for layer in layers)
    check(layers, tmp_path, monkeypatch, 1000, optimization, flags)


def test_zero_points_and_groups_are_left_to_the_portable_kernel():
    layer = some_layers()[0]
    moved = dataclasses.replace(layer.inputs[0], zero_point=3)

    assert KERNELS[Convolution](dataclasses.replace(layer, inputs=(moved,)), "dsp", 0) is None
    assert KERNELS[Convolution](dataclasses.replace(layer, groups=2), "dsp", 0) is None
