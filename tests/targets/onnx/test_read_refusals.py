"""Bad files: each gives the right error with a remedy, never a traceback of a library."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, parser

from intaglio.errors import InputError, IntaglioError, UnsupportedError
from intaglio.targets.onnx.read import read_onnx
from tests.helpers import build_proto

SIMPLE = "(float[1,2] x) => (float[1,2] y) { y = Relu(x) }"


def refused(path, kind, *words):
    with pytest.raises(kind) as caught:
        read_onnx(path)
    error = caught.value
    for word in words:
        assert word in str(error)
    assert error.remedy or all(refusal.reason for refusal in error.refusals)
    return error


def saved(tmp_path, proto, name="model.onnx"):
    path = tmp_path / name
    path.write_bytes(proto.SerializeToString())
    return path


def small(tmp_path, text, opset=21, **weights):
    return saved(tmp_path, build_proto(text, opset, **weights))


def test_missing_file(tmp_path):
    refused(tmp_path / "none.onnx", InputError, "there is no file")


def test_folder(tmp_path):
    refused(tmp_path, InputError, "is not a file")


def test_empty_file(tmp_path):
    path = tmp_path / "empty.onnx"
    path.write_bytes(b"")
    refused(path, InputError, "is empty")


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.7, 0.999])
def test_truncated_file(tmp_path, fraction):
    data = build_proto(
        "(float[1,2] x) => (float[1,2] y) { y = Add(x, w) }", w=np.zeros((500, 2))
    ).SerializeToString()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * fraction)])
    refused(path, InputError)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x1c\0\0\0TFL3" + b"\0" * 40, "a TFLite model"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 40, "a Keras HDF5 file"),
        (b"PK\x03\x04" + b"\0" * 20 + b"archive/data.pkl", "a PyTorch checkpoint"),
        (b"PK\x03\x04" + b"\0" * 20 + b"weights.npy", "a numpy .npz archive"),
        (b"PK\x03\x04" + b"\0" * 40, "a zip archive"),
        (b"\x80\x02}q\0.", "a Python pickle"),
        (b"\x1f\x8b\x08" + b"\0" * 20, "a gzip archive"),
        (b"\x93NUMPY\x01\0", "a numpy array"),
        (b'{"irVersion": "8"}', "a JSON text"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
    ],
)
def test_files_of_other_formats_are_named(tmp_path, content, words):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    refused(path, InputError, words)


def test_real_tflite_file_named_onnx(zoo, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes((zoo / "hello_world_int8.tflite").read_bytes())
    refused(path, InputError, "a TFLite model", ".tflite")


@given(st.binary(min_size=1, max_size=200))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_are_no_model(tmp_path, content):
    path = tmp_path / "random.onnx"
    path.write_bytes(content)
    refused(path, InputError)


def _damaged(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    place = rng.randrange(len(changed))
    kind = rng.randrange(4)
    if kind == 0:
        changed[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
        changed[place : place + 20] = bytes(len(changed[place : place + 20]))
    elif kind == 2:
        del changed[place : place + rng.randrange(1, 12)]
    else:
        changed[place:place] = changed[place : place + rng.randrange(1, 40)]
    return bytes(changed)


FUZZED = """<ir_version: 8, opset_import: ["": 17, "mine": 1]>
graph (float[N,3,8,8] x) => (float[N,K] y, float q)
  <float[4,3,1,1] w = {1,2,3,4,5,6,7,8,9,10,11,12}> {
  s = Shape(x) i = Constant<value_int=0>() n = Gather<axis=0>(s,i)
  a = Conv<auto_pad="SAME_UPPER">(x,w) b = mine.act(a)
  ax = Constant<value_ints=[0]>() u = Unsqueeze(n,ax) m1 = Constant<value_ints=[-1]>()
  sh = Concat<axis=0>(u,m1) y = Reshape(b,sh) t,r = Split<axis=1>(b) z = Softmax<axis=1>(t)
  sc = Constant<value_floats=[1.0,1.0,2.0,2.0]>() q = Resize<mode="nearest">(z,,sc)
}
<domain: "mine", opset_import: ["": 17]> act (a) => (c) { c = Relu(a) }"""


def _fuzz(tmp_path, count, seed):
    data = parser.parse_model(FUZZED).SerializeToString()
    path = tmp_path / "fuzz.onnx"
    path.write_bytes(data)
    read_onnx(path)
    rng = random.Random(seed)
    outcomes = set()
    for _ in range(count):
        path.write_bytes(_damaged(data, rng))
        try:
            read_onnx(path)
            outcomes.add("read")
        except IntaglioError as error:
            outcomes.add(type(error).__name__)
    assert {"read", "InputError"} <= outcomes


def test_damaged_bytes_give_our_errors_only(tmp_path):
    _fuzz(tmp_path, 300, 1)


@pytest.mark.long
def test_damaged_bytes_give_our_errors_only_long(tmp_path):
    _fuzz(tmp_path, 20_000, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(tmp_path, bad):
    weights = np.ones((2, 3), np.float32)
    weights[1, 2] = bad
    path = small(tmp_path, "(float[1,2] x) => (float y) { y = MatMul(x, kernel) }", kernel=weights)
    refused(path, InputError, "'kernel'", "1 of 6")


def test_infinite_bounds_are_no_damage(tmp_path):
    text = "(float[1,2] x) => (float y) { y = Clip(x, low, high) }"
    path = small(tmp_path, text, low=np.float32(0), high=np.float32(np.inf))
    assert len(list(read_onnx(path).graph)) == 1


def test_cycle_is_named(tmp_path):
    text = "(float[1,2] x) => (float y) { a = Add(x, c) b = Relu(a) c = Neg(b) y = Abs(b) }"
    error = refused(small(tmp_path, text), InputError, "has a cycle")
    assert "a -> b -> c -> a" in error.message or "b -> c -> a -> b" in error.message


def test_node_that_feeds_itself(tmp_path):
    text = "(float[1,2] x) => (float y) { y = Add(x, y) }"
    refused(small(tmp_path, text), InputError, "has a cycle")


def test_tensor_from_nowhere(tmp_path):
    refused(
        small(tmp_path, "(float[1,2] x) => (float y) { y = Add(x, lost) }"), InputError, "'lost'"
    )


def test_tensor_made_twice(tmp_path):
    text = "(float[1,2] x) => (float y) { y = Relu(x) y = Neg(x) }"
    refused(small(tmp_path, text), InputError, "'y' is made twice")


def test_constant_model(tmp_path):
    refused(
        small(tmp_path, "() => (float[2] y) { y = Relu(w) }", w=[1.0, 2.0]),
        InputError,
        "no inputs",
    )


def test_output_that_does_not_depend_on_the_input(tmp_path):
    text = "(float[1,2] x) => (float y) { a = Relu(x) y = Relu(w) }"
    refused(small(tmp_path, text, w=[1.0, 2.0]), InputError, "is a constant")


def test_model_without_operators(tmp_path):
    proto = build_proto(SIMPLE)
    del proto.graph.node[:]
    refused(saved(tmp_path, proto), InputError, "no operators")


def test_model_without_outputs(tmp_path):
    proto = build_proto(SIMPLE)
    del proto.graph.output[:]
    refused(saved(tmp_path, proto), InputError, "no outputs")


def test_custom_operators_are_all_named(tmp_path):
    proto = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "com.acme": 1]>
        graph (float[1,2] x) => (float[1,2] y)
        { a = com.acme.Magic(x) b = Relu(a) y = com.acme.Wand(b) }"""
    )
    error = refused(saved(tmp_path, proto), UnsupportedError, "com.acme", "Magic", "Wand")
    assert [refusal.operator for refusal in error.refusals] == ["Magic", "Wand"]
    assert all(refusal.remedy for refusal in error.refusals)


