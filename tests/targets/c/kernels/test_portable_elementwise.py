"""Sums, products, extremes, requantizations and PRelus in portable C, bit for bit."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.choose import implement
from intaglio.targets.c.kernels.portable.broadcasting import nest_of
from intaglio.targets.c.kernels.portable.prelu import affine_sides, affine_slopes
from intaglio.targets.c.kernels.portable.requantization import (
    TABLE_ELEMENTS,
    affine_requantization,
)
from intaglio.targets.c.network import (
    Extreme,
    Multiplication,
    PRelu,
    Requantization,
    Rescale,
    Sum,
)
from intaglio.transforms.fixed_point import Rounding
from tests.targets.c.kernels.batches import Batch

ROUNDINGS = ("double", "single")
DTYPES = ("int8", "int16")

#: Pairs of shapes that broadcast.
SHAPES = (
    ((1, 6, 5, 7), (1, 6, 5, 7)),
    ((1, 6, 5, 7), (7,)),
    ((1, 6, 5, 7), (1, 6, 5, 1)),
    ((1, 1, 5, 7), (1, 6, 1, 1)),
    ((1, 6, 1, 7), (1, 1, 5, 1)),
    ((2, 1, 3, 1, 2), (4, 1, 5, 1)),
    ((9,), (1,)),
    ((1,), (1, 1)),
    ((), (3, 4)),
    ((), ()),
    ((1, 0, 4), (4,)),
)


def result_shape(*shapes):
    return np.broadcast_shapes(*shapes)


def swapped(batch, pair):
    return pair if batch.random.integers(2) else pair[::-1]


def sum_layer(batch, shapes, dtypes, rounding, shifts, constant=False, multiplier=None):
    """A sum or difference of random operands with shifts of the operands and of the result."""
    first = batch.operand(dtypes[0], shapes[0])
    second = batch.operand(dtypes[1], shapes[1], constant)
    rescale = batch.rescale(rounding, shifts[2], dtypes[2])
    return batch.add(
        Sum(
            f"sum {len(batch.layers)}",
            (first, second),
            batch.output(result_shape(*shapes), dtypes[2], rescale.zero_point),
            (),
            int(batch.random.choice([1, -1])),
            15 if "int16" in dtypes[:2] else 20,
            batch.rescale(rounding, shifts[0], multiplier=multiplier),
            batch.rescale(rounding, shifts[1]),
            rescale,
        )
    )


def test_sums(capfd):
    batch = Batch(1)
    for number, (rounding, pair) in enumerate(itertools.product(ROUNDINGS, SHAPES)):
        mixed = [str(batch.random.choice(DTYPES)) for _ in range(3)]
        dtypes = mixed if number % 2 else ["int8"] * 3
        # The usual case: the larger scale is exactly one half.
        shifts = (31, int(batch.random.integers(31, 36)), int(batch.random.integers(44, 56)))
        half = 1 << 30 if number % 4 else None
        constant = number % 3 == 0
        sum_layer(batch, swapped(batch, pair), dtypes, rounding, shifts, constant, half)
    for rounding, shift in itertools.product(ROUNDINGS, range(2, 63, 7)):
        shifts = (*(int(s) for s in batch.random.integers(30, 63, 2)), shift)
        for dtype in DTYPES:
            sum_layer(batch, ((40,), (40,)), ("int8", "int8", dtype), rounding, shifts)
    results = batch.check(capfd)
    assert {-128, 127} <= {int(v) for array in results.values() for v in array.ravel()}


def test_every_pair_of_int8_values_adds(capfd):
    batch = Batch(2)
    every = np.arange(-128, 128, dtype=np.int8)
    for rounding in ROUNDINGS:
        first = batch.tensor(every[:, None], 0)
        second = batch.tensor(every[None, :], 127)
        scales = [
            batch.rescale(rounding, s, "int32", m) for s, m in ((31, 1 << 30), (33, 17 << 26))
        ]
        final = batch.rescale(rounding, 49, "int8", 1 << 30)
        output = batch.output((256, 256), "int8", final.zero_point)
        name = f"sum {rounding}"
        batch.add(Sum(name, (first, second), output, (), 1, 20, *scales, final))
    batch.check(capfd)


def test_a_sum_that_does_not_fit_32_bits_is_refused():
    batch = Batch(3)
    layer = sum_layer(batch, ((4,), (4,)), ("int8", "int8", "int8"), "double", (28, 28, 50))
    with pytest.raises(InternalError, match="32 bits"):
        implement(layer, "portable", 0)


def test_products(capfd):
    batch = Batch(4)

    def product(pair, dtypes, rounding, shift, constant=False):
        first = batch.operand(dtypes[0], pair[0])
        second = batch.operand(dtypes[1], pair[1], constant)
        form = batch.rescale(rounding, shift, dtypes[2])
        output = batch.output(result_shape(*pair), dtypes[2], form.zero_point)
        name = f"product {len(batch.layers)}"
        batch.add(Multiplication(name, (first, second), output, (), form))

    for rounding, pair in itertools.product(ROUNDINGS, SHAPES):
        dtypes = [str(batch.random.choice(DTYPES)) for _ in range(3)]
        constant = bool(batch.random.integers(2))
        product(
            swapped(batch, pair), dtypes, rounding, int(batch.random.integers(34, 44)), constant
        )
    for rounding, shift in itertools.product(ROUNDINGS, range(3, 63, 3)):
        product(((50,), (50,)), ("int16", "int16", "int16"), rounding, shift)
    batch.check(capfd)


def test_extremes(capfd):
    batch = Batch(5)
    for largest, dtype, pair in itertools.product((True, False), DTYPES, SHAPES):
        operands = [batch.operand(dtype, shape) for shape in swapped(batch, pair)]
        output = batch.output(result_shape(*pair), dtype)
        batch.add(Extreme(f"extreme {len(batch.layers)}", tuple(operands), output, (), largest))
    shapes = ((3, 1, 5), (5,), (3, 4, 5), ())
    operands = tuple(batch.operand("int8", shape, shape == (5,)) for shape in shapes)
    batch.add(Extreme("extreme of four", operands, batch.output((3, 4, 5), "int8"), (), True))
    batch.check(capfd)


def requantization(batch, dtypes, form, size, magnitude=False):
    limits = np.iinfo(dtypes[0])
    x = batch.integers(dtypes[0], (size,))
    edges = np.array([limits.min, limits.min + 1, -1, 0, 1, limits.max], dtypes[0])
    x[: min(6, size)] = edges[:size]
    zero_point = int(batch.random.integers(-128, 128)) if dtypes[0] == "int8" else 0
    batch.add(
        Requantization(
            f"requantization {len(batch.layers)}",
            (batch.tensor(x, zero_point),),
            batch.output((size,), dtypes[1], form.zero_point),
            (),
            form,
            magnitude,
        )
    )


def test_requantizations_with_every_shift(capfd):
    batch = Batch(6)
    for shift in range(2, 63):
        rounding = ROUNDINGS[shift // 2 % 2]
        requantization(batch, ("int16", "int16"), batch.rescale(rounding, shift, "int16"), 60)
    batch.check(capfd)


@pytest.mark.parametrize("size", [TABLE_ELEMENTS - 1, TABLE_ELEMENTS])
def test_requantizations_that_have_no_integers(capfd, size):
    # Both roundings matter on both sides of zero: no straight line does that.
    batch = Batch(10)
    form = Rescale(Rounding.DOUBLE, np.array([1717986918]), np.array([32]), 3, -128, 127)
    x = batch.tensor(np.resize(np.arange(-128, 128, dtype=np.int8), size), 0)
    output = batch.output((size,), "int8", 3)
    layer = batch.add(Requantization("requantization", (x,), output, (), form))
    assert affine_requantization(layer) is None
    arrays = implement(layer, "portable", 0).arrays
    assert [array.data.nbytes for array in arrays] == ([256] if size == TABLE_ELEMENTS else [])
    batch.check(capfd)


def test_requantizations_of_other_roundings_types_and_sizes(capfd):
    batch = Batch(7)
    for dtypes, size in itertools.product(
        itertools.product(DTYPES, DTYPES), (0, 1, 77, TABLE_ELEMENTS)
    ):
        for magnitude in (False, True):
            # Around 1, and 1 itself, which only clamps.
            for multiplier in (None, 1 << 30):
                rounding = str(batch.random.choice(ROUNDINGS))
                form = batch.rescale(rounding, 30, dtypes[1], multiplier)
                requantization(batch, dtypes, form, size, magnitude)
    for shift in (24, 28, 31, 40, 62):
        requantization(batch, ("int16", "int8"), batch.rescale("wide", shift, "int8"), 300)
    for shift in (46, 52, 60, 66, 97):
        mantissa = int(batch.random.integers(1 << 52, 1 << 53))
        form = batch.rescale("real", shift, "int16", mantissa)
        requantization(batch, ("int16", "int16"), form, 300)
    requantization(batch, ("int8", "int8"), batch.rescale("double", 31, "int8", 0), 50)
    batch.check(capfd)


def test_prelus(capfd):
    batch = Batch(8)
    shapes = (
        ((1, 4, 5, 6), (6,)),
        ((1, 4, 5, 6), (1, 1, 6)),
        ((1, 4, 5, 6), (1, 5, 1)),
        ((1, 4, 5, 6), (4, 5, 6)),
        ((3, 7), (1,)),
        ((1, 1), (1,)),
        ((0, 3), (3,)),
    )
    for rounding, (shape, slopes), wide in itertools.product(ROUNDINGS, shapes, (True, False)):
        dtype = "int16" if wide else "int8"
        result = str(batch.random.choice(DTYPES)) if wide else "int8"
        positive = batch.rescale(rounding, int(batch.random.integers(28, 36)), result)
        negative = batch.rescale(rounding, int(batch.random.integers(28, 44)), result)
        scale = {"multiplier": negative.multiplier, "shift": negative.shift}
        negative = dataclasses.replace(positive, **scale)
        slope_tensor = batch.tensor(batch.integers(dtype, slopes), 0, constant=True)
        output = batch.output(shape, result, positive.zero_point)
        name = f"prelu {len(batch.layers)}"
        inputs = (batch.operand(dtype, shape), slope_tensor)
        batch.add(PRelu(name, inputs, output, (), positive, negative))
    batch.check(capfd)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_prelus_of_usual_scales(capfd, rounding):
    # The ways to have the negative side: integers for all products, for each slope, or none.
    batch = Batch(11)
    ways = set()
    every = np.arange(-128, 128, dtype=np.int8)
    for shift, slopes in itertools.product((37, 38), (every[140::16], every[::37], every[::3])):
        form = batch.rescale(rounding, 32, "int8", int(batch.random.integers(1 << 30, 1 << 31)))
        multiplier = batch.random.integers(1 << 30, 1 << 31, 1)
        negative = dataclasses.replace(form, multiplier=multiplier, shift=np.array([shift]))
        x = batch.tensor(np.repeat(every[:, None], slopes.size, 1), int(batch.random.integers(100)))
        slope = batch.tensor(slopes, 0, constant=True)
        output = batch.output(x.shape, "int8", form.zero_point)
        name = f"prelu {len(batch.layers)}"
        layer = batch.add(PRelu(name, (x, slope), output, (), form, negative))
        both, each = affine_sides(layer), affine_slopes(layer)
        assert both[0] is not None
        ways.add("all" if both[1] is not None else "each" if each is not None else "none")
    assert {"all", "each"} <= ways
    batch.check(capfd)


def test_layers_overwrite_their_operands(capfd):
    batch = Batch(9)
    shape = (1, 5, 6, 7)

    def before(zero_point=0):
        # Something in the arena that only the next layer reads.
        form = batch.rescale("double", 30, "int8", 1 << 30)
        output = batch.output(shape, "int8", zero_point)
        name = f"before {len(batch.layers)}"
        batch.add(Requantization(name, (batch.operand("int8", shape),), output, (), form))
        return output

    def after(layer):
        batch.add(layer)
        form = batch.rescale("double", 31, "int8")
        output = batch.output(shape, "int8")
        batch.add(Requantization(f"after {len(batch.layers)}", (layer.output,), output, (), form))

    forms = [batch.rescale("double", shift) for shift in (32, 33)]
    scale, other = batch.rescale("double", 50, "int8"), batch.operand("int8", (7,))
    first, second, slopes = before(3), before(-5), batch.operand("int8", (7,), constant=True)
    after(Sum("s", (first, second), batch.output(shape, "int8"), (), -1, 20, *forms, scale))
    assert implement(batch.layers[2], "portable", 0).in_place == (0, 1)
    after(Multiplication("m", (other, before(7)), batch.output(shape, "int8"), (), scale))
    assert implement(batch.layers[5], "portable", 0).in_place == (1,)
    after(Extreme("e", (before(), before(), other), batch.output(shape, "int8"), (), False))
    after(PRelu("p", (before(-9), slopes), batch.output(shape, "int8"), (), scale, scale))
    wide = batch.output(shape, "int16")
    layer = Requantization("r", (before(1),), wide, (), batch.rescale("double", 25, "int16"))
    after(layer)
    assert implement(layer, "portable", 0).in_place == ()
    batch.check(capfd)


def test_axes_that_are_walked_alike_become_one_loop():
    same = nest_of((1, 6, 5, 7), [(1, 6, 5, 7), (1, 6, 5, 7)])
    assert same.sizes == (210,)
    channels = nest_of((1, 6, 5, 7), [(1, 6, 5, 7), (7,)])
    assert (channels.sizes, channels.strides) == ((30, 7), ((7, 1), (0, 1)))
    pixels = nest_of((1, 6, 5, 7), [(1, 6, 5, 7), (1, 6, 5, 1)])
    assert (pixels.sizes, pixels.strides) == ((30, 7), ((7, 1), (1, 0)))


def test_shapes_that_do_not_broadcast_are_refused():
    with pytest.raises(InternalError, match="broadcast"):
        nest_of((4, 5), [(4, 5), (4,)])
