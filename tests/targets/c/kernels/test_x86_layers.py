"""AVX2 and AVX-512 VNNI: convolutions, pools and means, bit for bit against the formulas."""

import dataclasses

import numpy as np
import pytest

from intaglio.targets.c.kernels.choose import implement
from intaglio.targets.c.kernels.x86 import KERNELS
from intaglio.targets.c.network import Pool, TransposedConvolution, Window
from tests.targets.c.harness import runs_here
from tests.targets.c.random_layers import Maker

VARIANTS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(not runs_here(name), reason=f"this processor has no {title}"),
    )
    for name, title in (("vnni", "AVX-512 VNNI and VBMI"), ("avx2", "AVX2"))
]

#: It stops with a message where C leaves something undefined.
BUILDS = (("-O1", "-fsanitize=undefined"),)

#: image, result, kernel, strides, top and left padding of layers of the four published models.
DENSE = (
    ((32, 32, 3), (32, 32, 16), (3, 3), (1, 1), (1, 1)),
    ((32, 32, 16), (16, 16, 32), (3, 3), (2, 2), (0, 0)),
    ((8, 8, 64), (8, 8, 64), (3, 3), (1, 1), (1, 1)),
    ((16, 16, 32), (8, 8, 64), (1, 1), (2, 2), (0, 0)),
    ((49, 10, 1), (25, 5, 64), (10, 4), (2, 2), (4, 1)),
    ((25, 5, 64), (25, 5, 64), (1, 1), (1, 1), (0, 0)),
    ((96, 96, 3), (48, 48, 8), (3, 3), (2, 2), (0, 0)),
    ((3, 3, 256), (3, 3, 256), (1, 1), (1, 1), (0, 0)),
    ((1, 1, 1024), (1, 1, 10), (1, 1), (1, 1), (0, 0)),
    ((20, 21, 1), (20, 21, 56), (5, 5), (1, 1), (2, 2)),
)
DEPTHWISE = (
    ((48, 48, 8), (48, 48), (3, 3), (1, 1), (1, 1)),
    ((48, 48, 16), (24, 24), (3, 3), (2, 2), (0, 0)),
    ((25, 5, 64), (25, 5), (3, 3), (1, 1), (1, 1)),
    ((6, 6, 128), (6, 6), (3, 3), (1, 1), (1, 1)),
    ((3, 3, 256), (3, 3), (3, 3), (1, 1), (1, 1)),
)


def count_kernels(layers, variant):
    """How many layers a kernel of this folder computes."""
    return sum(
        type(layer) in KERNELS and KERNELS[type(layer)](layer, variant, 0) is not None
        for layer in layers
    )


def scaled_down(maker, **options):
    """A convolution whose every scale is below one, as nearly all of trained models are."""
    layer = maker.convolved(rounding="double", weight_zero_point=0, **options)
    shift = np.maximum(layer.rescale.shift, 32)
    maker.layers[-1] = dataclasses.replace(
        layer, rescale=dataclasses.replace(layer.rescale, shift=shift)
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes_of_published_models(variant, capfd):
    maker = Maker(1)
    for image, result, kernel, strides, pads in DENSE:
        window = Window(image, result, kernel, strides, (1, 1), pads)
        weights = maker.values("int8", (result[2], *kernel, image[2]))
        scaled_down(maker, window=window, weights=weights)
    for image, result, kernel, strides, pads in DEPTHWISE:
        window = Window(image, (*result, image[2]), kernel, strides, (1, 1), pads)
        weights = maker.values("int8", (image[2], *kernel, 1))
        scaled_down(maker, window=window, weights=weights, groups=image[2])
    expected = maker.check(capfd, variant, (("-O3",),))
    assert sum(len(np.unique(array)) > 20 for array in expected) > 10
    assert count_kernels(maker.layers, variant) == len(maker.layers)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ["dense", "connected", "depthwise"])
def test_any_convolution(variant, kind, capfd):
    maker = Maker(sum(map(ord, kind)))
    for _ in range(12):
        maker.convolution(kind)
    for rounding in ("wide", "wide", "wide", "double", "single"):
        layer = maker.convolution(kind, "int16", rounding=rounding, weight_zero_point=0)
        shift = np.clip(layer.rescale.shift, 32, 48)
        maker.layers[-1] = dataclasses.replace(
            layer, rescale=dataclasses.replace(layer.rescale, shift=shift)
        )
    maker.check(capfd, variant, BUILDS)
    assert count_kernels(maker.layers, variant) >= 8


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_convolutions_are_computed_too(variant, capfd):
    maker = Maker(3)
    for kind in ("groups", "multiplied") * 3:
        maker.convolution(kind)
    for _ in range(12):
        maker.transposed()
    maker.check(capfd, variant, BUILDS)
    assert count_kernels(maker.layers, variant) >= 1


