"""Each operator, emitted: the reference model gives the integer graph's bits, tensor by tensor."""

from __future__ import annotations

import pytest

from intaglio.errors import UnsupportedError
from tests.property.lowering_checks import Options, canonical
from tests.targets.tflite.test_emit_operators import GRAPHS, OPEN, feeds_of
from tests.targets.tosa.emission import assert_same_bits, emit_float

#: What TOSA has no operators for, or this target none yet: part of the reason.
REFUSED = {
    "conv_3d": "two-dimensional",
    "embedding": "int64",
    "max_3d": "two-dimensional",
    "max_dilated": "no dilations",
}


def emission_of(name, profile):
    proto = canonical(GRAPHS[name]())
    options = Options(activations="int8", profile=profile)
    try:
        return emit_float(proto, feeds_of(proto), options)
    except UnsupportedError:
        pytest.skip("the integer form refuses it")


@pytest.mark.parametrize("profile", ["tflm", "tosa-single"])
@pytest.mark.parametrize("name", sorted(set(GRAPHS) - OPEN - set(REFUSED)))
def test_the_reference_model_gives_the_bits_of_the_graph(environment, name, profile):
    emission = emission_of(name, profile)
    assert emission.emitted.refusals == ()
    assert assert_same_bits(emission, range(2)) > 0


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_refused_says_why_and_what_to_do(name):
    emission = emission_of(name, "tflm")
    assert emission.emitted.data == b""
    assert any(REFUSED[name] in refusal.reason for refusal in emission.emitted.refusals)
    assert all(refusal.remedy for refusal in emission.emitted.refusals)


def test_sixteen_bits_are_refused_with_a_remedy():
    proto = canonical(GRAPHS["softmax"]())
    emission = emit_float(proto, feeds_of(proto), Options(activations="int16", profile="tflm"))
    [refusal] = emission.emitted.refusals
    assert "int16" in refusal.reason
    assert "recipe int8" in refusal.remedy


def test_the_same_graph_gives_the_same_bytes():
    first, second = (emission_of("softmax", "tflm").emitted for _ in range(2))
    assert first.data == second.data
    assert first.data[4:8] == b"TOSA"
