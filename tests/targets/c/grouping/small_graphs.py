"""Small float graphs as networks, checked as they are made."""

from __future__ import annotations

from tests.passes.lower.float_graphs import Graph
from tests.property.lowering_checks import Options, canonical
from tests.targets.c.grouping.agreement import assert_same_bits, channels_last, group
from tests.targets.tflite.test_emit_operators import feeds_of


def grouped(proto, activations="int8", profile="tflm"):
    """Graph and network of a float model, whose bits are compared."""
    proto = canonical(proto)
    options = Options(activations=activations, profile=profile)
    model = channels_last(proto, feeds_of(proto), options)
    network = group(model, profile)
    assert_same_bits(model, network, range(1))
    return model, network


def kinds(network):
    return [type(layer).__name__ for layer in network.layers]


def chain(shape, *steps):
    """A model of operators one behind the other: kind, constants, attributes."""
    g = Graph()
    value = "x"
    for index, (kind, constants, attributes) in enumerate(steps):
        names = [g.const(f"c{index}_{i}", array) for i, array in enumerate(constants)]
        name = "y" if index == len(steps) - 1 else f"t{index}"
        value = g.op(kind, [value, *names], name, **attributes)
    return g.model({"x": shape})
