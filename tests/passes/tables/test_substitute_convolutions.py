"""Exact tables for integer convolutions and matrices: every bit stays."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.errors import RecipeError
from intaglio.passes.annotations import get_quantization
from intaglio.passes.lower.integer_only import find_float_tensors
from intaglio.passes.tables.substitute_convolutions import SubstituteConvolutions, row_counts
from tests.helpers import operators, reasons
from tests.passes.tables.integer_graphs import Maker, assert_same_bits, random_convolution, twice

SPLITS = ("full", "6/2", "4/4")
PROPERTY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def substituted(model, **options):
    """A copy of the model after the pass, checked."""
    copy = model.clone(deep_copy=True)
    outcome = twice(SubstituteConvolutions, copy, **{"force": True, **options})
    proto = ir.to_proto(copy)
    onnx.checker.check_model(proto)
    assert not find_float_tensors(copy)
    return copy, outcome


@PROPERTY
@given(seed=st.integers(0, 2**32 - 1), split=st.sampled_from(SPLITS))
def test_any_convolution_keeps_its_bits(seed, split):
    model = random_convolution(seed).model()
    copy, outcome = substituted(model, split=split)
    assert "ConvInteger" not in operators(copy)
    assert operators(copy).count("AdditiveLut") == len(row_counts(split))
    assert outcome.facts["substituted"] == 1
    assert_same_bits(model, copy, seeds=[seed % 1000])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    "shape", [(1, 7), ("batch", 5), (3, 5), (1, 3, 5), (2, 3, 5), (1, 2, 3, 4), (2, 2, 2, 1)]
)
def test_matrices_of_any_rank_keep_their_bits(shape, split):
    maker = Maker(len(shape), shape)
    maker.matrix(6)
    maker.finish(per_channel=shape[0] != 3)
    name, shapes = maker.value.name, list(maker.value.shape)
    meaning = get_quantization(maker.value)
    model = maker.model()
    copy, _ = substituted(model, split=split)
    assert "MatMulInteger" not in operators(copy)
    [output] = copy.graph.outputs
    assert (output.name, list(output.shape)) == (name, shapes)
    assert get_quantization(output) == meaning
    assert_same_bits(model, copy)


def test_sums_that_nobody_rescales_keep_their_bits():
    maker = Maker(0, (2, 4))
    maker.matrix(3)
    model = maker.model()
    copy, _ = substituted(model)
    assert_same_bits(model, copy)


def test_layers_behind_each_other():
    maker = Maker(1, (1, 2, 6, 5))
    maker.convolution(4, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    maker.finish()
    maker.convolution(4, (3, 3), (2, 1), (1, 1), (1, 1, 1, 1), group=4)
    maker.finish()
    model = maker.model()
    for split in SPLITS:
        copy, outcome = substituted(model, split=split)
        assert outcome.facts["substituted"] == 2
        assert_same_bits(model, copy)


def test_a_weight_zero_point_is_part_of_the_tables():
    maker = Maker(2, (1, 2, 4, 4))
    conv = maker.convolution(3, (2, 2), (1, 1), (1, 1), (0, 0, 0, 0)).producer()
    weights = np.arange(-12, 12).reshape(3, 2, 2, 2).astype(np.int8)
    conv.resize_inputs(4)
    conv.replace_input_with(1, maker.constant(weights, np.int8))
    conv.replace_input_with(3, maker.constant(7, np.int8))
    model = maker.model()
    for split in SPLITS:
        copy, _ = substituted(model, split=split)
        assert_same_bits(model, copy)


def test_products_that_need_more_than_16_bits_stay():
    maker = Maker(3, (1, 1, 4, 4))
    conv = maker.convolution(1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), zero_point=-128).producer()
    conv.resize_inputs(4)
    conv.replace_input_with(1, maker.constant(np.full((1, 1, 1, 1), 127), np.int8))
    conv.replace_input_with(3, maker.constant(-128, np.int8))
    copy, outcome = substituted(maker.model())
    assert "ConvInteger" in operators(copy)
    assert "more than 16 bits" in reasons(outcome)


def _two_layers():
    maker = Maker(4, (1, 3, 9, 9))
    maker.convolution(4, (3, 3), (1, 1), (1, 1), (0, 0, 0, 0))
    maker.finish()
    maker.convolution(2, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    maker.finish()
    return maker.model()


def test_nothing_pays_where_there_is_a_multiplier():
    model = _two_layers()
    outcome = twice(SubstituteConvolutions, model)
    assert not outcome.modified
    assert "AdditiveLut" not in operators(model)
    assert len(outcome.skips) == 2
    for skip in outcome.skips:
        assert "do not pay" in skip.reason
        assert "force=true" in skip.reason
        assert "look-ups" in skip.reason
    assert [layer["products"] for layer in outcome.facts["layers"]] == [49 * 108, 49 * 8]
    assert [layer["table_bytes"] for layer in outcome.facts["layers"]] == [512 * 108, 512 * 8]


def test_without_a_multiplier_layers_pay_within_the_room():
    model = _two_layers()
    outcome = twice(SubstituteConvolutions, model, multiplier=False)
    assert outcome.facts["substituted"] == 2
    # Room for one of them only, and again: the tables that are there count.
    model = _two_layers()
    room = 512 * 108 + 100
    outcome = twice(SubstituteConvolutions, model, multiplier=False, largest_bytes=room)
    assert outcome.facts["substituted"] == 1
    assert "no room" in reasons(outcome)


def test_layers_can_be_chosen_by_name():
    model = _two_layers()
    first = next(node for node in model.graph if node.op_type == "ConvInteger")
    outcome = twice(SubstituteConvolutions, model, force=True, layers=(f"{first.name}*",))
    assert [c.node for c in outcome.changes] == [first.name]
    assert "not among the layers" in reasons(outcome)
    with pytest.raises(RecipeError, match="matches no"):
        SubstituteConvolutions(SubstituteConvolutions.Config(layers=("nothing",)))(_two_layers())


def test_a_float_model_is_left_alone():
    maker = Maker(0, (1, 3))
    maker.matrix(2)
    model = maker.model()
    del model.metadata_props["intaglio.form"]
    outcome = SubstituteConvolutions()(model)
    assert not outcome.modified
    assert "integer form" in reasons(outcome)
