"""Table layers in TFLite: one look-up where a sum has one term, else a refusal."""

from __future__ import annotations

import pytest

from intaglio.passes.marks import mark_integer
from intaglio.passes.tables.substitute_convolutions import SubstituteConvolutions
from tests.helpers import operators
from tests.passes.tables.integer_graphs import Maker
from tests.targets.tflite.emission import assert_same_bits, emit_integer


def tables(seed, channels, outputs, group, split="full", kernel=(1, 1), profile="tflm"):
    """An integer graph with one convolution, which is tables."""
    maker = Maker(seed, (1, channels, 5, 4))
    maker.convolution(outputs, kernel, (1, 1), (1, 1), (0, 0, 0, 0), group)
    maker.finish(largest=20_000)
    model = maker.model()
    mark_integer(model, profile)
    SubstituteConvolutions(SubstituteConvolutions.Config(force=True, split=split))(model)
    assert "AdditiveLut" in operators(model)
    return model


@pytest.mark.parametrize("profile", ["tflm", "litert"])
@pytest.mark.parametrize("split", ["full", "6/2", "4/4"])
@pytest.mark.parametrize(("channels", "outputs"), [(6, 6), (3, 12), (1, 5)])
def test_sums_of_one_term_are_look_ups(channels, outputs, split, profile):
    model = tables(7, channels, outputs, channels, split, profile=profile)
    emission = emit_integer(model, profile)
    kinds = emission.emitted.operators
    assert kinds[-1 if outputs == channels else -2] == "GATHER"
    assert "CONV_2D" not in kinds
    assert_same_bits(emission, range(4))


@pytest.mark.parametrize(
    ("channels", "group", "kernel"), [(4, 1, (1, 1)), (4, 2, (1, 1)), (4, 4, (3, 1))]
)
def test_sums_of_several_terms_are_refused_with_a_remedy(channels, group, kernel):
    model = tables(8, channels, 4, group, kernel=kernel)
    [refusal] = emit_integer(model, "tflm").emitted.refusals
    assert "rows of tables" in refusal.reason
    assert "leave this layer out" in refusal.remedy
