"""Sums, averages and means for Cortex-M with DSP, on the emulated M4, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.targets.c.boards import missing_packages
from intaglio.targets.c.kernels.dsp import KERNELS
from intaglio.targets.c.network import Pool, Reduction, Rescale, Sum, Tensor, Window
from intaglio.transforms.fixed_point import Rounding, quantize_multiplier
from tests.targets.c.kernels import test_dsp_convolution as convolutions
from tests.targets.c.reference import reference
from tests.targets.c.reference_functions import reference as elementwise

MISSING = missing_packages()
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"needs the Debian packages {' '.join(MISSING)}"
)


def rescale(scale, zero_point=0, low=-(1 << 31), high=(1 << 31) - 1):
    """A rescale by a real scale, rounded twice."""
    fixed = quantize_multiplier(np.array([scale]))
    numbers = fixed.multiplier.astype(np.int64), fixed.shift
    return Rescale(Rounding.DOUBLE, *numbers, zero_point, low, high)


def sum_layer(seed, shape, sign=1, low=-128):
    """A sum as TensorFlow Lite quantizes it: scales within a factor of eight of each other."""
    rng = np.random.default_rng(seed)
    scales = rng.uniform(0.02, 0.16, 3)
    zero_points = [int(z) for z in rng.integers(-128, 128, 3)]
    largest = 2 * max(scales[:2])
    return Sum(
        f"sum{seed}",
        tuple(Tensor(f"sum{seed}_{i}", shape, "int8", scales[i], zero_points[i]) for i in (0, 1)),
        Tensor(f"sum{seed}", shape, "int8", scales[2], zero_points[2]),
        (),
        sign,
        20,
        rescale(scales[0] / largest),
        rescale(scales[1] / largest),
        rescale(largest / (1 << 20) / scales[2], zero_points[2], low, 127),
    )


def pool_layer(name, image, kernel, strides, pads):
    result = tuple((image[i] + 2 * pads[i] - kernel[i]) // strides[i] + 1 for i in (0, 1))
    return Pool(
        name,
        (Tensor(f"{name}_x", (1, *image), "int8", 1.0, 3),),
        Tensor(name, (1, *result, image[2]), "int8", 1.0, 3),
        (),
        Window(image, (*result, image[2]), kernel, strides, (1, 1), pads),
        average=True,
    )


def mean_layer(name, image, zero_point):
    count = image[0] * image[1]
    return Reduction(
        name,
        (Tensor(f"{name}_x", (1, *image), "int8", 1.0, zero_point),),
        Tensor(name, (1, image[2]), "int8", 1.0, -5),
        (),
        (1, 2),
        "sum",
        -count * zero_point,
        rescale(1.7 / count, -5, -128, 127),
    )


def some_layers():
    return [
        *(sum_layer(seed, (1, 3, 5, seed + 1)) for seed in range(8)),
        sum_layer(8, (1, 4, 4, 8), sign=-1),
        sum_layer(9, (7,), low=-3),
        pool_layer("global", (8, 8, 12), (8, 8), (8, 8), (0, 0)),
        pool_layer("padded", (7, 6, 4), (3, 2), (2, 1), (1, 1)),
        pool_layer("largest", (15, 17, 4), (15, 17), (1, 1), (0, 0)),
        mean_layer("mean", (5, 7, 8), -128),
        mean_layer("mean_of_many", (15, 17, 4), 17),
    ]


def test_layers_have_the_bits_of_the_formula(tmp_path, monkeypatch):
    layers = some_layers()
    assert all(KERNELS[type(layer)](layer, "dsp", 0) is not None for layer in layers)
    monkeypatch.setattr(
        convolutions,
        "reference",
        lambda layer, arrays: (elementwise if isinstance(layer, Sum) else reference)(layer, arrays),
    )
    convolutions.check(layers, tmp_path, monkeypatch, 0, "-O2", ())


def test_windows_of_more_elements_than_a_sum_of_16_bits_holds_are_left_to_others():
    assert KERNELS[Pool](pool_layer("p", (16, 16, 4), (16, 16), (1, 1), (0, 0)), "dsp", 0) is None
    assert KERNELS[Reduction](mean_layer("m", (16, 16, 4), 0), "dsp", 0) is None
