from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.passes.canonicalize import fold_constants
from tests.helpers import build, operators, reasons, run_float, run_pass


def test_constant_nodes_become_initializers():
    model = build(
        "(float[1,3] x) => (float y) { c = Constant<value_floats = [1.0,2.0,3.0]>() y = Add(x, c) }"
    )
    outcome = run_pass(model, "fold_constants")
    assert operators(model) == ["Add"]
    assert model.graph.initializers["c"].dtype == ir.DataType.FLOAT
    assert [change.kind for change in outcome.changes] == ["fold_constant"]


def test_everything_computed_from_constants_is_computed_once():
    model = build(
        "(float[1,4] x) => (float y)"
        " { a = Transpose<perm = [1,0]>(w) b = Add(a, a) y = MatMul(x, b) }",
        w=np.arange(12.0).reshape(3, 4),
    )
    run_pass(model, "fold_constants")
    assert operators(model) == ["MatMul"]
    folded = model.graph.initializers["b"].const_value.numpy()
    np.testing.assert_array_equal(folded, 2 * np.arange(12.0).reshape(3, 4).T)
    assert set(model.graph.initializers) == {"b"}


def test_shape_chain_in_front_of_reshape():
    model = build(
        "(float[2,3,4,5] x) => (float y) { s = Shape(x) n = Gather<axis = 0>(s, zero)"
        " u = Unsqueeze(n, axes) t = Concat<axis = 0>(u, rest) y = Reshape(x, t) }",
        zero=0,
        axes=[0],
        rest=[-1],
    )
    run_pass(model, "fold_constants")
    assert operators(model) == ["Reshape"]


def test_shape_chain_of_a_dynamic_batch_leaves_one_unknown():
    model = build(
        "(float[N,3,4,5] x) => (float y) { s = Shape(x) n = Gather<axis = 0>(s, zero)"
        " u = Unsqueeze(n, axes) t = Concat<axis = 0>(u, rest) y = Reshape(x, t) }",
        zero=0,
        axes=[0],
        rest=[60],
    )
    run_pass(model, "fold_constants")
    assert operators(model) == ["Reshape"]
    shape = model.graph.node(0).inputs[1].const_value.numpy()
    assert shape.tolist() in ([0, 60], [-1, 60])


def test_symbolic_dimensions_that_stay_in_place_are_copied():
    model = build(
        "(float[N,3,H,4] x) => (float y) { s = Shape(x) y = Reshape(x, s) }",
    )
    run_pass(model, "fold_constants")
    assert operators(model) == ["Reshape"]
    assert model.graph.node(0).inputs[1].const_value.numpy().tolist() == [0, 3, 0, 4]


def test_dequantized_weights_stay_and_float_weights_become_integers():
    model = build(
        "(float[1,2] x) => (float y) { q = QuantizeLinear(w, s, z) d = DequantizeLinear(q, s, z)"
        " y = MatMul(x, d) }",
        w=np.asarray([[0.5, 1.0], [-1.0, 100.0]], np.float32),
        s=0.5,
        z=np.int8(0),
    )
    run_pass(model, "fold_constants")
    assert operators(model) == ["DequantizeLinear", "MatMul"]
    integers = model.graph.initializers["q"].const_value.numpy()
    assert integers.dtype == np.int8
    np.testing.assert_array_equal(integers, [[1, 2], [-2, 127]])


def test_an_output_that_is_constant_keeps_its_name():
    model = build("(float[1,2] x) => (float y, float c) { y = Relu(x) c = Neg(w) }", w=[1.0, 2.0])
    run_pass(model, "fold_constants")
    assert [value.name for value in model.graph.outputs] == ["y", "c"]
    got = run_float(model, {"x": np.zeros((1, 2), np.float32)})["c"]
    np.testing.assert_array_equal(got, [-1, -2])


def test_constants_that_would_fill_the_memory_are_kept(monkeypatch):
    monkeypatch.setattr(fold_constants, "_MAX_ELEMENTS", 1000)
    model = build(
        "(float[1,1] x) => (float y) { big = Expand(one, shape) y = Add(x, big) }",
        one=[1.0],
        shape=[50, 50],
    )
    outcome = run_pass(model, "fold_constants")
    assert operators(model) == ["Expand", "Add"]
    assert "2500 numbers" in reasons(outcome)


def test_random_numbers_are_not_frozen():
    model = build(
        "(float[2,2] x) => (float y) { r = RandomNormalLike(w) y = Add(x, r) }", w=np.ones((2, 2))
    )
    fold_constants.FoldConstants()(model)
    assert "RandomNormalLike" in operators(model)


def test_functions_of_ours_are_neither_evaluated_nor_inlined():
    model = build("(float[1,2] x) => (float y) { y = Relu(x) }")
    inside = ir.Value(name="a", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))
    body = ir.Node("", "Neg", [inside], num_outputs=1, name="body")
    body.outputs[0].name = "b"
    function = ir.Function(
        "intaglio",
        "Ours",
        graph=ir.Graph([inside], body.outputs, nodes=[body], opset_imports={"": 21}),
        attributes=[],
    )
    model.functions[function.identifier()] = function
    model.graph.opset_imports["intaglio"] = 1
    weight = ir.Value(
        name="w",
        type=ir.TensorType(ir.DataType.FLOAT),
        shape=ir.Shape([2]),
        const_value=ir.tensor(np.ones(2, np.float32), name="w"),
    )
    model.graph.register_initializer(weight)
    call = ir.Node("intaglio", "Ours", [weight], num_outputs=1, name="call")
    call.outputs[0].name = "called"
    call.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    call.outputs[0].shape = ir.Shape([2])
    model.graph.append(call)
    model.graph.outputs.append(call.outputs[0])
    fold_constants.FoldConstants()(model)
    assert operators(model) == ["Relu", "Ours"]
    assert len(model.functions) == 1


@pytest.mark.parametrize("name", ["ultraface_RFB-320_nopost"])
def test_shape_arithmetic_of_an_exporter_disappears(zoo, name):
    from intaglio.targets.onnx.read import read_onnx

    model = read_onnx(zoo / f"{name}.onnx")
    run_pass(model, "fold_constants")
    assert not {"Shape", "Gather", "Unsqueeze", "Constant"} & set(operators(model))
