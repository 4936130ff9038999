"""Choosing layers: which are marked, what is refused, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.errors import RecipeError, UnsupportedError
from intaglio.passes.quantize.layer_pairs import find_pairs
from intaglio.passes.quantize.weight_grid import WeightGrid, get_weight_grid
from intaglio.passes.train.marks import get_trained, trained_nodes
from intaglio.passes.train.select_layers import SelectLayers
from intaglio.settings import build_config
from tests.helpers import build

RNG = np.random.default_rng(0)


def network():
    """Conv, ConvTranspose, Gemm, MatMul; the nodes' names are those of their outputs."""
    return build(
        """(float[1,2,4,4] x) => (float y) {
          conv = Conv<pads=[1,1,1,1]>(x, w0, b0)
          relu = PRelu(conv, slope)
          up = ConvTranspose(relu, w1)
          flat = Flatten(up)
          hidden = Gemm<transB=1>(flat, w2, b2)
          y = MatMul(hidden, w3)
        }""",
        w0=RNG.standard_normal((3, 2, 3, 3)),
        b0=RNG.standard_normal(3),
        slope=RNG.standard_normal((3, 1, 1)),
        w1=RNG.standard_normal((3, 2, 2, 2)),
        w2=RNG.standard_normal((6, 50)),
        b2=RNG.standard_normal(6),
        w3=RNG.standard_normal((6, 5)),
    )


def select(model, **options):
    return SelectLayers(build_config("train.select_layers", options))(model)


def trained(model):
    return [found.weight for _, found in trained_nodes(model.graph)]


def node(model, operator):
    return next(n for n in model.graph if n.op_type == operator)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("head", ["w3"]),
        ("last:1", ["w3"]),
        ("last:2", ["w2", "w3"]),
        ("all", ["w0", "w2", "w3"]),
        ("op:Conv", ["w0"]),
        (["op:Gemm", "op:Conv"], ["w0", "w2"]),
    ],
)
def test_the_layers(layers, expected):
    model = network()
    found = select(model, layers=layers)
    assert trained(model) == expected
    assert found.facts["layers"] == len(expected)
    assert [get_weight_grid(v) is not None for v in model.graph.initializers.values()].count(
        True
    ) == len(expected)


def test_names_match_by_pattern():
    model = network()
    named = node(model, "Gemm")
    select(model, layers=named.name[:-1] + "?")
    assert trained(model) == ["w2"]


def test_the_function_of_the_model_stays():
    model = network()
    before = {n: v.const_value.numpy() for n, v in model.graph.initializers.items()}
    kinds = [n.op_type for n in model.graph]
    select(model, layers="all", biases=True)
    assert [n.op_type for n in model.graph] == kinds
    for name, value in model.graph.initializers.items():
        np.testing.assert_array_equal(value.const_value.numpy(), before[name])


def test_layers_that_cannot_train_are_skipped_with_a_reason():
    reasons = [str(skip) for skip in select(network(), layers="all").skips]
    assert len(reasons) == 2
    assert "PRelu has no kernel with weights of 16 bits" in reasons[0]
    assert "ConvTranspose has no kernel with weights of 16 bits" in reasons[1]


@pytest.mark.parametrize("layers", ["last:3", "op:ConvTranspose", "op:PRelu", ["op:Conv", "*"]])
def test_naming_a_layer_that_cannot_train_is_an_error(layers):
    with pytest.raises(UnsupportedError, match="has no kernel with weights of 16 bits"):
        select(network(), layers=layers)


@pytest.mark.parametrize("layers", ["nothing*", "op:Relu", ["op:Conv", "op:Relu"]])
def test_a_pattern_without_a_match_is_an_error(layers):
    with pytest.raises(RecipeError, match="matches no node"):
        select(network(), layers=layers)


def test_more_layers_than_there_are():
    with pytest.raises(RecipeError, match="the model has 4 layers"):
        select(network(), layers="last:5")


@pytest.mark.parametrize("layers", ["", []])
def test_no_layers_is_an_error(layers):
    with pytest.raises(RecipeError, match="at least one layer"):
        select(network(), layers=layers)


