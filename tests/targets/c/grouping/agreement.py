"""Groups graphs and compares what the layers compute with the integer graph, tensor by tensor."""

from __future__ import annotations

import numpy as np

from intaglio.passes.annotations import get_quantization
from intaglio.passes.layout.problem import is_inside
from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.targets.c.grouping import read_network
from intaglio.targets.c.network import Move
from tests.property.lowering_checks import convert, run
from tests.targets.c.grouping.interpreter import evaluate, values
from tests.targets.tflite.emission import random_feeds


def channels_last(proto, feeds, options):
    """The integer graph of a float graph that is quantized on ``feeds``."""
    return ToChannelsLast()(convert(proto, feeds, options).integer.clone()).model


def group(model, profile="tflm"):
    """The network of a graph that must have one."""
    grouped = read_network(model, profile, "model")
    assert grouped.refusals == ()
    check_structure(model, grouped.network)
    return grouped.network


def assert_same_bits(model, network, seeds):
    """Every tensor that the graph has, too, holds the same numbers."""
    inner = [str(v.name) for node in model.graph for v in node.outputs]
    for seed in seeds:
        feeds = random_feeds(model, seed)
        wanted = {**run(model, feeds, inner), **feeds}
        found = values(network, evaluate(network, feeds))
        borders = zip(
            (*network.inputs, *network.outputs),
            (*model.graph.inputs, *model.graph.outputs),
            strict=True,
        )
        for tensor, value in borders:
            array = wanted[str(value.name)]
            stated = tuple(d if isinstance(d, int) else 1 for d in value.shape)
            # PRelu takes slopes of more axes than its input, and onnxruntime's result has them.
            assert tensor.shape in (array.shape, stated)
            np.testing.assert_array_equal(
                found[tensor.name].reshape(array.shape), array, err_msg=tensor.name, strict=True
            )
        for name in sorted(set(found) & set(wanted)):
            array = wanted[name]
            if array.dtype == np.int32:
                # Where onnxruntime has no int16 kernel, the graph runs on int32.
                array = array.astype(np.int16)
                np.testing.assert_array_equal(array, wanted[name])
            np.testing.assert_array_equal(
                found[name].reshape(array.shape), array, err_msg=name, strict=True
            )


def check_structure(model, network):
    """What every network promises, whatever the graph."""
    inputs = {str(v.name) for v in model.graph.inputs}
    for place, (tensor, value) in enumerate(zip(network.outputs, model.graph.outputs, strict=True)):
        new = value not in model.graph.outputs[:place] and str(value.name) not in inputs
        assert not new or tensor.name == str(value.name)
    assert [t.name for t in network.inputs] == [str(v.name) for v in model.graph.inputs]
    made = {}
    for layer in network.layers:
        assert layer.name == layer.output.name
        assert layer.output not in made
        for tensor in layer.inputs:
            known = tensor in made or tensor in network.inputs or tensor.data is not None
            assert known, f"{layer.name} reads {tensor.name} before it is made"
        made[layer.output] = layer
    assert len({t.name for t in (*made, *network.inputs)}) == len(made) + len(network.inputs)
    assert len(set(network.outputs)) == len(network.outputs)
    for tensor in network.outputs:
        assert tensor in made
    read = {tensor for layer in network.layers for tensor in layer.inputs}
    for tensor in made:
        assert tensor in read or tensor in network.outputs, f"nobody reads {tensor.name}"
    _check_inner_tensors(model, {t.name for t in (*made, *network.inputs)} | set(network.aliases))


def _check_inner_tensors(model, found):
    """Each value with a quantization is there, but for those that are channels first inside."""
    for node in model.graph:
        for value in node.outputs:
            inside = is_inside(node) and any(not is_inside(u.node) for u in value.uses())
            first = any(is_inside(use.node) for use in value.uses())
            if get_quantization(value) is not None and not inside and not first:
                used = value.uses() or value.is_graph_output()
                assert not used or str(value.name) in found, value.name


def copies(network):
    """Layers that copy one whole tensor."""
    return [
        layer
        for layer in network.layers
        if isinstance(layer, Move)
        and [block.sizes for block in layer.blocks] == [(layer.output.size,)]
    ]
