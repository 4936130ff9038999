from __future__ import annotations

import hashlib

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from intaglio.errors import InputError
from intaglio.passes.provenance import sources
from intaglio.targets.onnx.read import file_sha256, read_onnx
from tests.helpers import (
    ZOO_FLOAT,
    assert_same_outputs,
    build_proto,
    operators,
    random_inputs,
    relative_error,
    run_float,
)


def save(proto, tmp_path, name="model.onnx"):
    path = tmp_path / name
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize("name", ZOO_FLOAT)
def test_zoo_models_read_into_one_form(zoo, name):
    model = read_onnx(zoo / f"{name}.onnx")
    assert model.opset_imports == {"": 21}
    assert model.ir_version == 10
    assert not model.functions
    assert not set(model.graph.initializers) & {value.name for value in model.graph.inputs}
    for node in model.graph:
        assert sources(node) == [node.name]
        for output in node.outputs:
            assert output.dtype is not None
            assert output.shape is not None


@pytest.mark.parametrize("name", [n for n in ZOO_FLOAT if not n.startswith("pytorch_super")])
def test_zoo_models_compute_what_the_file_computes(zoo, name):
    path = zoo / f"{name}.onnx"
    model = read_onnx(path)
    inputs = random_inputs(model)
    assert_same_outputs(run_float(model, inputs), run_float(path, inputs), 1e-6)


def test_ir_1_file_without_opset_is_upgraded(zoo):
    """No runtime here takes the file, so its layers are computed in numpy from its weights."""
    path = zoo / "pytorch_super_resolution_tutorials.onnx"
    model = read_onnx(path)
    inputs = random_inputs(model)
    got = run_float(model, inputs)["27"]
    proto = onnx.load(path)
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    x = inputs["1"][0]
    for index, (kernel, bias) in enumerate([("2", "3"), ("4", "5"), ("6", "7"), ("8", "9")]):
        k = weights[kernel].shape[-1]
        padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), (1, 2))
        x = np.tensordot(weights[kernel], windows, ([1, 2, 3], [0, 3, 4]))
        x = x + weights[bias][:, None, None]
        if index < 3:
            x = np.maximum(x, 0)
    want = x.reshape(1, 3, 3, 224, 224).transpose(0, 3, 1, 4, 2).reshape(1, 1, 672, 672)
    assert relative_error(got, want) < 1e-5


def test_initializers_that_are_inputs_too_are_no_inputs(tmp_path):
    proto = build_proto(
        "(float[1,2] x, float[2] w) => (float[1,2] y) { y = Add(x, w) }",
        opset=8,
        ir_version=3,
        w=[1.0, 2.0],
    )
    model = read_onnx(save(proto, tmp_path))
    assert [value.name for value in model.graph.inputs] == ["x"]
    got = run_float(model, {"x": np.zeros((1, 2), np.float32)})["y"]
    np.testing.assert_array_equal(got, [[1, 2]])


def test_nodes_out_of_order_are_sorted(tmp_path):
    proto = build_proto(
        "(float[1,2] x) => (float[1,2] y) { a = Relu(x) b = Neg(a) y = Abs(b) }",
    )
    nodes = [proto.graph.node[i] for i in (2, 0, 1)]
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(copies)
    assert operators(read_onnx(save(proto, tmp_path))) == ["Relu", "Neg", "Abs"]


def test_local_functions_are_expanded(tmp_path):
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "mine": 1]>
        graph (float[1,2] x) => (float[1,2] y) { y = mine.twice(x) }
        <domain: "mine", opset_import: ["": 17]> twice (a) => (c) { b = Relu(a) c = Add(b, b) }"""
    )
    model = read_onnx(save(proto, tmp_path))
    assert operators(model) == ["Relu", "Add"]
    got = run_float(model, {"x": np.asarray([[-1, 3]], np.float32)})["y"]
    np.testing.assert_array_equal(got, [[0, 6]])


def test_unused_operator_domains_are_dropped(tmp_path):
    proto = build_proto("(float[1,2] x) => (float[1,2] y) { y = Relu(x) }", opset=13)
    proto.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 2))
    assert read_onnx(save(proto, tmp_path)).opset_imports == {"": 21}


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("float16", np.float16), ("double", np.float64), ("bfloat16", ml_dtypes.bfloat16)],
)
def test_other_float_types_become_float32(tmp_path, kind, dtype):
    proto = build_proto(f"({kind}[1,2] x) => ({kind} y) {{ y = Add(x, w) }}")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray([1, 2], dtype), "w"))
    model = read_onnx(save(proto, tmp_path))
    assert model.graph.inputs[0].dtype == ir.DataType.FLOAT
    assert model.metadata_props["intaglio.source_dtype"] == np.dtype(dtype).name
    got = run_float(model, {"x": np.asarray([[1.5, 2.5]], np.float32)})["y"]
    np.testing.assert_array_equal(got, [[2.5, 4.5]])


def test_quantized_models_keep_their_integers(tmp_path):
    proto = build_proto(
        "(float[1,4] x) => (float y) {"
        " q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)"
        " w = DequantizeLinear(wq, s, z) y = MatMul(d, w) }",
        opset=13,
        s=0.5,
        z=np.int8(3),
        wq=np.arange(8, dtype=np.int8).reshape(4, 2),
    )
    model = read_onnx(save(proto, tmp_path))
    assert operators(model).count("DequantizeLinear") == 2
    np.testing.assert_array_equal(
        model.graph.initializers["wq"].const_value.numpy(), np.arange(8).reshape(4, 2)
    )


def test_same_file_reads_to_the_same_bytes(tmp_path):
    proto = build_proto(
        "(float[N,2] x) => (float y) { a = Relu(x) y = Add(a, w) }", opset=9, w=[1.0, 2.0]
    )
    path = save(proto, tmp_path)
    first, second = (ir.to_proto(read_onnx(path)).SerializeToString() for _ in range(2))
    assert first == second


def test_source_hash_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 1_000_000)
    assert file_sha256(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
    with pytest.raises(InputError, match="cannot read"):
        file_sha256(tmp_path / "missing")
