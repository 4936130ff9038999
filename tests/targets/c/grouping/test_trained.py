"""Layers with trained weights, read from integer graphs: as constants and as variables."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.passes.train.build_forward import BuildForward
from intaglio.targets.c.grouping import read_network
from intaglio.targets.c.network import Convolution, Requantization, TrainedConvolution
from tests.passes.train.small_integer import (
    CLASSES,
    HIDDEN,
    MIDDLE,
    SHAPES,
    forward_form,
    initial_weights,
    integer_graph,
    specification,
)


def read(model):
    return read_network(ToChannelsLast()(model).model, "tflm", "m")


def test_the_forward_form_has_variables_in_the_order_of_their_numbers():
    names = ("fc2_weight", "fc1_bias", "fc1_weight")
    grouped = read(forward_form(specification(names)))
    assert grouped.refusals == ()
    network = grouped.network
    assert [variable.tensor.name for variable in network.variables] == list(names)
    assert [tensor.name for tensor in network.inputs] == ["x"]
    assert [tensor.name for tensor in network.outputs] == ["y"]
    by_name = {variable.tensor.name: variable for variable in network.variables}
    weights = by_name["fc1_weight"]
    assert weights.tensor.shape == (MIDDLE, 1, 1, HIDDEN)
    assert weights.permutation == (1, 0)
    assert weights.graph_shape == SHAPES["fc1_weight"][0]
    assert weights.tensor.scale == pytest.approx(2e-5)
    bias = by_name["fc1_bias"]
    assert (bias.tensor.dtype, bias.tensor.shape, bias.permutation) == ("int32", (MIDDLE,), (0,))


def test_the_layers_are_those_of_the_graph_and_one_for_the_loss():
    network = read(forward_form(specification())).network
    kinds = [type(layer) for layer in network.layers]
    assert kinds == [Convolution, TrainedConvolution, TrainedConvolution, TrainedConvolution]
    _, first, output, logits = network.layers
    assert [tensor.name for tensor in first.inputs] == ["h", "fc1_weight", "fc1_bias"]
    assert first.wide  # whatever the trained bias becomes
    assert not output.wide
    assert output.inputs == logits.inputs
    assert (output.output.name, output.output.dtype) == ("y", "int8")
    assert logits.output is network.logits
    assert (logits.output.name, logits.output.dtype) == ("step_logits", "int32")
    assert logits.output.shape == (1, CLASSES)
    assert (logits.rescale.minimum, logits.rescale.maximum) == (-(2**31), 2**31 - 1)
    np.testing.assert_array_equal(output.bias, logits.bias)
    assert np.any(output.bias)


def test_inference_has_the_weights_as_constants():
    model = integer_graph(specification())
    network = read(model).network
    assert network.variables == ()
    assert network.logits is None
    _, first, last = network.layers
    weights = initial_weights()
    for layer, name in ((first, "fc1_weight"), (last, "fc2_weight")):
        assert isinstance(layer, TrainedConvolution)
        stored = layer.inputs[1].data
        assert stored.dtype == np.int16
        np.testing.assert_array_equal(stored[:, 0, 0], weights[name].T)
        assert layer.limit == np.abs(weights[name]).max()
        assert not layer.wide
    assert len(first.inputs) == 2
    np.testing.assert_array_equal(first.bias, weights["fc1_bias"])


def test_only_what_the_specification_names_is_a_variable():
    network = read(forward_form(specification(("fc2_weight",)))).network
    assert [variable.tensor.name for variable in network.variables] == ["fc2_weight"]
    first = network.layers[1]
    assert first.inputs[1].data is not None
    np.testing.assert_array_equal(first.bias, initial_weights()["fc1_bias"])


def test_a_frozen_head_gives_the_loss_its_int32():
    """Its int8 weights widen: kernels for int8 weights have no results of 32 bits."""
    model = forward_form(specification(("fc1_weight",)))
    logits = model.graph.outputs[-1].producer()
    first = next(node for node in model.graph if node.op_type == "MatMulInteger")
    logits.replace_input_with(0, first.outputs[0])
    model.graph.outputs[-1].shape = ir.Shape(["N", HIDDEN])
    network = read(model).network
    layer = next(layer for layer in network.layers if layer.output is network.logits)
    assert isinstance(layer, TrainedConvolution)
    assert layer.inputs[1].data.dtype == np.int16
    assert isinstance(network.layers[0], Convolution)
    np.testing.assert_array_equal(layer.inputs[1].data, network.layers[0].weights)


def test_logits_may_be_the_integers_of_a_tensor():
    """As where a Relu is part of the last rescale: its result is rescaled once more."""
    model = integer_graph(specification())
    last = model.graph.outputs[0].producer()
    zero = next(v for name, v in model.graph.initializers.items() if name == "zero")
    last.replace_input_with(4, zero)
    BuildForward()(model)
    network = read(model).network
    layer = next(layer for layer in network.layers if layer.output is network.logits)
    assert isinstance(layer, Requantization)
    assert layer.inputs[0].name == "y"
    assert layer.output.dtype == "int32"


def test_weights_that_are_computed_are_refused():
    """Variables are read as they lie: nothing may stand between them and their layer."""
    model = forward_form(specification(("fc1_weight",)))
    graph = model.graph
    product = next(node for node in graph if node.op_type == "MatMulInteger8By16")
    magnitude = ir.Node("", "Abs", [product.inputs[1]], num_outputs=1)
    magnitude.outputs[0].type = ir.TensorType(ir.DataType.INT16)
    magnitude.outputs[0].shape = ir.Shape([HIDDEN, MIDDLE])
    graph.insert_before(product, magnitude)
    product.replace_input_with(1, magnitude.outputs[0])
    grouped = read(model)
    assert grouped.network is None
    assert grouped.refusals
