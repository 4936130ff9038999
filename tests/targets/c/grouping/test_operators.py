"""Each operator as layers: they compute the bits of the integer graph."""

from __future__ import annotations

import pytest

from intaglio.errors import UnsupportedError
from intaglio.targets.c.grouping import read_network
from tests.property.lowering_checks import Options, canonical
from tests.targets.c.grouping.agreement import assert_same_bits, channels_last, group
from tests.targets.tflite.test_emit_operators import GRAPHS, OPEN, feeds_of

#: What has no layer: part of the reason.
REFUSED = {
    "conv_3d": "two-dimensional",
    "embedding": "int64",
    "max_3d": "two-dimensional",
}


def integer_graph(name, options):
    proto = canonical(GRAPHS[name]())
    try:
        return channels_last(proto, feeds_of(proto), options)
    except UnsupportedError:
        pytest.skip("the integer form refuses it")


@pytest.mark.parametrize("profile", ["tflm", "litert"])
@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", sorted(set(GRAPHS) - set(REFUSED) - OPEN))
def test_the_layers_of_an_operator_compute_the_bits_of_the_graph(name, activations, profile):
    model = integer_graph(name, Options(activations=activations, profile=profile))
    assert_same_bits(model, group(model, profile), range(2))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_has_no_layer_is_refused_by_name(name):
    grouped = read_network(integer_graph(name, Options()), "tflm", name)
    assert grouped.network is None
    [refusal, *_] = grouped.refusals
    assert REFUSED[name] in refusal.reason
    assert refusal.node
    assert refusal.operator
    assert refusal.remedy


@pytest.mark.parametrize("name", sorted(OPEN))
def test_an_open_size_is_refused_with_the_option_that_binds_it(name):
    grouped = read_network(integer_graph(name, Options()), "tflm", name)
    assert grouped.network is None
    [refusal] = grouped.refusals
    assert "states every size" in refusal.reason
    assert "--shape" in refusal.remedy