def test_biases_train_where_they_are_vectors():
    model = network()
    found = select(model, layers="all", biases=True)
    assert [get_trained(n).bias for n, _ in trained_nodes(model.graph)] == ["b0", "b2", None]
    assert "it has no bias of its own" in str(found.skips[-1])


def test_headroom_and_levels():
    model = network()
    select(model, headroom=4.0, weight_bits=8)
    weight = node(model, "MatMul").inputs[1]
    assert get_weight_grid(weight) == WeightGrid(127, 4.0)
    assert get_trained(node(model, "MatMul")).levels == 127
    array = weight.const_value.numpy()
    scheme = get_weight_grid(weight).quantization(array)
    assert scheme.dtype == "int16"
    assert scheme.scale[0] == pytest.approx(4.0 * np.abs(array).max() / 127, rel=1e-6)
    assert np.abs(scheme.quantize(array)).max() == 32


def test_zero_weights_have_the_range_of_a_new_layer():
    zeros = np.zeros((4, 4), np.float32)
    scheme = WeightGrid().quantization(zeros)
    assert scheme.scale[0] == pytest.approx(2 * 0.25 / 32767, rel=1e-6)


def test_a_second_choice_replaces_the_first():
    model = network()
    select(model, layers="all")
    assert not select(model, layers="all").modified
    found = select(model, layers="head")
    assert trained(model) == ["w3"]
    assert {change.kind for change in found.changes} == {"freeze"}
    assert get_weight_grid(node(model, "Conv").inputs[1]) is None


def test_scaling_of_channels_leaves_trained_layers_alone():
    text = "(float[1,4] x) => (float y) { a = Gemm<transB=1>(x, w, b) r = Relu(a)"
    text += " y = Gemm<transB=1>(r, v, c) }"
    constants = {"w": np.eye(4), "b": np.ones(4), "v": np.eye(4), "c": np.ones(4)}
    model = build(text, **constants)
    assert len(find_pairs(model.graph)[0]) == 1
    select(model)
    pairs, left_out = find_pairs(model.graph)
    assert pairs == []
    assert "train" in left_out[0][1]


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ("r = RandomNormalLike(h) y = Add(h, r)", "random"),
        ("y = Bernoulli(h)", "random"),
        ("y = Dropout(h, ratio, training)", "training mode"),
        ("y = BatchNormalization(h, s, s, s, s)", "not folded"),
    ],
)
def test_what_varies_is_refused(body, match):
    model = build(
        "(float[2,3] x) => (float y) { h = MatMul(x, w) " + body + " }",
        w=np.eye(3),
        s=np.ones(3),
        ratio=np.float32(0.5),
        training=np.array(True),
    )
    with pytest.raises(UnsupportedError, match=match) as caught:
        select(model)
    assert len(caught.value.refusals) == 1
    assert caught.value.refusals[0].remedy


def test_dropout_in_evaluation_mode_is_none_of_them():
    model = build("(float[2,3] x) => (float y) { h = MatMul(x, w) y = Dropout(h) }", w=np.eye(3))
    assert select(model).modified


def test_a_quantized_model_is_refused():
    model = build(
        """(float[1,2] x) => (float y) {
          q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = MatMul(d, w) }""",
        w=np.eye(2),
        s=np.float32(0.1),
        z=np.int8(0),
    )
    with pytest.raises(UnsupportedError, match="quantized already"):
        select(model)


@pytest.mark.parametrize(
    "text",
    [
        "(float[1,2] x) => (float y) { y = Relu(x) }",
        "(float[2,2] x, float[2,2] z) => (float y) { y = MatMul(x, z) }",
    ],
)
def test_a_model_without_weights_is_refused(text):
    with pytest.raises(UnsupportedError, match="no layer that can train"):
        select(build(text))


def test_shared_weights_cannot_train():
    text = "(float[1,2] x) => (float y) { h = MatMul(x, w) y = MatMul(h, w) }"
    with pytest.raises(UnsupportedError, match="shared with another node"):
        select(build(text, w=np.eye(2)))


def test_the_marks_survive_a_file(tmp_path):
    model = network()
    select(model, layers="all", biases=True)
    ir.save(model, tmp_path / "marked.onnx")
    again = ir.load(tmp_path / "marked.onnx")
    assert [t for _, t in trained_nodes(again.graph)] == [t for _, t in trained_nodes(model.graph)]