#: image, result, kernel, strides, padding; the first is FSRCNN's last layer, for a small image.
TRANSPOSED = (
    ((5, 6, 56), (20, 24, 1), (9, 9), (4, 4), (3, 3)),
    ((4, 7, 5), (8, 14, 9), (3, 3), (2, 2), (0, 1)),
    ((3, 3, 8), (9, 6, 20), (2, 5), (3, 2), (0, 2)),
    ((4, 5, 3), (4, 5, 4), (3, 3), (1, 1), (1, 1)),
    ((2, 2, 4), (8, 8, 2), (2, 2), (4, 4), (0, 0)),
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_transposed_convolutions(variant, capfd):
    maker = Maker(9)
    for image, result, kernel, strides, pads in TRANSPOSED:
        window = Window(image, result, kernel, strides, (1, 1), pads)
        weights = maker.values("int8", (result[2], *kernel, image[2]))
        x = maker.tensor("int8", (1, *image))
        bias, wide = maker.bias(x, weights.astype(np.int64))
        output = maker.output((1, *result), "int8")
        layer = TransposedConvolution("t", (x,), output, (), window, weights, bias, None, 1, wide)
        layer = maker.scaled(layer, "int8", "double")
        shift = np.maximum(layer.rescale.shift, 32)
        maker.layers[-1] = dataclasses.replace(
            layer, rescale=dataclasses.replace(layer.rescale, shift=shift)
        )
    expected = maker.check(capfd, variant, BUILDS)
    assert sum(len(np.unique(array)) > 9 for array in expected) > 2
    assert count_kernels(maker.layers, variant) == len(maker.layers)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_shift(variant, capfd):
    maker = Maker(4)
    weights = maker.values("int8", (62, 1, 1, 4))
    for rounding in ("double", "single"):
        layer = maker.convolved(
            Window((2, 3, 4), (2, 3, 62), (1, 1)), weights, rounding=rounding, weight_zero_point=0
        )
        rescale = layer.rescale
        for multiplier in (1 << 30, (1 << 31) - 1, 1518500249):
            for low in (32, 31, 1):
                shifts = np.minimum(np.arange(62) + low + (low == 1), 62)
                given = dataclasses.replace(
                    rescale, multiplier=np.full(62, multiplier), shift=shifts
                )
                output = maker.output(layer.output.shape, "int8", rescale.zero_point)
                maker.add(dataclasses.replace(layer, output=output, rescale=given))
    maker.check(capfd, variant, (("-O2",),))
    assert count_kernels(maker.layers, variant) >= 6


@pytest.mark.parametrize("variant", VARIANTS)
def test_saturated_sums(variant, capfd):
    maker = Maker(5)
    for low, high in ((-128, -128), (127, 127)):
        for corner in (-128, 127):
            image = np.full((1, 3, 3, 20), corner, np.int8)
            weights = np.full((17, 3, 3, 20), low if corner < 0 else high, np.int8)
            zero_point = 127 if corner < 0 else -128
            x = maker.tensor("int8", image.shape, image, zero_point)
            window = Window((3, 3, 20), (3, 3, 17), (3, 3), (1, 1), (1, 1), (1, 1))
            maker.convolved(window, weights, x=x, rounding="double", weight_zero_point=0)
    maker.check(capfd, variant, (("-O2",),))


@pytest.mark.parametrize("variant", VARIANTS)
def test_pools_and_means(variant, capfd):
    maker = Maker(6)
    for _ in range(12):
        maker.pool(average=True)
        maker.pool(average=False)
    for shape, axes in (
        ((1, 8, 8, 64), (1, 2)), ((1, 3, 5, 33), (1, 2)), ((2, 7, 9), (1,)), ((1, 4, 4, 7), (1,)),
        ((1, 4, 5, 6), (2, 3)), ((1, 4, 5, 6), (1, 3)),
    ):  # fmt: skip
        for rounding in ("double", "single"):
            maker.reduction(shape, axes, rounding=rounding)
        maker.reduction(shape, axes, "max")
    maker.check(capfd, variant, BUILDS)
    assert count_kernels(maker.layers, variant) >= 15


@pytest.mark.parametrize("variant", VARIANTS)
def test_averages_of_many(variant, capfd):
    maker = Maker(7)
    for rows, columns in ((1, 1), (2, 2), (3, 3), (8, 8), (25, 5), (7, 7), (12, 16)):
        window = Window((rows, columns, 16), (1, 1, 16), (rows, columns))
        x = maker.tensor("int8", (1, rows, columns, 16))
        output = maker.output((1, 1, 1, 16), "int8", x.zero_point)
        maker.add(Pool("pool", (x,), output, (), window, True))
    maker.check(capfd, variant, (("-O2",),))
    assert count_kernels(maker.layers, variant) == len(maker.layers)


def test_weights_with_a_zero_point_go_to_portable_code():
    maker = Maker(8)
    layer = maker.convolution("dense", weight_zero_point=5)
    assert KERNELS[type(layer)](layer, "vnni", 0) is None
    assert implement(layer, "vnni", 0) is not None
