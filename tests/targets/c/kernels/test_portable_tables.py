"""Tables, interpolated tables and 16-bit sigmoids in portable C, bit for bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.choose import implement
from intaglio.targets.c.network import InterpolatedTable, Sigmoid16, Table
from intaglio.transforms.logistic import SIGMOID_TABLE, logistic_scale, tanh_scale
from tests.targets.c.kernels.batches import Batch

EVERY_INT8 = np.arange(-128, 128, dtype=np.int8)
EVERY_INT16 = np.arange(-32768, 32768).astype(np.int16)


def table_layer(batch, x, entries):
    name = f"table {len(batch.layers)}"
    output = batch.output(x.shape, entries.dtype)
    return batch.add(Table(name, (batch.tensor(x),), output, (), entries))


def test_tables(capfd):
    batch = Batch(1)
    for dtype, shape in itertools.product(("int8", "int16"), ((2, 300), (1,), (), (0, 3))):
        table_layer(batch, batch.integers("int8", shape), batch.integers(dtype, (256,)))
        table_layer(batch, EVERY_INT8, batch.integers(dtype, (256,)))
    batch.check(capfd)


def test_tables_of_channels(capfd):
    batch = Batch(2)
    shapes = ((1, 4, 5, 3), (1, 1, 1, 9), (7, 1), (0, 3))
    for dtype, shape in itertools.product(("int8", "int16"), shapes):
        entries = batch.integers(dtype, (shape[-1], 256))
        table_layer(batch, batch.integers("int8", shape), entries)
    for dtype in ("int8", "int16"):
        table_layer(batch, np.stack([EVERY_INT8] * 3, axis=-1), batch.integers(dtype, (3, 256)))
    batch.check(capfd)


def test_tables_overwrite_an_int8_operand_only():
    batch = Batch(3)
    narrow = table_layer(batch, EVERY_INT8, batch.integers("int8", (256,)))
    wide = table_layer(batch, EVERY_INT8, batch.integers("int16", (256,)))
    assert implement(narrow, "portable", 0).in_place == (0,)
    assert implement(wide, "portable", 0).in_place == ()


def test_a_table_overwrites_its_operand(capfd):
    batch = Batch(4)
    first = table_layer(batch, EVERY_INT8, batch.integers("int8", (256,)))
    second = Table("second", (first.output,), batch.output((256,), "int8"), (), EVERY_INT8[::-1])
    batch.add(second)
    entries = batch.integers("int8", (256, 256))
    batch.add(Table("third", (second.output,), batch.output((256,), "int8"), (), entries))
    batch.check(capfd)


def test_tables_for_other_channels_are_refused():
    batch = Batch(5)
    x = batch.integers("int8", (4, 3))
    layer = table_layer(batch, x, batch.integers("int8", (2, 256)))
    with pytest.raises(InternalError, match="channels"):
        implement(layer, "portable", 0)


def test_interpolated_tables(capfd):
    batch = Batch(6)
    smooth = np.round(32767 * np.sin(np.linspace(-9, 9, 513))).astype(np.int16)
    # Neighbors as far apart as they can be: 16 bits do not hold their difference.
    jagged = np.where(np.arange(513) % 2, 32767, -32768).astype(np.int16)
    for entries in (smooth, jagged, batch.integers("int16", (513,))):
        for x in (EVERY_INT16, batch.integers("int16", (3, 4)), np.zeros((2, 0), np.int16)):
            output = batch.output(x.shape, "int16")
            name = f"interpolated {len(batch.layers)}"
            batch.add(InterpolatedTable(name, (batch.tensor(x),), output, (), entries))
    batch.check(capfd)


@pytest.mark.parametrize("tanh", [False, True])
def test_sigmoids_of_every_int16_value(capfd, tanh):
    batch = Batch(7)
    table = np.array(SIGMOID_TABLE, np.int32)
    scale_of = tanh_scale if tanh else logistic_scale
    scales = [scale_of(s) for s in (2.0**-12, 2.0**-11, 1e-3, 3e-4, 0.7, 2.5, 2.0**-30)]
    scales += [(32767, 0), (32767, 31), (1, 31), (0, 5), (16384, 1)]
    for multiplier, shift in scales:
        name = f"sigmoid {len(batch.layers)}"
        output = batch.output(EVERY_INT16.shape, "int16")
        tensor = batch.tensor(EVERY_INT16)
        batch.add(Sigmoid16(name, (tensor,), output, (), table, multiplier, shift, tanh))
    x = np.zeros((0, 2), np.int16)
    output = batch.output(x.shape, "int16")
    batch.add(Sigmoid16("empty", (batch.tensor(x),), output, (), table, 3, 0, tanh))
    results = batch.check(capfd)
    assert results["y5"][[0, -1]].tolist() == ([-32767, 32767] if tanh else [1, 32767])


def test_a_sigmoid_that_does_not_fit_32_bits_is_refused():
    batch = Batch(8)
    table = np.array(SIGMOID_TABLE, np.int32)
    output = batch.output((4,), "int16")
    x = batch.tensor(np.zeros(4, np.int16))
    layer = Sigmoid16("sigmoid", (x,), output, (), table, 65536, 0, False)
    with pytest.raises(InternalError, match="multiplier"):
        implement(layer, "portable", 0)
