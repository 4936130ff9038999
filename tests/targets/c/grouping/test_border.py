"""Inputs, outputs, names and refusals."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.passes.annotations import set_quantization
from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.passes.lower.to_integer import ToInteger
from intaglio.targets.c import network as layers
from intaglio.targets.c.grouping import read_network
from intaglio.transforms.scales import TensorQuantization
from tests.helpers import build
from tests.passes.dialect.one_node import build_model
from tests.passes.lower.corner_graphs import ints, normal, one
from tests.passes.lower.float_graphs import Graph
from tests.property.lowering_checks import Options, canonical
from tests.targets.c.grouping.agreement import (
    assert_same_bits,
    channels_last,
    copies,
    group,
)
from tests.targets.c.grouping.small_graphs import chain, grouped, kinds
from tests.targets.tflite.test_emit_operators import feeds_of


def test_an_output_behind_a_reshape_is_made_by_the_layer_itself():
    _, network = grouped(
        chain([1, 6], ("MatMul", [normal(6, 8)], {}), ("Reshape", [ints(1, 2, 4)], {}))
    )
    assert kinds(network) == ["Convolution"]
    [output] = network.outputs
    assert (output.name, output.shape) == ("y", (1, 2, 4))
    assert network.aliases["t0"] is output


def test_outputs_that_are_one_tensor_are_made_twice():
    g = Graph()
    g.op("MatMul", ["x", g.normal("w", 6, 8)], "a")
    g.op("Reshape", ["a", g.const("s", ints(1, 2, 4))], "y")
    _, network = grouped(g.model({"x": [1, 6]}, ("a", "y")))
    assert kinds(network) == ["Convolution", "Move"]
    assert [t.shape for t in network.outputs] == [(1, 8), (1, 2, 4)]


def test_an_output_that_is_an_input_is_a_copy():
    g = Graph()
    g.op("Reshape", ["x", g.const("s", ints(1, 2, 3))], "y")
    _, network = grouped(g.model({"x": [1, 6]}))
    assert kinds(network) == ["Move"]
    assert network.outputs[0] is not network.inputs[0]


def test_an_output_that_others_read_stays():
    g = Graph()
    g.op("MatMul", ["x", g.normal("w", 6, 8)], "a")
    g.op("MatMul", ["a", g.normal("v", 8, 2)], "y")
    _, network = grouped(g.model({"x": [1, 6]}, ("a", "y")))
    assert kinds(network) == ["Convolution", "Convolution"]


def test_integers_that_are_read_with_another_zero_point_are_copied():
    model = build(
        """(float[1,6] x) => (float[1,6] y) {
            q = QuantizeLinear (x, s, z)
            a = DequantizeLinear (q, s, z)
            b = DequantizeLinear (q, s, other)
            sum = Add (a, b)
            p = QuantizeLinear (sum, s, z)
            y = DequantizeLinear (p, s, z)
        }""",
        s=np.float32(0.1),
        z=np.int8(3),
        other=np.int8(-5),
    )
    model = ToChannelsLast()(ToInteger()(model).model).model
    network = group(model)
    assert_same_bits(model, network, range(2))
    [add] = [layer for layer in network.layers if isinstance(layer, layers.Sum)]
    assert [tensor.zero_point for tensor in add.inputs] == [3, -5]
    assert len(copies(network)) == 1


def test_a_float_border_is_a_layer():
    proto = canonical(one("MatMul", [1, 6], normal(6, 5)))
    model = channels_last(proto, feeds_of(proto), Options(io="float"))
    network = group(model)
    assert kinds(network) == ["Border", "Convolution", "Border"]
    assert [t.dtype for t in (*network.inputs, *network.outputs)] == ["float32", "float32"]
    assert_same_bits(model, network, range(2))


def test_a_table_for_each_channel_works_on_the_last_axis():
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (1, 3, 5), np.int8)
    table = rng.integers(-128, 128, (3, 256), np.int8)
    model = one_function("TableChannelwise", {"x": x, "table": table}, (1, 3, 5))
    network = group(model)
    assert kinds(network) == ["Move", "Table", "Move"]
    assert_same_bits(model, network, range(2))


def one_function(name, inputs, shape):
    """A channels-last graph of one function whose first input is data."""
    constants = list(inputs)[1:]
    first = next(iter(inputs.values()))
    model = ir.from_proto(build_model(name, inputs, first.dtype, len(shape), None, constants))
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape = ir.Shape(shape)
        set_quantization(value, TensorQuantization(first.dtype.name, (0.5,), (0,)))
    return model


def test_the_name_is_made_an_identifier():
    proto = canonical(one("MatMul", [1, 6], normal(6, 5)))
    model = channels_last(proto, feeds_of(proto), Options())
    assert read_network(model, "tflm", "My model-2.tflite").network.name == "my_model_2_tflite"


def test_every_refusal_is_named_once():
    g = Graph()
    g.op("MaxPool", ["x"], "a", kernel_shape=[2, 2, 2])
    g.op("Relu", ["a"], "b")
    g.op("Conv", ["x", g.normal("w", 3, 2, 3, 3, 2)], "c")
    model = channels_last(
        proto := canonical(g.model({"x": [1, 2, 5, 5, 4]}, ("b", "c"))), feeds_of(proto), Options()
    )
    found = read_network(model, "tflm", "model")
    assert found.network is None
    assert sorted(refusal.node for refusal in found.refusals) == ["n_a", "n_c"]
