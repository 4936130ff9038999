from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from intaglio.errors import RecipeError, UnsupportedError
from intaglio.passes.annotations import (
    all_values,
    get_quantization,
    set_extremes,
    set_precision,
    set_range,
)
from intaglio.passes.operators import is_constant, is_float
from intaglio.passes.provenance import stamp_sources
from intaglio.passes.quantize.insert_qdq import InsertQdq
from intaglio.passes.quantize.isolate_tensors import IsolateTensors
from intaglio.passes.quantize.plan_tensors import PlanTensors


def build(nodes, inputs, outputs, constants=()):
    def info(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [
            helper.make_node(*n[:3], name=f"n_{n[2][0]}", **(n[3] if len(n) > 3 else {}))
            for n in nodes
        ],
        "g",
        [info(k, v) for k, v in inputs.items()],
        [info(k, None) for k in outputs],
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in dict(constants).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    import onnx

    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    stamp_sources(model)
    for value in all_values(model):
        if is_float(value) and not is_constant(value):
            set_range(value, -1.0, 3.0)
    return model


def plan(model, **options):
    return PlanTensors(PlanTensors.Config(**options))(model)


def notes(model):
    return {v.name: get_quantization(v) for v in all_values(model) if get_quantization(v)}


CONV = {
    "w": np.linspace(-1, 1, 2 * 3 * 3 * 3).reshape(2, 3, 3, 3),
    "b": np.array([0.5, -0.25]),
}


def conv_relu():
    return build(
        [("Conv", ["x", "w", "b"], ["c"]), ("Relu", ["c"], ["y"])],
        {"x": [1, 3, 8, 8]},
        ["y"],
        CONV,
    )


def test_relu_behind_conv_takes_no_scale_of_its_own():
    model = conv_relu()
    plan(model)
    assert set(notes(model)) == {"x", "w", "b", "y"}


def test_weights_are_symmetric_per_output_channel_and_bias_is_at_their_product():
    model = conv_relu()
    plan(model)
    found = notes(model)
    assert found["w"].axis == 0
    assert found["w"].zero_point == (0, 0)
    assert found["w"].scale[1] == np.float32(1.0 / 127)
    assert found["b"].dtype == "int32"
    expected = np.float32(found["x"].scale[0] * found["w"].scale[1])
    assert found["b"].scale[1] == expected


def test_per_tensor_weights_on_request():
    model = conv_relu()
    plan(model, per_channel=False)
    assert notes(model)["w"].axis is None


def test_bias_that_would_overflow_raises_the_weight_scale_and_says_so():
    model = build(
        [("Conv", ["x", "w", "b"], ["y"])],
        {"x": [1, 3, 8, 8]},
        ["y"],
        {"w": CONV["w"] * np.array([1e-9, 1]).reshape(2, 1, 1, 1), "b": [2.0, 2.0]},
    )
    result = plan(model)
    assert [c.kind for c in result.changes].count("bias-fit") == 1
    found = notes(model)
    codes = found["b"].quantize(np.array([2.0, 2.0]))
    assert abs(int(codes[0])) <= 2**30
    assert codes[0] * found["b"].scale[0] == pytest.approx(2.0, rel=1e-6)


def test_moves_share_one_scale_and_concat_inputs_with_other_readers_are_separated():
    model = build(
        [
            ("Relu", ["x"], ["a"]),
            ("Sigmoid", ["x"], ["s"]),
            ("MaxPool", ["a"], ["p"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("Concat", ["a", "s"], ["y"], {"axis": 1}),
        ],
        {"x": [1, 3, 8, 8]},
        ["y", "p"],
    )
    assert IsolateTensors()(model).modified
    assert not IsolateTensors()(model).modified
    for value in all_values(model):
        if is_float(value) and not is_constant(value):
            set_range(value, 0.0, 4.0 if value.name == "y" else 2.0)
    plan(model)
    found = notes(model)
    assert found["a"] == found["p"] != found["y"]
    assert found["s"].scale == (1 / 256,)
    assert found["s"].zero_point == (-128,)
    between = [n.outputs[0].name for n in model.graph if n.op_type == "Identity"]
    assert len(between) == 2
    assert all(found[name] == found["y"] for name in between)


def test_shared_bias_is_copied():
    model = build(
        [("Conv", ["x", "w", "b"], ["c"]), ("Conv", ["x", "w", "b"], ["y"])],
        {"x": [1, 3, 8, 8]},
        ["c", "y"],
        CONV,
    )
    assert IsolateTensors()(model).modified
    parameters = [v.name for n in model.graph for v in n.inputs[1:]]
    assert len(set(parameters)) == 4
    assert not IsolateTensors()(model).modified


def test_sixteen_bit_by_selector_and_by_chosen_precision():
    model = conv_relu()
    plan(model, sixteen_bit=("n_c",))
    assert notes(model)["y"].dtype == "int16"
    model = conv_relu()
    set_precision(next(v for v in all_values(model) if v.name == "x"), "int16")
    plan(model)
    assert notes(model)["x"].dtype == "int16"
    assert notes(model)["y"].dtype == "int8"


def test_sixteen_bits_hold_the_extremes_not_the_range_clipped_for_eight():
    model = conv_relu()
    for value in all_values(model):
        if value.name in ("x", "y"):
            set_extremes(value, -1.0, 12.0)
    plan(model, sixteen_bit=("n_c",))
    found = notes(model)
    assert found["y"].scale[0] == pytest.approx(12.0 / 32767)
    assert found["x"].scale[0] == pytest.approx(4.0 / 255)


def test_selector_that_matches_nothing_is_an_error():
    with pytest.raises(RecipeError, match="matches no node"):
        plan(conv_relu(), sixteen_bit=("nothing*",))


def test_missing_range_is_an_error_with_a_remedy():
    model = conv_relu()
    for value in all_values(model):
        value.metadata_props.clear()
    with pytest.raises(RecipeError, match="observe_ranges"):
        plan(model)


def test_unknown_activation_type_is_an_error():
    with pytest.raises(RecipeError, match="int4"):
        plan(conv_relu(), activations="int4")


def test_inserting_leaves_only_integer_constants_and_is_idempotent():
    model = conv_relu()
    plan(model)
    result = InsertQdq()(model)
    assert result.modified
    assert result.facts["largest_accumulator_bits"] <= 32
    kinds = [n.op_type for n in model.graph]
    assert kinds.count("QuantizeLinear") == 2
    assert kinds.count("DequantizeLinear") == 4
    assert model.graph.outputs[0].name == "y"
    assert model.graph.initializers["w_quantized"].dtype == ir.DataType.INT8
    assert model.graph.initializers["b_quantized"].dtype == ir.DataType.INT32
    assert not InsertQdq()(model).modified
    assert not plan(model).modified


def test_accumulator_that_could_overflow_is_refused_by_name():
    inputs = 100_000
    model = build(
        [("Gemm", ["x", "w", "b"], ["y"], {"transB": 1})],
        {"x": [1, inputs]},
        ["y"],
        {"w": np.ones((1, inputs)), "b": [0.0]},
    )
    plan(model)
    with pytest.raises(UnsupportedError) as caught:
        InsertQdq()(model)
    assert caught.value.refusals[0].node == "n_y"
    assert "int32 cannot hold" in str(caught.value)
