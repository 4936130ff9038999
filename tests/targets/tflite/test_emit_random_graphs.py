"""Random graphs: refused by name, or the same bits in the runtime of the profile."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.errors import UnsupportedError
from tests.property.lowering_checks import Options, canonical
from tests.property.random_graphs import graphs
from tests.targets.tflite.emission import assert_same_bits, emit_float

pytest.importorskip("tflite_micro")

_COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


@st.composite
def conversions(draw):
    activations = draw(st.sampled_from(["int8", "int8", "int8", "int16"]))
    mixed = draw(st.lists(st.integers(0, 50), max_size=2)) if draw(st.booleans()) else []
    return Options(
        activations=activations,
        sixteen=tuple(mixed) if activations == "int8" else (),
        profile=draw(st.sampled_from(["tflm", "litert"])),
        per_channel=draw(st.booleans()),
    )


def check(graph, options):
    try:
        emission = emit_float(canonical(graph.model), graph.feeds, options)
    except UnsupportedError:
        return
    known = {node.name for node in graph.model.graph.node}
    known |= {name for node in graph.model.graph.node for name in node.output}
    for refusal in emission.emitted.refusals:
        assert refusal.node in known, refusal
        assert refusal.reason
        assert refusal.remedy, refusal
    if not emission.emitted.refusals:
        assert_same_bits(emission, range(1))


@settings(max_examples=60, **_COMMON)
@given(graph=graphs(), options=conversions())
def test_a_file_computes_the_graph_or_is_refused(graph, options):
    check(graph, options)


@pytest.mark.long
@settings(max_examples=2000, **_COMMON)
@given(graph=graphs(most=12), options=conversions())
def test_many_larger_files_compute_their_graphs_or_are_refused(graph, options):
    check(graph, options)
