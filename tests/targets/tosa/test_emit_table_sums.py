"""Table layers in TOSA: every kind of window, group and split gives the integer graph's bits."""

from __future__ import annotations

import pytest

from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.passes.marks import mark_integer
from intaglio.passes.tables.substitute_convolutions import SubstituteConvolutions
from intaglio.targets.tosa.emit import emit
from tests.helpers import operators
from tests.passes.tables.integer_graphs import Maker
from tests.targets.tosa.emission import Emission, assert_same_bits

WINDOWS = {
    "one place": ((1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    "same": ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    "strided": ((3, 2), (2, 2), (1, 1), (1, 0, 0, 1)),
    "dilated": ((2, 2), (1, 1), (2, 1), (0, 0, 0, 0)),
    "a single window": ((5, 4), (1, 1), (1, 1), (0, 0, 0, 0)),
}


def emission_of(window, channels, outputs, group, split="full", profile="tflm", seed=3):
    """A graph whose one convolution is tables, emitted."""
    kernel, strides, dilations, pads = window
    maker = Maker(seed, (1, channels, 5, 4))
    maker.convolution(outputs, kernel, strides, dilations, pads, group)
    maker.finish(largest=20_000)
    model = maker.model()
    mark_integer(model, profile)
    SubstituteConvolutions(SubstituteConvolutions.Config(force=True, split=split))(model)
    assert "AdditiveLut" in operators(model)
    model = ToChannelsLast()(model).model
    return Emission(model, emit(model, profile))


@pytest.mark.parametrize("split", ["full", "6/2", "4/4"])
@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize(("channels", "outputs", "group"), [(4, 6, 1), (4, 8, 4), (4, 6, 2)])
def test_rows_are_added(environment, kind, channels, outputs, group, split):
    emission = emission_of(WINDOWS[kind], channels, outputs, group, split)
    assert emission.emitted.refusals == ()
    kinds = emission.emitted.operators
    assert "CONV2D" not in kinds
    assert kinds.count("GATHER") == (1 if split == "full" else 2)
    assert assert_same_bits(emission, range(2)) > 0


def test_rounding_once(environment):
    emission = emission_of(WINDOWS["same"], 3, 5, 1, profile="tosa-single")
    assert assert_same_bits(emission, range(2)) > 0


def test_too_many_entries_are_refused_with_a_remedy(monkeypatch):
    monkeypatch.setattr("intaglio.targets.tosa.emitters.table_sums._MOST_ENTRIES", 1000)
    [refusal] = emission_of(WINDOWS["same"], 4, 6, 1).emitted.refusals
    assert "too many entries" in refusal.reason
    assert "leave this layer out" in refusal.remedy
