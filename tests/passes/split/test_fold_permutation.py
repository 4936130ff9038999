"""Orders of channels in the weights: the same bits with fewer Gathers."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.passes.split.cuts import set_cut
from intaglio.passes.split.fold_permutation import FoldPermutation
from intaglio.passes.split.insert_codec import InsertCodec
from intaglio.passes.split.marks import get_wire, write_codec
from tests.passes.split.split_models import depthwise, grouped, residual, run, samples, with_codec


def gathers(model):
    return sum(node.op_type == "Gather" for node in model.graph)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(
    ("make", "cut", "left"),
    [
        (residual, ("stem",), 0),
        (residual, ("second", "stem"), 1),  # the sum of both has one order
        (residual, ("joined",), 0),
        (residual, ("pooled",), 0),
        (residual, ("looked",), 0),  # flattened behind
        (residual, ("hidden",), 0),
        (depthwise, ("stem",), 0),
        (depthwise, ("deep",), 0),
        (depthwise, ("deep2",), 0),
        (grouped, ("middle",), 2),
    ],
)
def test_bits_stay_and_gathers_go(make, cut, left, dynamic):
    model, _ = with_codec(make(), cut, dynamic=dynamic)
    assert gathers(model) == 2 * len(cut)
    names = [*get_wire(model), "logits"]
    before = run(model, samples(model), get_wire(model))
    result = FoldPermutation()(model)
    assert gathers(model) == left
    after = run(model, samples(model), get_wire(model))
    for name in names:
        np.testing.assert_array_equal(after[name], before[name])
    assert len(result.changes) == 2 * len(cut) - left
    text = ir.to_proto(model).SerializeToString(deterministic=True)
    again = FoldPermutation()(model)
    assert not again.modified
    assert ir.to_proto(model).SerializeToString(deterministic=True) == text


def test_shared_codes_fold_on_the_device():
    model, _ = with_codec(residual(), ("joined",), channels=2, patch=2)
    before = run(model, samples(model), ["codes"])
    changes = FoldPermutation()(model).changes
    assert len(changes) == 1
    after = run(model, samples(model), ["codes"])
    np.testing.assert_array_equal(after["codes"], before["codes"])
    np.testing.assert_array_equal(after["logits"], before["logits"])


def test_the_reason_of_what_stays_is_told():
    model, _ = with_codec(grouped(), ("middle",))
    reasons = [skip.reason for skip in FoldPermutation()(model).skips]
    assert len(reasons) == 2
    assert "has groups of channels" in reasons[0]
    assert "goes over the wire" in reasons[0] or "by their place" in reasons[0]


def test_one_order_for_both_sides_of_a_sum_leaves_no_gather():
    _, specification = with_codec(residual(), ("second", "stem"))
    order = specification.features[0].order
    features = tuple(dataclasses.replace(f, order=order) for f in specification.features)
    model = residual()
    set_cut(model, ["second", "stem"])
    write_codec(model, dataclasses.replace(specification, features=features))
    InsertCodec()(model)
    before = run(model, samples(model), ["codes"])
    FoldPermutation()(model)
    assert gathers(model) == 0
    after = run(model, samples(model), ["codes"])
    np.testing.assert_array_equal(after["codes"], before["codes"])
    np.testing.assert_array_equal(after["logits"], before["logits"])
