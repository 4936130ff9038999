"""Rows and constants that go: every bit stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.passes.tables.prune_rows import PruneRows
from intaglio.passes.tables.reachable import Reachable
from intaglio.passes.tables.substitute_convolutions import SubstituteConvolutions
from tests.helpers import operators, run_float
from tests.passes.tables.integer_graphs import (
    Maker,
    assert_same_bits,
    feeds,
    random_convolution,
    twice,
)

PROPERTY = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SPLITS = ("full", "6/2", "4/4")


def pruned(model, split="full"):
    """A copy whose convolutions are tables, pruned."""
    copy = model.clone(deep_copy=True)
    SubstituteConvolutions(SubstituteConvolutions.Config(force=True, split=split))(copy)
    return copy, twice(PruneRows, copy)


def layers(model):
    """The tables of all layers."""
    return [n.inputs[1].const_value.numpy() for n in model.graph if n.op_type == "AdditiveLut"]


def random_producer(maker, channels):
    """Something that emits few numbers, or few for some channels."""
    kind = maker.integer(0, 4)
    if kind == 0:
        maker.table(maker.random.integers(-20, 20, 256))
    elif kind == 1:
        spread = maker.random.integers(1, 40, channels)[:, None]
        middle = maker.random.integers(-80, 80, channels)[:, None]
        maker.table(middle + np.arange(256) % spread, channels=channels)
    elif kind == 2:
        maker.requantized(maker.zero_point(), maker.random.uniform(0.01, 0.3))
    elif kind == 3:
        entries = np.arange(-128, 128) * np.ones((channels, 1), int)
        entries[0] = 33
        maker.table(entries, channels=channels)
    else:
        low = maker.integer(-100, 50)
        maker.convolution(channels, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
        maker.finish(clamp=(low, low + maker.integer(0, 77)))


@PROPERTY
@given(
    seed=st.integers(0, 2**32 - 1),
    split=st.sampled_from(SPLITS),
    group=st.sampled_from([1, 2, 4]),
    border=st.booleans(),
)
def test_what_no_producer_emits_goes_and_no_bit_changes(seed, split, group, border):
    maker = Maker(seed, (1, 4, 5, 4))
    random_producer(maker, 4)
    maker.convolution(4, (3, 2), (1, 2), (1, 1), [int(border)] * 4, group)
    maker.finish()
    model = maker.model()
    copy, _ = pruned(model, split)
    assert_same_bits(model, copy, seeds=[seed % 1000])


@PROPERTY
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_reachable_is_proved_for_chains(seed):
    """No tensor of a random graph holds a code that the analysis excludes."""
    maker = random_convolution(seed)
    inner = [maker.value]
    channels = maker.value.shape[1]
    for _ in range(2):
        random_producer(maker, channels)
        inner.append(maker.value)
    model = maker.model(*inner[:-1])
    reachable = Reachable(model.graph)
    for kind in ("all", "codes", "rails"):
        found = run_float(model, feeds(model, seed % 100, kind))
        for value in inner:
            array = np.moveaxis(found[value.name], 1, 0).astype(np.int64)
            codes = np.broadcast_to(reachable.codes(value), (len(array), 256))
            for channel, numbers in enumerate(array):
                assert codes[channel][numbers.reshape(-1) + 128].all(), value.name


def test_rows_between_the_limits_of_a_clamp_stay():
    maker = Maker(1, (1, 2, 4, 4))
    maker.convolution(2, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    maker.finish(clamp=(-7, 50), largest=1000)
    maker.convolution(3, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), zero_point=-7)
    copy, outcome = pruned(maker.model())
    assert layers(copy)[1].shape[1] == 58
    [_, second] = outcome.facts["layers"]
    assert (second["rows_before"], second["rows"]) == (256, 58)
    assert second["bytes"] < second["bytes_before"]


def test_the_border_counts_as_an_input():
    maker = Maker(2, (1, 2, 4, 4))
    maker.table(np.arange(256) % 20)
    maker.convolution(3, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), zero_point=-100)
    model = maker.model()
    copy, _ = pruned(model)
    assert layers(copy)[0].shape[1] == 120
    assert_same_bits(model, copy)


@pytest.mark.parametrize("split", SPLITS)
def test_a_channel_that_is_a_constant_goes_into_the_bias(split):
    maker = Maker(3, (1, 2, 4, 4))
    maker.table(np.stack([np.arange(-128, 128), np.full(256, 33)]), channels=2)
    maker.convolution(3, (2, 2), (1, 1), (1, 1), (0, 0, 0, 0), zero_point=-5)
    maker.finish()
    model = maker.model()
    copy, outcome = pruned(model, split)
    for tables in layers(copy):
        assert not tables[1::2].any()
        assert tables[0::2].any()
    assert outcome.facts["constants"] > 0
    assert operators(copy).count("Add") == (1 if split == "full" else 2)
    assert_same_bits(model, copy)


def test_constants_get_a_bias_where_there_is_none():
    maker = Maker(4, (1, 2, 4, 4))
    maker.table(np.full(256, 33))
    maker.convolution(3, (2, 2), (1, 1), (1, 1), (0, 0, 0, 0), zero_point=-5)
    model = maker.model()
    name = model.graph.outputs[0].name
    copy, _ = pruned(model)
    assert operators(copy) == ["Table", "AdditiveLut", "Add"]
    assert layers(copy)[0].shape[1] == 1
    assert copy.graph.outputs[0].name == name
    assert_same_bits(model, copy)


def test_entries_that_fit_8_bits_get_8_bits():
    maker = Maker(5, (1, 1, 4, 4))
    maker.table(np.arange(256) % 4)
    conv = maker.convolution(2, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), zero_point=0).producer()
    conv.replace_input_with(1, maker.constant(np.array([9, -20]).reshape(2, 1, 1, 1), np.int8))
    model = maker.model()
    copy, _ = pruned(model)
    assert layers(copy)[0].dtype == np.int8
    assert_same_bits(model, copy)


def test_an_open_range_keeps_every_row():
    maker = Maker(6, (1, 2, 4, 4))
    maker.convolution(3, (2, 2), (1, 1), (1, 1), (0, 0, 0, 0))
    copy, outcome = pruned(maker.model())
    assert layers(copy)[0].shape[1] == 256
    assert not outcome.changes
