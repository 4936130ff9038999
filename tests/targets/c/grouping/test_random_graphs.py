"""Random graphs: their layers compute the bits of the integer graph."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from intaglio.errors import UnsupportedError
from intaglio.targets.c.grouping import read_network
from tests.property.lowering_checks import canonical
from tests.property.random_graphs import graphs
from tests.targets.c.grouping.agreement import assert_same_bits, channels_last, check_structure
from tests.targets.tflite.test_emit_random_graphs import conversions

_COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
#: What random graphs may hold that has no layer.
_KNOWN = ("two-dimensional", "result of one input")


def check(graph, options):
    try:
        model = channels_last(canonical(graph.model), graph.feeds, options)
    except UnsupportedError:
        return
    grouped = read_network(model, options.profile, "model")
    for refusal in grouped.refusals:
        assert any(reason in refusal.reason for reason in _KNOWN), refusal
        assert refusal.node
    if grouped.network is not None:
        check_structure(model, grouped.network)
        assert_same_bits(model, grouped.network, range(1))


@settings(max_examples=60, **_COMMON)
@given(graph=graphs(), options=conversions())
def test_the_layers_of_a_graph_compute_its_bits(graph, options):
    check(graph, options)


@pytest.mark.long
@settings(max_examples=1500, **_COMMON)
@given(graph=graphs(most=12), options=conversions())
def test_the_layers_of_many_larger_graphs_compute_their_bits(graph, options):
    check(graph, options)
