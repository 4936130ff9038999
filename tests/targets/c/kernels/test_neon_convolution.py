"""Dense and depthwise convolutions on emulated AArch64."""

import dataclasses
import shutil
import subprocess

import numpy as np
import pytest

from intaglio.targets.c.network import Convolution, Window
from intaglio.targets.c.source import write_sources
from tests.targets.c.harness import STRICT, network_of
from tests.targets.c.kernels.neon_programs import CHECKS, VARIANTS, Cases, needs_tools

pytestmark = needs_tools


def window(cases, channels, filters, largest=7):
    """A random window with padding, strides and dilations."""
    pick = cases.random.integers
    image = [int(n) for n in pick(1, 12, 2)]
    kernel, strides, dilations, pads, result = [], [], [], [], []
    for size in image:
        kernel.append(int(pick(1, largest)))
        dilations.append(int(cases.choose(1, 1, 2)))
        strides.append(int(pick(1, 4)))
        reach = (kernel[-1] - 1) * dilations[-1] + 1
        before, behind = (int(n) for n in pick(0, reach, 2))
        while size + before + behind < reach:
            behind += 1
        pads.append(before)
        result.append((size + before + behind - reach) // strides[-1] + 1)
    return Window(
        (*image, channels), (*result, filters), tuple(kernel), tuple(strides), tuple(dilations),
        tuple(pads),
    )  # fmt: skip


def convolution(cases, shape, *, rounding="double", dtype="int8", lowest=-127, depthwise=False):
    """A convolution with that window; weights at their ends make accumulators large."""
    channels, filters = shape.image[2], shape.result[2]
    form = (filters, *shape.kernel, 1 if depthwise else channels)
    weights = cases.random.integers(lowest, 128, form).astype(np.int8)
    if cases.choose(True, False):
        weights[0] = lowest
    depth = int(np.prod(form[1:]))
    spread = np.sqrt(depth) * 74 * (74 if dtype == "int8" else 18000)
    bias = cases.random.integers(-int(spread), int(spread), filters)
    scales = cases.choose(1, filters)
    cases.add(
        Convolution(
            name=f"layer {len(cases.layers)}",
            inputs=(cases.tensor((1, *shape.image), dtype),),
            output=cases.output((1, *shape.result), dtype),
            sources=(),
            window=shape,
            weights=weights,
            bias=bias.astype(np.int64),
            rescale=cases.rescale(spread, rounding, scales, dtype),
            groups=channels if depthwise else 1,
        )
    )


def product(rows, inputs, filters):
    """The window of a fully connected layer."""
    return Window((1, rows, inputs), (1, rows, filters), (1, 1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_dense(variant):
    cases = Cases(1)
    for rounding in ("double", "double", "single", "wide", "real"):
        for _ in range(7):
            channels, filters = (int(n) for n in cases.random.integers(1, 20, 2))
            lowest = cases.choose(-127, -128)
            convolution(cases, window(cases, channels, filters), rounding=rounding, lowest=lowest)
    for rows, inputs, filters in [
        (1, 16, 10), (1, 37, 3), (1, 200, 33), (3, 24, 12), (40, 8, 16), (17, 12, 5), (9, 64, 31),
    ]:  # fmt: skip
        convolution(cases, product(rows, inputs, filters))
    cases.check(variant, CHECKS)


@pytest.mark.parametrize("rounding", ["double", "single", "real"])
def test_scales_of_one_and_more(rounding):
    cases = Cases(4)
    for filters in (3, 8, 17):
        for shift in (2, 25, 30, 31, 32):
            convolution(cases, product(5, 2, filters), rounding=rounding)
            layer = cases.layers[-1]
            shifts = np.full(filters, max(shift, 46 if rounding == "real" else 2))
            shifts[: filters // 2] += 2
            multiplier = cases.random.integers(1 << 30, 1 << 31, filters)
            cases.layers[-1] = dataclasses.replace(
                layer,
                weights=cases.random.integers(-3, 4, layer.weights.shape).astype(np.int8),
                bias=layer.bias % 50,
                rescale=dataclasses.replace(layer.rescale, multiplier=multiplier, shift=shifts),
            )
    cases.check("dotprod", CHECKS)


def test_every_tail_is_met():
    cases = Cases(5)
    for rounding, shift in [
        ("double", 40), ("double", 31), ("single", 40), ("single", 31), ("single", 29),
        ("double", 2), ("wide", 40), ("real", 60),
    ]:  # fmt: skip
        convolution(cases, product(5, 4, 8), rounding=rounding)
        layer = cases.layers[-1]
        shifts = np.array([shift, shift + 2] * 4)
        multiplier = np.full(8, (1 << 30) + 12345)
        cases.layers[-1] = dataclasses.replace(
            layer, rescale=dataclasses.replace(layer.rescale, multiplier=multiplier, shift=shifts)
        )
    text = "".join(write_sources(network_of(*cases.layers), {"neon"}).files.values())
    for tail in ("double", "double_mixed", "single", "single_mixed", "wide"):
        assert f"neon_rescale_{tail}(" in text
    for tail in ("double", "real"):
        assert f"neon_finish_{tail}(" in text
    cases.check("neon")


@pytest.mark.parametrize("variant", VARIANTS)
def test_dense_of_16_bits(variant):
    cases = Cases(2)
    for rounding in ("double", "wide", "wide", "single"):
        for _ in range(4):
            channels, filters = (int(n) for n in cases.random.integers(1, 20, 2))
            shape = window(cases, channels, filters, largest=4)
            convolution(cases, shape, rounding=rounding, dtype="int16")
    for rows, inputs, filters in [(1, 16, 10), (1, 37, 3), (20, 8, 16), (9, 12, 31)]:
        convolution(cases, product(rows, inputs, filters), rounding="wide", dtype="int16")
    cases.check(variant)


@pytest.mark.parametrize("variant", VARIANTS)
def test_depthwise(variant):
    cases = Cases(3)
    for rounding in ("double", "double", "single", "real"):
        for dtype in ("int8", "int8", "int16"):
            for _ in range(4):
                channels = int(cases.choose(cases.random.integers(2, 40), 8, 16, 24))
                convolution(
                    cases, window(cases, channels, channels, largest=5), rounding=rounding,
                    dtype=dtype, lowest=cases.choose(-127, -128), depthwise=True,
                )  # fmt: skip
    convolution(
        cases, Window((6, 9, 24), (6, 9, 24), (3, 3), (1, 1), (1, 1), (1, 1)), depthwise=True
    )
    text = write_sources(network_of(*cases.layers), {variant}).files["model.c"]
    forms = {"dotprod": ("columns", "tapwords"), "neon": ("taps", "taps_full", "tapwords")}
    for form in forms[variant]:
        assert f"static void neon_{form}_" in text
    cases.check(variant, CHECKS)


@pytest.mark.skipif(shutil.which("clang++") is None, reason="needs clang")
@pytest.mark.parametrize(("language", "standard"), [("c", "c99"), ("c++", "c++11")])
def test_the_code_is_clean(tmp_path, language, standard):
    cases = Cases(6)
    for dtype in ("int8", "int16"):
        for depthwise in (False, True):
            shape = window(cases, 8, 8)
            convolution(cases, shape, dtype=dtype, depthwise=depthwise)
            convolution(cases, shape, dtype=dtype, depthwise=depthwise, rounding="wide")
    for variant, machine in (("dotprod", "armv8.2-a+dotprod"), ("neon", "armv8-a")):
        files = write_sources(network_of(*cases.layers), {variant}).files
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        for name in ("model.c", "model_weights.c"):
            command = ["clang", "--target=aarch64-linux-gnu", "-I/usr/aarch64-linux-gnu/include"]
            command += [f"-march={machine}", f"-std={standard}", "-x", language, *STRICT]
            subprocess.run([*command, "-fsyntax-only", str(tmp_path / name)], check=True)
