"""Integers in place of exact rescales: found for usual constants, and exact for every argument."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.targets.c.kernels.portable.affine import affine
from intaglio.targets.c.kernels.portable.prelu import affine_sides, affine_slopes
from intaglio.targets.c.kernels.portable.sums import affine_sum
from intaglio.targets.c.network import PRelu, Rescale, Sum, Tensor
from intaglio.transforms.fixed_point import Rounding, quantize_multiplier, rescale

EVERY = np.arange(-128, 128, dtype=np.int64)


def form_of(scale, rounding, zero_point=0, minimum=-(1 << 31), maximum=(1 << 31) - 1):
    fixed = quantize_multiplier([scale])
    multiplier = fixed.multiplier.astype(np.int64)
    return Rescale(rounding, multiplier, fixed.shift, zero_point, minimum, maximum)


def random_sum(random, rounding):
    """A sum as converters write it: scales within a factor of ten, fused ReLUs among them."""
    a, b = random.uniform(0.01, 0.1, 2)
    b = a if random.integers(4) == 0 else b
    y = random.choice([2 * a, a, max(a, b) * random.uniform(0.6, 2)])
    zeros = [int(z) for z in random.integers(-128, 128, 3)]
    lowest = min(zeros[2], 126) if random.integers(2) else -128
    twice = 2 * max(a, b)
    tensors = [Tensor(n, (4,), "int8", 1.0, z) for n, z in zip("aby", zeros, strict=True)]
    return Sum(
        "sum", tuple(tensors[:2]), tensors[2], (), int(random.choice([1, -1])), 20,
        form_of(a / twice, rounding), form_of(b / twice, rounding),
        form_of(twice / (2.0**20 * y), rounding, zeros[2], lowest, 127),
    )  # fmt: skip


def applied(form, accumulators):
    fixed = quantize_multiplier([np.ldexp(float(form.multiplier[0]), -int(form.shift[0]))])
    result = rescale(accumulators, fixed, form.rounding) + form.zero_point
    return np.clip(result, form.minimum, form.maximum)


@pytest.mark.parametrize("rounding", [Rounding.DOUBLE, Rounding.SINGLE])
def test_sums_have_integers_that_are_exact_for_every_pair(rounding):
    random = np.random.default_rng(1)
    without = 0
    for _ in range(40):
        layer = random_sum(random, rounding)
        found = affine_sum(layer)
        if found is None:
            without += 1
            continue
        a, b = (EVERY - tensor.zero_point << 20 for tensor in layer.inputs)
        first, second = applied(layer.first, a), applied(layer.second, b)
        expected = applied(layer.rescale, first[:, None] + layer.sign * second[None, :])
        p, q = found.factors
        # As C computes it, from the left, in 32 bits.
        left, right = EVERY[:, None] * p, EVERY[None, :] * q + found.offset
        for part in (left, right, left + right):
            assert np.array_equal(part, part.astype(np.int32))
        levels = (left + right) >> found.places
        limits = layer.rescale.minimum, layer.rescale.maximum
        np.testing.assert_array_equal(np.clip(levels, *limits), expected)
    # Where the output's scale is twice that of the finer operand, single rounding breaks the exact
    # ties of that operand by the rounding errors of the other steps.
    assert without <= (0 if rounding is Rounding.DOUBLE else 10)


def test_both_sides_of_a_prelu_are_exact_where_they_have_integers():
    random = np.random.default_rng(2)
    seen = [0, 0]
    for _ in range(30):
        zero_point, zero = int(random.integers(-128, 128)), int(random.integers(-60, 60))
        slopes = random.integers(0, 128, 6).astype(np.int8)
        forms = [form_of(random.uniform(0.1, 2) / d, Rounding.DOUBLE, zero, -128, 127)
                 for d in (1, 127)]  # fmt: skip
        data = Tensor("x", (6,), "int8", 1.0, zero_point)
        constant = Tensor("slope", (6,), "int8", 1.0, 0, data=slopes)
        output = Tensor("y", (6,), "int8", 1.0, zero)
        found = affine_sides(PRelu("prelu", (data, constant), output, (), *forms))
        v = EVERY - zero_point
        arguments = (v[v >= 0], np.multiply.outer(v[v < 0], slopes.astype(np.int64)))
        for place, (side, form, values) in enumerate(zip(found, forms, arguments, strict=True)):
            if side is not None:
                seen[place] += 1
                levels = side.results([values], form.minimum, form.maximum)
                np.testing.assert_array_equal(levels, applied(form, values))
    assert min(seen) > 10


@pytest.mark.parametrize("rounding", [Rounding.DOUBLE, Rounding.SINGLE])
def test_slopes_have_integers_of_their_own(rounding):
    random = np.random.default_rng(3)
    for _ in range(10):
        zero_point, zero = int(random.integers(-127, 128)), int(random.integers(-60, 60))
        slopes = random.integers(-128, 128, (5, 1)).astype(np.int8)
        form = form_of(random.uniform(0.1, 2) / 127, rounding, zero, -128, 127)
        tensors = [Tensor("x", (5, 6), "int8", 1.0, zero_point)]
        tensors.append(Tensor("slope", (5, 1), "int8", 1.0, 0, data=slopes))
        output = Tensor("y", (5, 6), "int8", 1.0, zero)
        found = affine_slopes(PRelu("prelu", tuple(tensors), output, (), form, form))
        assert found is not None
        v = EVERY[zero_point + 128 :: -1] - zero_point
        v = v[v < 0]
        sums = np.multiply.outer(found.factors.astype(np.int64), v) + found.offsets[:, None]
        np.testing.assert_array_equal(sums, sums.astype(np.int32))
        expected = applied(form, np.multiply.outer(slopes.reshape(-1).astype(np.int64), v))
        np.testing.assert_array_equal(np.clip(sums >> found.places, -128, 127), expected)


def test_what_no_line_gives_has_no_integers():
    bent = np.where(EVERY < 0, EVERY // 3, EVERY)
    assert affine([EVERY], bent, [1.0], -128, 127) is None


def test_a_constant_needs_no_factor():
    found = affine([EVERY], np.full(256, 5), [0.3], 5, 5)
    assert found is not None
    np.testing.assert_array_equal(found.results([EVERY], 5, 5), np.full(256, 5))
    assert affine([EVERY], np.full(256, -7), [0.3], -128, 127, 20).offset == -7 << 20


def test_rails_leave_the_line_free():
    result = np.clip(EVERY * 3 + 7, -128, 127)
    found = affine([EVERY], result, [3.0], -128, 127)
    assert found is not None
    np.testing.assert_array_equal(found.results([EVERY], -128, 127), result)
