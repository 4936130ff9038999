"""Random graphs: refused by name, or the same bits in the reference model."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.errors import UnsupportedError
from tests.property.lowering_checks import Options, canonical
from tests.property.random_graphs import graphs
from tests.targets.tosa.emission import assert_same_bits, emit_float

_COMMON = {
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


@st.composite
def conversions(draw):
    return Options(
        activations="int8",
        profile=draw(st.sampled_from(["tflm", "tosa-single"])),
        per_channel=draw(st.booleans()),
    )


def check(graph, options):
    try:
        emission = emit_float(canonical(graph.model), graph.feeds, options)
    except UnsupportedError:
        return
    for refusal in emission.emitted.refusals:
        assert refusal.reason
        assert refusal.remedy, refusal
    if not emission.emitted.refusals:
        assert_same_bits(emission, range(1))


@settings(max_examples=25, **_COMMON)
@given(graph=graphs(), options=conversions())
def test_a_file_computes_the_graph_or_is_refused(environment, graph, options):
    check(graph, options)


@pytest.mark.long
@settings(max_examples=1000, **_COMMON)
@given(graph=graphs(most=12), options=conversions())
def test_many_larger_files_compute_their_graphs_or_are_refused(environment, graph, options):
    check(graph, options)
