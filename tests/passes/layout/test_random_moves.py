"""Sinking transposes in random graphs: the same bits, never more moved, nothing left to gain."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings

from intaglio.passes.canonicalize.sink_transposes import SinkTransposes
from intaglio.passes.provenance import stamp_sources
from tests.helpers import run_float
from tests.passes.layout.random_moves import moving_graphs
from tests.property.random_graphs import RandomGraph

_COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


def check(graph: RandomGraph) -> None:
    model = ir.from_proto(graph.model)
    stamp_sources(model)
    want = run_float(model, graph.feeds)
    border = [(v.name, list(v.shape)) for v in (*model.graph.inputs, *model.graph.outputs)]
    result = SinkTransposes()(model)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    got = run_float(model, graph.feeds)
    assert list(got) == list(want)
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array)
    assert border == [(v.name, list(v.shape)) for v in (*model.graph.inputs, *model.graph.outputs)]
    assert result.facts["elements_moved"] <= result.facts["elements_moved_before"]
    assert result.modified == bool(result.changes)
    again = SinkTransposes()(model)
    assert not again.modified, again.changes
    assert ir.to_proto(model).SerializeToString() == proto.SerializeToString()
    if "Transpose" not in graph.operators:
        assert not result.modified


@settings(max_examples=150, **_COMMON)
@given(graph=moving_graphs())
def test_sinking_keeps_every_bit(graph):
    check(graph)


@pytest.mark.long
@settings(max_examples=1500, **_COMMON)
@given(graph=moving_graphs(most=24))
def test_sinking_keeps_every_bit_of_many_larger_graphs(graph):
    check(graph)
