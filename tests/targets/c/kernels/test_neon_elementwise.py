"""Sums, requantizations, tables, pools, reductions and PRelu on emulated AArch64."""

import dataclasses

import numpy as np
import pytest

from intaglio.targets.c.network import (
    Pool,
    PRelu,
    Reduction,
    Requantization,
    Rescale,
    Sum,
    Table,
    Window,
)
from intaglio.transforms.fixed_point import Rounding
from tests.targets.c.kernels.neon_programs import CHECKS, Cases, needs_tools

pytestmark = needs_tools

SHAPES = [(1, 4, 4, 8), (1, 3, 5, 7), (1, 2, 2, 3), (1, 129), (1, 16), (1, 1)]


def scale(cases, rounding, shift):
    """A rescale without zero point and clamp, as the operands of a sum have it."""
    multiplier = cases.choose(1 << 30, 3 << 29, int(cases.random.integers(1 << 30, 1 << 31)))
    return Rescale(Rounding(rounding), np.array([multiplier]), np.array([shift]))


def add_sum(cases, shape, rounding, dtype):
    left = 20 if dtype == "int8" else 15
    shifts = [31, 31 + int(cases.random.integers(0, 4))]
    first, second = (scale(cases, rounding, shift) for shift in shifts)
    if cases.choose(True, False):
        first, second = second, first
    spread = 2.0**left * (128 if dtype == "int8" else 32768)
    cases.add(
        Sum(
            name=f"sum {len(cases.layers)}",
            inputs=(cases.tensor(shape, dtype), cases.tensor(shape, dtype)),
            output=cases.output(shape, dtype),
            sources=(),
            sign=cases.choose(1, -1),
            left_shift=left,
            first=first,
            second=second,
            rescale=cases.rescale(spread, rounding, dtype=dtype),
        )
    )


def test_sums():
    cases = Cases(1)
    for rounding in ("double", "single"):
        for dtype in ("int8", "int8", "int16"):
            for shape in SHAPES:
                add_sum(cases, shape, rounding, dtype)
    cases.check("neon", CHECKS)


@pytest.mark.parametrize("seed", range(2))
def test_sums_as_they_are_defined(monkeypatch, seed):
    monkeypatch.setattr(
        "intaglio.targets.c.kernels.neon.elementwise.affine_sum", lambda layer: None
    )
    cases = Cases(seed)
    for rounding in ("double", "single"):
        for shape in SHAPES:
            add_sum(cases, shape, rounding, "int8")
    cases.check("dotprod")


def test_requantizations_and_tables():
    cases = Cases(2)
    for rounding in ("double", "single", "wide"):
        for dtype in ("int8", "int16"):
            for shape in SHAPES[:4]:
                spread = 128 if dtype == "int8" else 32768
                cases.add(
                    Requantization(
                        name=f"requantization {len(cases.layers)}",
                        inputs=(cases.tensor(shape, dtype),),
                        output=cases.output(shape, dtype),
                        sources=(),
                        rescale=cases.rescale(spread, rounding, dtype=dtype),
                        magnitude=cases.choose(True, False),
                    )
                )
    few = sum(layer.output.size < 64 for layer in cases.layers if layer.output.dtype == "int8")
    for shape in [(1, 65), (3, 48), (1, 7, 11, 3)]:
        cases.add(
            Table(
                name=f"table {len(cases.layers)}",
                inputs=(cases.tensor(shape),),
                output=cases.output(shape),
                sources=(),
                table=cases.random.integers(-128, 128, 256).astype(np.int8),
            )
        )
    cases.check("neon", CHECKS, special=len(cases.layers) - few)


def add_pool(cases, image, kernel, strides, pads, average):
    result = [
        (size + 2 * pad - reach) // step + 1
        for size, pad, reach, step in zip(image, pads, kernel, strides, strict=False)
    ]
    shape = Window(image, (*result, image[2]), kernel, strides, (1, 1), pads)
    cases.add(
        Pool(
            name=f"pool {len(cases.layers)}",
            inputs=(cases.tensor((1, *image)),),
            output=cases.output((1, *shape.result)),
            sources=(),
            window=shape,
            average=average,
        )
    )


def test_pools():
    cases = Cases(3)
    for channels in (1, 5, 16, 24, 33):
        for average in (True, False):
            add_pool(cases, (6, 7, channels), (2, 2), (2, 2), (0, 0), average)
            add_pool(cases, (6, 7, channels), (3, 3), (1, 2), (1, 1), average)
            add_pool(cases, (25, 5, channels), (25, 5), (1, 1), (0, 0), average)
    # Some windows lie wholly in the padding.
    add_pool(cases, (3, 3, 20), (1, 1), (1, 1), (2, 2), False)
    add_pool(cases, (20, 30, 3), (20, 30), (1, 1), (0, 0), True)
    dilated = dataclasses.replace(
        cases.layers[-1].window, kernel=(3, 4), dilations=(2, 3), result=(16, 21, 3)
    )
    cases.add(
        dataclasses.replace(
            cases.layers[-1],
            name="dilated",
            inputs=(cases.tensor((1, 20, 30, 3)),),
            output=cases.output((1, 16, 21, 3)),
            window=dilated,
        )
    )
    cases.check("neon", CHECKS)


def test_reductions():
    cases = Cases(4)
    for rounding in ("double", "single"):
        for shape in [(1, 4, 4, 8), (1, 6, 6, 40), (1, 25, 20, 17), (1, 16, 16, 16), (1, 3, 1, 1)]:
            pixels = shape[1] * shape[2]
            cases.add(
                Reduction(
                    name=f"reduction {len(cases.layers)}",
                    inputs=(cases.tensor(shape),),
                    output=cases.output((1, shape[3])),
                    sources=(),
                    axes=(1, 2),
                    kind="sum",
                    offset=int(cases.random.integers(-128 * pixels, 128 * pixels)),
                    rescale=cases.rescale(74 * pixels**0.5, rounding),
                )
            )
    cases.check("neon", CHECKS)


def test_prelu():
    cases = Cases(5)
    for rounding in ("double", "single"):
        for shape, channels in [
            ((1, 4, 4, 8), (8,)), ((1, 3, 5, 7), (1, 1, 7)), ((1, 2, 2, 19), (19,)),
            ((1, 4, 4, 3), (1,)), ((1, 129), (129,)), ((1, 2, 3, 16), (1, 1, 1)),
        ]:  # fmt: skip
            slopes = cases.random.integers(-128, 128, channels).astype(np.int8)
            positive = cases.rescale(74, rounding)
            found = cases.rescale(74 * 74, rounding)
            negative = dataclasses.replace(positive, multiplier=found.multiplier, shift=found.shift)
            cases.add(
                PRelu(
                    name=f"prelu {len(cases.layers)}",
                    inputs=(cases.tensor(shape), cases.tensor(channels, data=slopes)),
                    output=cases.output(shape),
                    sources=(),
                    positive=positive,
                    negative=negative,
                )
            )
    cases.check("neon", CHECKS)
