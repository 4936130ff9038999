"""Binding symbolic dimensions."""

from __future__ import annotations

import onnx
import pytest

from intaglio.errors import RecipeError, UnsupportedError
from intaglio.passes.canonicalize.editing import dims
from intaglio.targets.onnx.read import read_onnx
from tests.helpers import build_proto

TWO_INPUTS = "(float[N,3,H,W] x, float[N,3,1,1] z) => (float y) { y = Add(x, z) }"


def read(tmp_path, text, shapes=None, **weights):
    path = tmp_path / "model.onnx"
    onnx.save(build_proto(text, **weights), path)
    return read_onnx(path, shapes)


def test_unbound_dimensions_stay_symbolic(tmp_path):
    model = read(tmp_path, TWO_INPUTS)
    assert dims(model.graph.inputs[0]) == ["N", 3, "H", "W"]
    assert dims(model.graph.outputs[0]) == ["N", 3, "H", "W"]


def test_binding_one_input_binds_the_symbol_everywhere(tmp_path):
    model = read(tmp_path, TWO_INPUTS, {"x": [1, 3, 96, 64]})
    assert dims(model.graph.inputs[1]) == [1, 3, 1, 1]
    assert dims(model.graph.outputs[0]) == [1, 3, 96, 64]


def test_dimensions_without_a_name_get_one(tmp_path):
    proto = build_proto("(float[1,2] x) => (float y) { y = Relu(x) }")
    shape = proto.graph.input[0].type.tensor_type.shape
    shape.dim[0].Clear()
    shape.dim[1].dim_value = -1
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    model = read_onnx(path)
    assert dims(model.graph.inputs[0]) == ["x_0", "x_1"]
    assert dims(model.graph.outputs[0]) == ["x_0", "x_1"]


def test_wrong_shapes_noted_in_the_file_are_inferred_anew(tmp_path):
    proto = build_proto("(float[N,2] x) => (float[N,9] y) { a = Relu(x) y = Neg(a) }")
    proto.graph.value_info.append(
        onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [7, 7])
    )
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    model = read_onnx(path, {"x": [4, 2]})
    assert dims(model.graph.node(0).outputs[0]) == [4, 2]
    assert dims(model.graph.outputs[0]) == [4, 2]


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"picture": [1, 3, 8, 8]}, "no input 'picture'"),
        ({"x": [1, 3, 8]}, "4 dimensions"),
        ({"x": [1, 4, 8, 8]}, "cannot have shape 1x4x8x8"),
        ({"x": [0, 3, 8, 8]}, "not positive"),
        ({"x": [1, 3, -8, 8]}, "not positive"),
        ({"x": [1, 3, 2**40, 8]}, "not positive"),
        ({"x": [1, 3, 8, 8], "z": [2, 3, 1, 1]}, "N is 1"),
    ],
)
def test_shapes_that_do_not_fit_the_model(tmp_path, shapes, words):
    with pytest.raises(RecipeError, match=words) as caught:
        read(tmp_path, TWO_INPUTS, shapes)
    assert caught.value.remedy
    assert caught.value.exit_code == 2


def test_unknown_rank_is_refused_and_can_be_given(tmp_path):
    proto = build_proto("(float[1,2] x) => (float y) { y = Relu(x) }")
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    with pytest.raises(UnsupportedError, match="--shape"):
        read_onnx(path)
    assert dims(read_onnx(path, {"x": [5, 2]}).graph.outputs[0]) == [5, 2]


def test_rank_that_depends_on_data_is_refused(tmp_path):
    text = "(float[4] x, int64[K] s) => (float[] y) { y = Reshape(x, s) }"
    with pytest.raises(UnsupportedError, match="rank of its output 'y'"):
        read(tmp_path, text)
