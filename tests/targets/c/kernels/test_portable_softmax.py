"""Softmax of int8 and int16 rows in portable C, bit for bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.choose import implement
from intaglio.targets.c.network import Softmax, Softmax16
from intaglio.transforms.softmax import exp_table, int16_scale, int16_tables
from tests.targets.c.kernels.batches import Batch

SHAPES = ((1, 1), (1, 10), (3, 1000), (0, 4), (2, 3, 5, 7), (13,))


def softmax_layer(batch, x, table):
    name = f"softmax {len(batch.layers)}"
    output = batch.output(x.shape, "int8", -128)
    return batch.add(Softmax(name, (batch.tensor(x),), output, (), {"exp_table": table}))


def logits(batch, shape, dtype="int8"):
    """Rows of equal, close and scattered values."""
    limits = np.iinfo(dtype)
    center = int(batch.random.integers(limits.min, limits.max, endpoint=True))
    spread = int(batch.random.choice([0, 1, 4, limits.max // 4, limits.max * 2]))
    values = batch.random.integers(center - spread, center + spread, shape, endpoint=True)
    return np.clip(values, limits.min, limits.max).astype(dtype)


def test_softmax_of_scales(capfd):
    batch = Batch(1)
    scales = (2.0**-20, 1 / 256, 0.05, 1 / 16, 0.1, 0.3, 1.0, 8.0)
    for shape, scale in itertools.product(SHAPES, scales):
        softmax_layer(batch, logits(batch, shape), exp_table(scale))
    batch.check(capfd)


def test_rows_of_equal_entries(capfd):
    batch = Batch(2)
    # From 512 on the last shift is above 31, and nothing is left.
    for length, value in zip(
        (1, 2, 3, 4, 255, 256, 257, 511, 512, 513, 2048, 4095),
        itertools.cycle((-128, 0, 127)),
        strict=False,
    ):
        softmax_layer(batch, np.full((2, length), value, np.int8), exp_table(1 / 16))
    batch.check(capfd)


def test_any_exponentials(capfd):
    # Not from any scale: sums and products in corners that exponentials do not reach.
    batch = Batch(3)
    for bits in range(32):
        entries = batch.random.integers(0, 1 << bits, 255)
        table = np.array([2**31 - 1, *entries], np.int32)
        softmax_layer(batch, batch.integers("int8", (40, 1 + bits)), table)
        softmax_layer(batch, np.full((1, 5 + bits), -128, np.int8), table)
    full = np.full(256, 2**31 - 1, np.int32)
    softmax_layer(batch, batch.integers("int8", (1, 4095)), full)
    # Ties of the rounding to Q12.19, so many that they count.
    ties = np.array([2**31 - 1, *[2048] * 255], np.int32)
    softmax_layer(batch, np.array([[5] + [4] * 4094], np.int8), ties)
    batch.check(capfd)


def test_rows_whose_sum_does_not_fit_are_refused():
    batch = Batch(4)
    layer = softmax_layer(batch, np.zeros((1, 4096), np.int8), exp_table(0.1))
    with pytest.raises(InternalError, match="too long"):
        implement(layer, "portable", 0)


def softmax16_layer(batch, x, tables, scale, output=None):
    form = int16_scale(scale)
    constants = {
        "exp_table": tables[0],
        "reciprocal_table": tables[1],
        "multiplier": np.array(form.multiplier.item(), np.int32),
        "shift": np.array(form.shift.item(), np.int8),
    }
    output = output or batch.output(x.shape, "int16")
    return Softmax16(f"softmax {len(batch.layers)}", (x,), output, (), constants)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_softmax_of_int16(capfd, precision):
    batch = Batch(5)
    tables = int16_tables(precision)
    for shape, scale in itertools.product(SHAPES, (2.0**-15, 2.0**-12, 1e-3, 0.02, 1.0)):
        x = batch.tensor(logits(batch, shape, "int16"))
        batch.add(softmax16_layer(batch, x, tables, scale))
    for length in (2, 3, 4, 5, 511, 512, 4096):
        x = batch.tensor(np.full((1, length), 77, np.int16))
        batch.add(softmax16_layer(batch, x, tables, 1e-3))
    batch.check(capfd)


def test_softmax_overwrites_its_operand(capfd):
    batch = Batch(6)
    narrow = softmax_layer(batch, logits(batch, (6, 9)), exp_table(0.1))
    for _ in range(2):
        output = batch.output((6, 9), "int8", -128)
        constants = {"exp_table": exp_table(0.2)}
        name = f"softmax {len(batch.layers)}"
        narrow = batch.add(Softmax(name, (narrow.output,), output, (), constants))
    assert implement(narrow, "portable", 0).in_place == (0,)
    tensor = batch.tensor(logits(batch, (6, 9), "int16"))
    for _ in range(3):
        layer = batch.add(softmax16_layer(batch, tensor, int16_tables("float32"), 1e-3))
        tensor = layer.output
    assert implement(layer, "portable", 0).in_place == (0,)
    batch.check(capfd)


def test_tables_that_are_no_exponentials_are_refused():
    batch = Batch(7)
    zeros = np.zeros(513, np.int16)
    x = batch.tensor(np.zeros((1, 4), np.int16))
    layer = softmax16_layer(batch, x, (zeros, zeros), 1e-3)
    with pytest.raises(InternalError, match="softmax"):
        implement(layer, "portable", 0)
    layer = softmax_layer(batch, np.zeros((1, 4), np.int8), np.zeros(256, np.int32))
    with pytest.raises(InternalError, match="exponentials"):
        implement(layer, "portable", 0)
