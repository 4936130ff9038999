"""The forward form: trained tensors as inputs, logits at a scale of the loss's own."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.errors import InternalError, UnsupportedError
from intaglio.passes.annotations import get_quantization
from intaglio.passes.train.build_forward import (
    LOGITS,
    BuildForward,
    is_forward,
    read_specification,
)
from intaglio.transforms.fixed_point import quantize_multiplier, rescale_double
from intaglio.transforms.forward_gradient.specification import METADATA_KEY
from tests.passes.train.small_integer import (
    HIDDEN,
    MIDDLE,
    SCALES,
    batch,
    forward_form,
    initial_weights,
    integer_graph,
    session,
    specification,
)


def feeds(x, weights, names):
    return {"x": x, **{name: weights[name] for name in names}}


def test_parameters_become_inputs_behind_the_data_in_the_order_of_their_numbers():
    model = forward_form(specification(("fc2_weight", "fc1_weight")))
    assert [v.name for v in model.graph.inputs] == ["x", "fc2_weight", "fc1_weight"]
    assert "fc1_weight" not in model.graph.initializers
    assert "fc1_bias" in model.graph.initializers
    assert [v.name for v in model.graph.outputs] == ["y", LOGITS]
    assert is_forward(model)


def test_the_output_is_that_of_the_integer_graph():
    spec, (x, _) = specification(), batch(1)
    weights = initial_weights()
    expected = session(integer_graph(spec)).run(["y"], {"x": x})[0]
    found = session(forward_form(spec)).run(["y"], feeds(x, weights, SCALES))[0]
    np.testing.assert_array_equal(found, expected)


def with_node_names(model):
    for node in model.graph:
        node.name = node.outputs[0].name
    return model


def last_accumulator(x):
    model = with_node_names(integer_graph(specification()))
    model.graph.outputs.append(next(n for n in model.graph if n.name == "acc2").outputs[0])
    model.graph.outputs[-1].shape = ir.Shape(["N", 4])
    return session(model).run(["acc2"], {"x": x})[0]


@pytest.mark.parametrize("bits", [0, 4, 8])
def test_the_logits_are_the_accumulator_at_the_scale_of_the_loss(bits):
    x, _ = batch(3)
    model = forward_form(specification(loss_bits=bits))
    spec = read_specification(model)
    assert spec.logit_scale == pytest.approx(math.log(2) / 2**bits)
    found = session(model).run([LOGITS], feeds(x, initial_weights(), SCALES))[0]
    # The note of the activations' scale is a float32.
    scale = float(np.float32(0.05)) * float(np.float32(SCALES["fc2_weight"]))
    fixed = quantize_multiplier(scale / spec.logit_scale)
    expected = rescale_double(last_accumulator(x), fixed.multiplier, fixed.shift)
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found).max() > 0
    assert get_quantization(model.graph.outputs[-1]).scale[0] == pytest.approx(spec.logit_scale)


def test_logits_of_the_squared_error_are_a_16th_of_the_output_and_clamped():
    model = forward_form(specification(loss="mean-squared-error"))
    spec = read_specification(model)
    assert spec.logit_scale == pytest.approx(0.1 / 16)
    limits = [v for v in model.graph.initializers.values() if v.name.startswith(f"{LOGITS}_m")]
    numbers = {v.name: int(v.const_value.numpy().reshape(-1)[0]) for v in limits}
    assert numbers[f"{LOGITS}_minimum"] == -(1 << 24)
    assert numbers[f"{LOGITS}_maximum"] == 1 << 24


def test_where_a_clamp_is_fused_the_output_itself_is_rescaled():
    spec = specification(("fc2_weight",))
    model = integer_graph(spec)
    last = next(n for n in model.graph if n.outputs[0].name == "y")
    last.replace_input_with(4, last.inputs[3])  # minimum 0: a Relu
    BuildForward()(model)
    x, _ = batch(4)
    y, logits = session(model).run(None, feeds(x, initial_weights(), ["fc2_weight"]))
    final = read_specification(model)
    fixed = quantize_multiplier(float(np.float32(0.1)) / final.logit_scale)
    expected = rescale_double(y.astype(np.int64), fixed.multiplier, fixed.shift)
    np.testing.assert_array_equal(logits, expected)
    assert y.min() == 0


def test_a_wide_rescale_gives_a_wide_rescale():
    model = integer_graph(specification())
    last = next(n for n in model.graph if n.outputs[0].name == "y")
    last.op_type = "RescaleWide"
    BuildForward()(model)
    assert model.graph.outputs[-1].producer().op_type == "RescaleWide"


def test_moves_behind_the_last_layer_are_made_of_the_logits_too():
    model = integer_graph(specification())
    graph = model.graph
    old = graph.outputs[0]
    graph.outputs.clear()
    shape = ir.tensor(np.array([-1, 4], np.int64), name="flat_shape")
    constant = ir.Value(
        name="flat_shape", const_value=shape, shape=shape.shape, type=ir.TensorType(shape.dtype)
    )
    graph.register_initializer(constant)
    node = ir.Node("", "Reshape", [old, constant], num_outputs=1, name="flat")
    node.outputs[0].name, node.outputs[0].type = "out", ir.TensorType(ir.DataType.INT8)
    node.outputs[0].shape = ir.Shape(["N", 4])
    graph.append(node)
    graph.outputs.append(node.outputs[0])
    x, _ = batch(2)
    BuildForward()(model)
    found = session(model).run([LOGITS], feeds(x, initial_weights(), SCALES))[0]
    plain = session(forward_form(specification())).run(
        [LOGITS], feeds(x, initial_weights(), SCALES)
    )[0]
    np.testing.assert_array_equal(found, plain)


def test_a_parameter_that_lies_transposed_says_so():
    spec = specification(("fc1_weight",))
    model = integer_graph(spec)
    turned = spec.to_json().replace(f"[{HIDDEN}, {MIDDLE}]", f"[{MIDDLE}, {HIDDEN}]")
    model.metadata_props[METADATA_KEY] = turned
    BuildForward()(model)
    assert read_specification(model).parameters[0].shape == (HIDDEN, MIDDLE)


def test_it_is_idempotent_and_leaves_other_models_alone():
    model = forward_form(specification())
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    again = BuildForward()(model)
    assert not again.modified
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    plain = integer_graph(specification())
    del plain.metadata_props[METADATA_KEY]
    assert not BuildForward()(plain).modified


def test_an_output_that_is_no_row_of_classes_is_refused():
    model = integer_graph(specification())
    model.graph.outputs[0].shape = ir.Shape(["N", 2, 2])
    with pytest.raises(UnsupportedError, match="row of classes"):
        BuildForward()(model)


def test_several_outputs_are_refused():
    model = integer_graph(specification())
    model.graph.outputs.append(next(n for n in model.graph if n.outputs[0].name == "h").outputs[0])
    with pytest.raises(UnsupportedError, match="2 outputs"):
        BuildForward()(model)


def test_a_missing_parameter_is_a_bug_of_ours():
    model = integer_graph(specification())
    model.graph.initializers["fc1_weight"].name = "other"
    with pytest.raises((InternalError, ir.passes.InvariantError), match="fc1_weight"):
        BuildForward()(model)
