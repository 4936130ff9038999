from __future__ import annotations

import json
import math

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import intaglio
from intaglio.bundle_files import jsonable
from intaglio.errors import VerificationError
from intaglio.inspection import inspect_bundle
from intaglio.passes.macs import count_macs


def test_the_sample_model_has_what_its_card_says(digits):
    found = intaglio.inspect_model(digits)
    assert found.parameters == 9802
    assert found.parameter_bytes == 4 * 9802
    assert found.macs == 86848
    assert found.operators == {"Conv": 2, "Flatten": 1, "Gemm": 2, "MaxPool": 1, "Relu": 3}
    assert [layer.name for layer in found.layers][:2] == ["conv1", "relu1"]
    assert found.layers[0].output_shape == ("N", 8, 8, 8)
    assert found.layers[0].output_bytes == 4 * 8 * 8 * 8
    assert not found.quantized
    json.dumps(jsonable(found.to_dict()), allow_nan=False)


def test_shapes_are_bound_before_counting(digits):
    found = intaglio.inspect_model(digits, {"image": [2, 1, 8, 8]})
    assert found.inputs[0].shape == (2, 1, 8, 8)
    assert found.macs == 2 * 86848


def test_a_quantized_model_is_recognized(quantized_model):
    assert intaglio.inspect_model(quantized_model).quantized


@pytest.mark.parametrize(
    ("operator", "shapes", "out", "attributes", "macs"),
    [
        ("Conv", [(1, 8, 5, 5), (6, 4, 3, 3)], (1, 6, 5, 5), {"group": 2}, 150 * 36),
        ("Conv", [("N", 8, 5, 5), (6, 8, 1, 1)], ("N", 6, 5, 5), {}, 150 * 8),
        ("ConvTranspose", [(1, 4, 5, 5), (4, 2, 3, 3)], (1, 2, 11, 11), {}, 100 * 18),
        ("Gemm", [(7, 3), (5, 7)], (3, 5), {"transA": 1, "transB": 1}, 3 * 5 * 7),
        ("MatMul", [(2, 3, 7), (7, 5)], (2, 3, 5), {}, 30 * 7),
        ("Conv", [(1, 8, "H", 5), (6, 8, 1, 1)], (1, 6, "H", 5), {}, None),
        ("Relu", [(1, 8)], (1, 8), {}, 0),
    ],
)
def test_multiply_accumulates(operator, shapes, out, attributes, macs):
    values = [ir.Value(name=f"v{i}", shape=ir.Shape(s)) for i, s in enumerate(shapes)]
    node = ir.node(operator, values, attributes)
    node.outputs[0].shape = ir.Shape(out)
    assert count_macs(node) == macs


def test_transposed_convolutions_are_counted_as_they_are_computed(tmp_path):
    weight = np.ones((4, 2, 3, 3), np.float32)
    graph = helper.make_graph(
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])],
        "up",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 5, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 11, 11])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "up.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    assert intaglio.inspect_model(path).macs == math.prod((4, 5, 5)) * 2 * 9


def test_a_bundle_shows_its_artifacts_and_steps(digits_bundle):
    data = inspect_bundle(digits_bundle.folder)
    assert data["recipe"] == "int8"
    assert {row["target"] for row in data["artifacts"]} == {"onnx-qdq", "onnx-integer", "source"}
    figures = {(row["artifact"], row["name"]): row for row in data["measured"]}
    assert figures["onnx-integer/model.onnx", "weight_bytes"]["value"] > 9_802
    assert figures["onnx-qdq/model.onnx", "latency_ms"]["value"] > 0
    assert all(row["how"] for row in data["measured"])
    counts = {step["name"]: step["changes"] for step in data["steps"]}
    assert counts["quantize.insert_qdq"] > 0
    json.dumps(data, allow_nan=False)


def test_a_changed_bundle_is_not_shown_as_if_it_were_whole(digits, digits_data, tmp_path):
    bundle = intaglio.convert(digits, calibration=digits_data, out=tmp_path / "out")
    (bundle.folder / "report.json").write_text("{}", encoding="utf-8")
    with pytest.raises(VerificationError, match=r"report\.json has changed"):
        inspect_bundle(bundle.folder)
