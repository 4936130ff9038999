"""Random graphs through quantization and lowering: refused with names, or right in every unit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.lowering_checks import Options, canonical, check, run
from tests.property.random_graphs import RandomGraph, graphs

_COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


@st.composite
def conversions(draw):
    activations = draw(st.sampled_from(["int8", "int8", "int16", "uint8"]))
    mixed = draw(st.lists(st.integers(0, 50), max_size=3)) if activations != "int16" else []
    return Options(
        activations=activations,
        sixteen=tuple(mixed),
        profile=draw(st.sampled_from(["tflm", "litert", "tosa-single"])),
        io=draw(st.sampled_from(["integer", "float"])),
        per_channel=draw(st.booleans()),
    )


def _check_canonical(graph: RandomGraph, options: Options) -> None:
    """The whole way: what canonicalization makes of it computes the same, then as above."""
    model = canonical(graph.model)
    expected, actual = run(graph.model, graph.feeds), run(model, graph.feeds)
    assert list(expected) == list(actual)
    for name, array in expected.items():
        tolerance = 1e-5 * float(np.abs(array).max(initial=1e-6))
        np.testing.assert_allclose(actual[name], array, rtol=1e-5, atol=tolerance)
    check(model, graph.feeds, options)


@settings(max_examples=80, **_COMMON)
@given(graph=graphs(), options=conversions())
def test_every_unit_is_right_or_refused(graph, options):
    check(graph.model, graph.feeds, options)


@settings(max_examples=40, **_COMMON)
@given(graph=graphs(), options=conversions())
def test_every_unit_of_the_canonical_form_is_right_or_refused(graph, options):
    _check_canonical(graph, options)


@pytest.mark.long
@settings(max_examples=2000, **_COMMON)
@given(graph=graphs(most=12), options=conversions())
def test_every_unit_of_many_larger_graphs_is_right_or_refused(graph, options):
    check(graph.model, graph.feeds, options)


@pytest.mark.long
@settings(max_examples=1000, **_COMMON)
@given(graph=graphs(most=12), options=conversions())
def test_every_unit_of_many_larger_canonical_graphs_is_right_or_refused(graph, options):
    _check_canonical(graph, options)
