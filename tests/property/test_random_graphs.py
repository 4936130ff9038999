"""Random graphs through quantization and lowering: refused with names, or right in every unit."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.lowering_checks import Options, check
from tests.property.random_graphs import RandomGraph, graphs

_COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


@st.composite
def conversions(draw):
    activations = draw(st.sampled_from(["int8", "int8", "int16"]))
    mixed = draw(st.lists(st.integers(0, 50), max_size=3)) if activations == "int8" else []
    return Options(
        activations=activations,
        sixteen=tuple(mixed),
        profile=draw(st.sampled_from(["tflm", "litert", "tosa-single"])),
        io=draw(st.sampled_from(["integer", "float"])),
        per_channel=draw(st.booleans()),
    )


def _check(graph: RandomGraph, options: Options) -> None:
    check(graph.model, graph.feeds, options)


@settings(max_examples=int(os.environ.get("INTAGLIO_EXAMPLES", "60")), **_COMMON)
@given(graph=graphs(), options=conversions())
def test_every_unit_is_right_or_refused(graph, options):
    _check(graph, options)


@pytest.mark.long
@settings(max_examples=3000, **_COMMON)
@given(graph=graphs(most=12), options=conversions())
def test_every_unit_of_many_larger_graphs_is_right_or_refused(graph, options):
    _check(graph, options)
