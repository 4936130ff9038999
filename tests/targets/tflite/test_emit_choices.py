"""Which operators are chosen: the runtime's own where it is exact, and the cheapest form."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from intaglio.targets.tflite.emit import emit
from intaglio.targets.tflite.schema import schema
from tests.helpers import build
from tests.passes.lower.float_graphs import Graph, conv
from tests.property.lowering_checks import Options
from tests.targets.tflite.emission import assert_same_bits, emit_float, emit_integer

pytest.importorskip("tflite_micro")


def counts(proto, shape, options=None):
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    emission = emit_float(proto, feeds, options or Options())
    assert emission.emitted.refusals == ()
    assert_same_bits(emission, range(2))
    return dict(Counter(emission.emitted.operators))


def unary(kind, **attributes):
    graph = Graph()
    graph.op(kind, ["x"], "y", **attributes)
    return graph.model({"x": [1, 4, 6, 8]})


def of(kind, options=None, **attributes):
    return counts(unary(kind, **attributes), (1, 4, 6, 8), options)


@pytest.mark.parametrize(
    ("kind", "operator"),
    [
        ("Relu", "RELU"),
        ("Sigmoid", "LOGISTIC"),
        ("Tanh", "TANH"),
        ("HardSwish", "HARD_SWISH"),
        ("Abs", "ABS"),
    ],
)
@pytest.mark.parametrize("profile", ["tflm", "litert"])
def test_a_function_is_the_operator_that_computes_the_same_table(kind, operator, profile):
    assert of(kind, Options(profile=profile)) == {operator: 1}


@pytest.mark.parametrize("alpha", [0.01, 0.125, 0.2, 0.37])
def test_a_leaky_relu_is_found_again_in_its_table(alpha):
    assert of("LeakyRelu", alpha=alpha) == {"LEAKY_RELU": 1}


@pytest.mark.parametrize("kind", ["Gelu", "Exp"])
def test_functions_of_litert_alone_are_a_look_up_elsewhere(kind):
    assert of(kind, Options(profile="litert")) == {kind.upper(): 1}
    assert of(kind, Options(profile="tflm")) == {"CAST": 1, "ADD": 1, "GATHER": 1}


def test_any_other_function_is_a_look_up():
    assert of("Softplus") == {"CAST": 1, "ADD": 1, "GATHER": 1}


def test_same_padding_costs_nothing():
    assert counts(conv(pads=[1, 1, 1, 1]), (2, 4, 9, 8)) == {"CONV_2D": 1}


def test_padding_as_pytorch_has_it_becomes_a_pad():
    found = counts(conv(pads=[1, 1, 1, 1], strides=[2, 2]), (2, 4, 9, 8))
    assert found == {"PAD": 1, "CONV_2D": 1}


def test_a_column_row_depth_to_space_is_brought_in_order_by_its_convolution():
    graph = Graph()
    graph.normal("w", 12, 4, 3, 3)
    graph.normal("b", 12)
    graph.op("Conv", ["x", "w", "b"], "c", pads=[1, 1, 1, 1])
    graph.op("DepthToSpace", ["c"], "y", blocksize=2, mode="CRD")
    found = counts(graph.model({"x": [1, 4, 5, 6]}), (1, 4, 5, 6))
    assert found == {"CONV_2D": 1, "DEPTH_TO_SPACE": 1}


def test_without_a_convolution_a_gather_does_it():
    graph = Graph()
    graph.op("DepthToSpace", ["x"], "y", blocksize=2, mode="CRD")
    found = counts(graph.model({"x": [1, 8, 3, 2]}), (1, 8, 3, 2))
    assert found == {"GATHER": 1, "DEPTH_TO_SPACE": 1}


def test_int16_blocks_move_by_one_transpose_of_few_axes():
    found = of("DepthToSpace", Options(activations="int16"), blocksize=2)
    assert found == {"RESHAPE": 2, "TRANSPOSE": 1}


def test_int16_prelu_is_put_together():
    graph = Graph()
    graph.normal("slope", 4, 1, 1)
    graph.op("PRelu", ["x", "slope"], "y")
    found = counts(graph.model({"x": [1, 4, 6, 8]}), (1, 4, 6, 8), Options(activations="int16"))
    assert found == {"RELU": 1, "MINIMUM": 1, "MUL": 1, "ADD": 1}


def test_many_inputs_are_concatenated_in_groups():
    graph = Graph()
    graph.op("Concat", ["x"] * 23, "y", axis=1)
    found = counts(graph.model({"x": [1, 2, 3, 4]}), (1, 2, 3, 4))
    assert found["CONCATENATION"] == 4


def test_batch_dimensions_left_open_are_one():
    graph = Graph()
    graph.op("Relu", ["x"], "y")
    feeds = {"x": np.ones((1, 3), np.float32)}
    emission = emit_float(graph.model({"x": ["N", 3]}), feeds, Options())
    tensors = read(emission.emitted.data).subgraphs[0].tensors
    assert [list(tensor.shape) for tensor in tensors] == [[1, 3], [1, 3]]


def test_a_border_of_reals_is_quantized_in_the_file():
    graph = Graph()
    graph.op("Relu", ["x"], "y")
    feeds = {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}
    emission = emit_float(graph.model({"x": [3, 4]}), feeds, Options(io="float"))
    assert dict(Counter(emission.emitted.operators)) == {"QUANTIZE": 1, "RELU": 1, "DEQUANTIZE": 1}


def test_weights_are_noted_per_channel_along_the_kernels_axis():
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 4, 9, 8)).astype(np.float32)}
    cases = ((conv(), 0), (conv(group=4, outputs=4), 3))
    for proto, axis in cases:
        emission = emit_float(proto, feeds, Options())
        [graph] = read(emission.emitted.data).subgraphs
        weight = graph.tensors[graph.operators[0].inputs[1]]
        assert weight.quantization.quantizedDimension == axis
        assert len(weight.quantization.scale) == weight.shape[axis]


def test_biases_are_at_the_product_of_the_scales():
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 4, 9, 8)).astype(np.float32)}
    for activations, dtype in (("int8", "INT32"), ("int16", "INT64")):
        emission = emit_float(conv(), feeds, Options(activations=activations))
        [graph] = read(emission.emitted.data).subgraphs
        source, weight, bias = (graph.tensors[i] for i in graph.operators[0].inputs)
        assert bias.type == getattr(schema.TensorType, dtype)
        product = source.quantization.scale * weight.quantization.scale
        np.testing.assert_array_equal(bias.quantization.scale, product)


def test_tensors_have_the_names_of_the_source():
    graph = Graph()
    graph.normal("w", 6, 4, 3, 3)
    graph.op("Conv", ["x", "w"], "features")
    graph.op("Relu", ["features"], "active")
    graph.op("Softmax", ["active"], "scores", axis=1)
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 4, 9, 8)).astype(np.float32)}
    emission = emit_float(graph.model({"x": [1, 4, 9, 8]}, ("scores",)), feeds, Options())
    names = {tensor.name.decode() for tensor in read(emission.emitted.data).subgraphs[0].tensors}
    assert {"x", "active", "scores"} <= names


def test_a_float_graph_is_no_input():
    model = build("(float[1,2] x) => (float[1,2] y) { y = Erf(x) }")
    [refusal] = emit(model, "tflm").refusals
    assert refusal.operator == "Erf"


def test_another_scale_than_the_multiplier_says_is_refused():
    from intaglio.passes.annotations import get_quantization, set_quantization
    from intaglio.transforms.scales import TensorQuantization

    feeds = {"x": np.random.default_rng(0).standard_normal((2, 4, 9, 8)).astype(np.float32)}
    model = emit_float(conv(), feeds, Options()).model
    output = model.graph.outputs[0]
    scale = get_quantization(output).scale[0]
    zero_point = get_quantization(output).zero_point
    set_quantization(output, TensorQuantization("int8", (scale * 1.01,), zero_point))
    [refusal] = emit_integer(model, "tflm").emitted.refusals
    assert "another multiplier" in refusal.reason


def read(data):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))
