"""Look-up functions of the dialect against plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.transforms import tables
from tests.passes.dialect import python_integers as judge
from tests.passes.dialect.one_node import run

PROPERTY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SHAPES = ((1,), (2, 3), (1, 1, 1, 1), (2, 3, 5, 7), (0, 3, 2, 2), (3, 0, 2, 2), (3, 1), ())
seeds = st.integers(0, 2**32 - 1)


def every_int8(generator, shape):
    return generator.integers(-128, 128, shape).astype(np.int8)


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@PROPERTY
@given(seed=seeds, shape=st.sampled_from(SHAPES))
def test_table_equals_python_integers(dtype, seed, shape):
    generator = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    entries = generator.integers(limits.min, limits.max, 256, endpoint=True).astype(dtype)
    x = every_int8(generator, shape)
    result = run("Table", {"x": x, "table": entries}, dtype)
    np.testing.assert_array_equal(result, judge.table(x, entries))


def test_table_looks_every_value_up():
    x = np.arange(-128, 128, dtype=np.int8)
    reversed_table = x[::-1].copy()
    result = run("Table", {"x": x, "table": reversed_table}, np.int8, constants=["table"])
    np.testing.assert_array_equal(result, reversed_table)


@PROPERTY
@given(seed=seeds, shape=st.sampled_from([shape for shape in SHAPES if len(shape) >= 2]))
def test_channelwise_table_equals_python_integers(seed, shape):
    generator = np.random.default_rng(seed)
    entries = every_int8(generator, (shape[1], 256))
    x = every_int8(generator, shape)
    result = run("TableChannelwise", {"x": x, "table": entries}, np.int8)
    np.testing.assert_array_equal(result, judge.table_channelwise(x, entries))


def test_channelwise_table_as_a_constant():
    generator = np.random.default_rng(1)
    x, entries = every_int8(generator, (2, 5, 3, 3)), every_int8(generator, (5, 256))
    result = run("TableChannelwise", {"x": x, "table": entries}, np.int8, constants=["table"])
    np.testing.assert_array_equal(result, judge.table_channelwise(x, entries))


@PROPERTY
@given(seed=seeds, shape=st.sampled_from(SHAPES), step=st.integers(0, 32767))
def test_interpolated_table_equals_python_integers(seed, shape, step):
    generator = np.random.default_rng(seed)
    walk = np.cumsum(generator.integers(-step, step, 513, endpoint=True))
    # Folded at the rails; clipping keeps neighbors at most `step` apart.
    entries = np.clip(walk, -32768, 32767).astype(np.int16)
    x = generator.integers(-32768, 32768, shape).astype(np.int16)
    result = run("TableInterpolated", {"x": x, "table": entries}, np.int16)
    np.testing.assert_array_equal(result, judge.table_interpolated(x, entries))


def test_interpolated_table_on_all_65536_inputs():
    x = np.arange(-32768, 32768).astype(np.int16)
    entries = np.round(32767 * np.sin(np.linspace(-9, 9, 513))).astype(np.int16)
    result = run("TableInterpolated", {"x": x, "table": entries}, np.int16, constants=["table"])
    np.testing.assert_array_equal(result, judge.table_interpolated(x, entries))


def test_interpolation_across_the_whole_range_does_not_wrap():
    x = np.arange(-32768, 32768).astype(np.int16)
    entries = np.where(np.arange(513) % 2, 32767, -32768).astype(np.int16)
    result = run("TableInterpolated", {"x": x, "table": entries}, np.int16)
    np.testing.assert_array_equal(result, tables.lookup_int16(x, entries))
    assert result[:129].tolist() == sorted(result[:129].tolist())
