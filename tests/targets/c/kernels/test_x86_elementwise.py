"""AVX2 and AVX-512 VNNI: sums, tables, requantizations and PRelus, bit for bit."""

import itertools

import numpy as np
import pytest

from intaglio.targets.c.network import PRelu, Requantization, Sum, Table
from tests.targets.c.kernels.batches import Batch
from tests.targets.c.kernels.test_x86_layers import VARIANTS, count_kernels

EVERY = np.arange(-128, 128, dtype=np.int8)


def _sum(batch, shapes, scales, sign=1):
    first, second = (batch.operand("int8", shape) for shape in shapes)
    result = np.broadcast_shapes(*shapes)
    batch.add(
        Sum(
            f"sum {len(batch.layers)}", (first, second),
            batch.output(result, "int8", scales[2].zero_point), (), sign, 20, *scales,
        )
    )  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_sums(variant, capfd):
    batch = Batch(1)
    for rounding, size in itertools.product(("double", "single"), (1, 31, 64, 200, 1)):
        scales = (
            batch.rescale(rounding, 31, multiplier=1 << 30),
            batch.rescale(rounding, 31 + size % 5),
            batch.rescale(rounding, 47 + size % 4, "int8"),
        )
        for sign in (1, -1):
            _sum(batch, ((size,), (size,)), scales, sign)
    scales = tuple(batch.rescale("double", shift, "int8" if shift > 40 else "int32")
                   for shift in (31, 33, 49))  # fmt: skip
    _sum(batch, ((3, 8), (8,)), scales)
    batch.check(capfd, variant=variant)
    assert count_kernels(batch.layers, variant) == len(batch.layers) - 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_sums_of_all_pairs_of_values(variant, capfd):
    batch = Batch(2)
    pairs = [np.ascontiguousarray(values) for values in np.meshgrid(EVERY, EVERY)]
    for shifts in ((31, 31, 48), (31, 32, 49), (33, 31, 50)):
        tensors = [batch.tensor(values, zero) for values, zero in zip(pairs, (-7, 11), strict=True)]
        scales = [batch.rescale("double", shift) for shift in shifts[:2]]
        last = batch.rescale("double", shifts[2], "int8")
        output = batch.output(pairs[0].shape, "int8", last.zero_point)
        batch.add(Sum(f"sum {len(batch.layers)}", tuple(tensors), output, (), 1, 20, *scales, last))
    batch.check(capfd, variant=variant)
    assert count_kernels(batch.layers, variant) == len(batch.layers)


@pytest.mark.parametrize("variant", VARIANTS)
def test_tables_and_requantizations(variant, capfd):
    batch = Batch(3)
    for size in (0, 1, 63, 64, 65, 256):
        x = batch.tensor(np.resize(EVERY, size))
        entries = batch.integers("int8", (256,))
        batch.add(Table(f"table {size}", (x,), batch.output((size,), "int8"), (), entries))
    for shift, magnitude in itertools.product(range(20, 44), (False, True)):
        form = batch.rescale(("double", "single")[shift % 2], shift, "int8")
        output = batch.output((256,), "int8", form.zero_point)
        x = batch.tensor(EVERY, int(batch.random.integers(-128, 128)))
        name = f"requantization {len(batch.layers)}"
        batch.add(Requantization(name, (x,), output, (), form, magnitude))
    batch.check(capfd, variant=variant)
    assert count_kernels(batch.layers, variant) == len(batch.layers) - 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_prelus_of_every_value(variant, capfd):
    batch = Batch(4)
    for channels, rounding, shift in itertools.product(
        (1, 12, 56), ("double", "single"), (31, 32, 34)
    ):
        positive = batch.rescale(rounding, shift, "int8")
        negative = batch.rescale(rounding, shift + 6)
        negative = type(positive)(
            negative.rounding, negative.multiplier, negative.shift,
            positive.zero_point, positive.minimum, positive.maximum,
        )  # fmt: skip
        x = batch.tensor(np.repeat(EVERY, channels).reshape(256, channels), -20 + shift)
        slopes = batch.tensor(batch.integers("int8", (channels,)), constant=True)
        output = batch.output((256, channels), "int8", positive.zero_point)
        batch.add(PRelu(f"prelu {len(batch.layers)}", (x, slopes), output, (), positive, negative))
    batch.check(capfd, variant=variant)
    assert count_kernels(batch.layers, variant) >= len(batch.layers) // 2


@pytest.mark.parametrize("variant", VARIANTS)
def test_results_take_the_place_of_operands(variant, capfd):
    batch = Batch(5)
    shape = (1, 5, 6, 7)
    form = batch.rescale("double", 32, "int8")
    tensor = batch.operand("int8", shape)
    for place in range(3):
        output = batch.output(shape, "int8", form.zero_point)
        batch.add(Requantization(f"before {place}", (tensor,), output, (), form))
        tensor = output
    other = batch.operand("int8", shape)
    scales = [batch.rescale("double", shift) for shift in (32, 33)]
    last = batch.rescale("double", 50, "int8")
    output = batch.output(shape, "int8", last.zero_point)
    batch.add(Sum("sum", (tensor, other), output, (), -1, 20, *scales, last))
    after = batch.output(shape, "int8")
    batch.add(Table("after", (output,), after, (), batch.integers("int8", (256,))))
    batch.check(capfd, variant=variant)
    assert count_kernels(batch.layers, variant) == len(batch.layers)