def test_runtime_own_quantize_is_refused_with_a_way_out(tmp_path):
    proto = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
        graph (float[1,2] x) => (int8[1,2] y) <float s = {1}, int8 z = {0}>
        { y = com.microsoft.QuantizeLinear(x, s, z) }"""
    )
    refused(saved(tmp_path, proto), UnsupportedError, "opset 21")


def test_control_flow(tmp_path):
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["b"])],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [2])],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], "choose", then_branch=branch, else_branch=branch)],
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    refused(saved(tmp_path, proto), UnsupportedError, "If 'choose'", "control flow")


def test_sequences(tmp_path):
    text = "(float[1,4] x) => (float y) { s = SplitToSequence(x) y = SequenceAt(s, i) }"
    refused(small(tmp_path, text, i=0), UnsupportedError, "sequences")


def test_strings(tmp_path):
    proto = build_proto(SIMPLE)
    proto.graph.input.append(helper.make_tensor_value_info("words", TensorProto.STRING, [1]))
    refused(saved(tmp_path, proto), UnsupportedError, "'words'", "strings")


def test_sparse_weights(tmp_path):
    proto = build_proto("(float[4] x) => (float[4] y) { y = Add(x, w) }")
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])
    places = helper.make_tensor("places", TensorProto.INT64, [1], [3])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4]))
    refused(saved(tmp_path, proto), UnsupportedError, "sparse")


def test_function_that_calls_itself(tmp_path):
    proto = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "mine": 1]>
        graph (float[1,2] x) => (float[1,2] y) { y = mine.loop(x) }
        <domain: "mine", opset_import: ["": 17, "mine": 1]> loop (a) => (c) { c = mine.loop(a) }"""
    )
    refused(saved(tmp_path, proto), InputError, "calls itself")


def test_functions_that_would_fill_the_memory(tmp_path):
    bodies = ["leaf (a) => (c) { c = Relu(a) }"]
    for depth in range(40):
        inner = "leaf" if depth == 0 else f"f{depth - 1}"
        bodies.append(f"f{depth} (a) => (c) {{ b = mine.{inner}(a) c = mine.{inner}(b) }}")
    header = '<domain: "mine", opset_import: ["": 17, "mine": 1]> '
    proto = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17, "mine": 1]>'
        " graph (float[1,2] x) => (float[1,2] y) { y = mine.f39(x) } "
        + " ".join(header + body for body in bodies)
    )
    refused(saved(tmp_path, proto), InputError, "expands to")


def test_weight_whose_data_is_missing(tmp_path):
    proto = build_proto("(float[2] x) => (float y) { y = Add(x, w) }", w=[1.0, 2.0])
    proto.graph.initializer[0].dims[0] = 2_000_000_000
    refused(saved(tmp_path, proto), InputError, "'w'")


def test_types_that_do_not_fit(tmp_path):
    text = "(float[2] x, int64[2] i) => (float y) { y = Add(x, i) }"
    refused(small(tmp_path, text), InputError)


def test_shapes_that_do_not_fit(tmp_path):
    text = "(float[2,3] x, float[4,5] z) => (float y) { y = MatMul(x, z) }"
    refused(small(tmp_path, text), InputError, "do not fit together")


def test_training_outputs_and_extra_metadata_do_not_disturb(tmp_path):
    proto = build_proto(SIMPLE)
    proto.metadata_props.add(key="author", value="somebody")
    onnx.checker.check_model(proto)
    read_onnx(saved(tmp_path, proto))
