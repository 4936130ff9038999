"""Element-wise functions go into the tables behind them: every bit stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.passes.tables.fold_producers import FoldProducers
from intaglio.passes.tables.substitute_convolutions import SubstituteConvolutions
from tests.helpers import operators, reasons
from tests.passes.tables.integer_graphs import Maker, assert_same_bits, twice

PROPERTY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FORCE = SubstituteConvolutions.Config(force=True)
PRODUCERS = ("table", "channelwise", "rescale")


def produce(maker, kind, channels):
    """An element-wise function of the value."""
    if kind == "table":
        return maker.table()
    if kind == "channelwise":
        return maker.table(channels=channels)
    return maker.requantized(maker.zero_point(), maker.random.uniform(0.3, 3))


def folded(model, **options):
    """A copy whose convolutions are tables, folded."""
    copy = model.clone(deep_copy=True)
    SubstituteConvolutions(FORCE)(copy)
    return copy, twice(FoldProducers, copy, **options)


@PROPERTY
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(PRODUCERS),
    group=st.sampled_from([1, 2, 4]),
)
def test_a_function_in_front_of_a_layer_goes_into_its_tables(seed, kind, group):
    maker = Maker(seed, (1, 4, 5, 6))
    produce(maker, kind, 4)
    maker.convolution(4, (3, 2), (1, 2), (1, 1), (0, 0, 0, 0), group)
    maker.finish()
    model = maker.model()
    copy, outcome = folded(model)
    assert outcome.facts["folded"] == 1
    assert operators(copy) == ["AdditiveLut", "Add", "RescaleDouble"]
    assert_same_bits(model, copy, seeds=[seed % 1000])


def test_functions_behind_each_other_all_go():
    maker = Maker(5, (1, 2, 4, 4))
    for kind in PRODUCERS:
        produce(maker, kind, 2)
    maker.convolution(3, (2, 2), (1, 1), (1, 1), (0, 0, 0, 0))
    model = maker.model()
    copy, outcome = folded(model)
    assert operators(copy) == ["AdditiveLut"]
    assert outcome.facts["folded"] == 3
    assert_same_bits(model, copy)


def test_a_border_gets_the_code_that_means_what_it_meant():
    maker = Maker(6, (1, 2, 4, 4))
    entries = np.clip(np.arange(-128, 128) * 2 + 11, -128, 127)
    zero_point = int(entries[40])
    maker.table(entries)
    maker.convolution(3, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), zero_point=zero_point)
    model = maker.model()
    copy, _ = folded(model)
    [node] = copy.graph
    assert entries[node.attributes["pad_value"].value + 128] == zero_point
    assert_same_bits(model, copy)


def test_a_border_that_no_input_gives_keeps_the_function():
    maker = Maker(7, (1, 2, 4, 4))
    maker.table(np.arange(-128, 128) // 2 * 2)
    maker.convolution(3, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), zero_point=7)
    model = maker.model()
    copy, outcome = folded(model)
    assert not outcome.modified
    assert "border" in reasons(outcome)
    assert_same_bits(model, copy)


def test_a_table_for_each_channel_may_have_no_common_border():
    maker = Maker(8, (1, 2, 4, 4))
    codes = np.arange(-128, 128)
    maker.table(np.stack([codes, codes[::-1]]), channels=2)
    maker.convolution(3, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), zero_point=20)
    model = maker.model()
    copy, outcome = folded(model)
    assert not outcome.modified
    assert_same_bits(model, copy)


def test_a_split_index_takes_no_function():
    maker = Maker(9, (1, 2, 4, 4))
    maker.table()
    maker.convolution(3, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    model = maker.model()
    SubstituteConvolutions(SubstituteConvolutions.Config(force=True, split="6/2"))(model)
    outcome = twice(FoldProducers, model)
    assert "part of the bits" in reasons(outcome)


def test_all_readers_must_be_table_layers():
    maker = Maker(10, (1, 2, 4, 4))
    shared = maker.table()
    maker.convolution(3, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    copy, outcome = folded(maker.model(shared))
    assert "output of the model" in reasons(outcome)
    maker = Maker(10, (1, 2, 4, 4))
    shared = maker.table()
    maker.convolution(3, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    sums = maker.value
    maker.value = shared
    maker.node("MaxPool", [shared], "int8", (1, 2, 3, 3), kernel_shape=[2, 2])
    model = maker.model(sums)
    copy, outcome = folded(model)
    assert "MaxPool" in reasons(outcome)
    assert_same_bits(model, copy)


def test_two_layers_read_one_function():
    maker = Maker(11, (1, 2, 4, 4))
    shared = maker.table()
    first = maker.convolution(3, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    maker.value = shared
    maker.convolution(2, (2, 2), (1, 1), (1, 1), (0, 0, 0, 0), zero_point=3)
    model = maker.model(first)
    copy, outcome = folded(model)
    assert operators(copy) == ["AdditiveLut", "AdditiveLut"]
    assert outcome.facts["folded"] == 1
    assert_same_bits(model, copy)


@pytest.mark.parametrize(("rows", "goes"), [(256, True), (10, False)])
def test_tables_may_not_grow_beyond_the_option(rows, goes):
    maker = Maker(12, (1, 1, 4, 4))
    maker.table(np.arange(-128, 128))
    maker.convolution(1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    _, outcome = folded(maker.model(), rows=rows)
    assert outcome.modified == goes
    assert goes or "the option allows 10" in reasons(outcome)
