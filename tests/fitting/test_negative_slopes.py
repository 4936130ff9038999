"""The range before a PRelu is chosen for the error behind it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from intaglio.fitting.data import open_data
from intaglio.fitting.observe_ranges import ObserveConfig, ObserveRanges, negative_slope
from intaglio.passes.annotations import get_range
from intaglio.targets.base import spec_of
from intaglio.transforms.scales import activation_quantization

SLOPES = np.array([0.02, 0.1, 0.05, 0.01], np.float32).reshape(4, 1, 1)


def model(operator: str) -> ir.Model:
    weights = np.random.default_rng(0).standard_normal((4, 2, 1, 1)).astype(np.float32)
    inputs = ["c", "slope"] if operator == "PRelu" else ["c"]
    attributes = {"alpha": 0.03} if operator == "LeakyRelu" else {}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
            helper.make_node(operator, inputs, ["y"], name="act", **attributes),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, 8, 8])],
        [numpy_helper.from_array(weights, "w")]
        + ([numpy_helper.from_array(SLOPES, "slope")] if operator == "PRelu" else []),
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    found = ir.from_proto(proto)
    found.graph.node("conv").outputs[0].dtype = ir.DataType.FLOAT
    return found


def value(of: ir.Model, name: str) -> ir.Value:
    return next(v for node in of.graph for v in node.outputs if v.name == name)


@pytest.mark.parametrize(
    ("operator", "expected"), [("PRelu", SLOPES), ("LeakyRelu", 0.03), ("Sigmoid", None)]
)
def test_the_slope_of_the_only_reader_is_found(operator, expected):
    found = negative_slope(value(model(operator), "c"))
    if expected is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, expected)


def test_the_error_behind_a_prelu_is_smaller_than_with_the_extremes():
    samples = (5 * np.random.default_rng(1).standard_normal((32, 2, 8, 8))).astype(np.float32)
    errors = {}
    for observer in ("minmax", "mse"):
        float_model = model("PRelu")
        data = open_data({"x": samples}, [spec_of(v) for v in float_model.graph.inputs])
        ObserveRanges(ObserveConfig(observer=observer), data)(float_model)
        low, high = get_range(value(float_model, "c"))
        quantization = activation_quantization(low, high, "int8")
        w = np.random.default_rng(0).standard_normal((4, 2, 1, 1)).astype(np.float32)[:, :, 0, 0]
        before = np.einsum("nchw,oc->nohw", samples, w)
        after = quantization.dequantize(quantization.quantize(before))
        errors[observer] = np.mean((prelu(after) - prelu(before)) ** 2)
    assert errors["mse"] < 0.6 * errors["minmax"]


def prelu(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, SLOPES * x, x)
