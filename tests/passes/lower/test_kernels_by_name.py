"""Which function of the dialect an operator becomes: targets go by these names."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from intaglio.passes.lower.to_integer import ToInteger
from intaglio.passes.provenance import stamp_sources
from tests.passes.lower.corner_graphs import one, two
from tests.passes.lower.float_graphs import matmul, unary
from tests.property.lowering_checks import Options, convert

RNG = np.random.default_rng(0)
WIDE, NARROW = "int16", "int8"


def operators(proto: onnx.ModelProto, dtype: str, profile: str) -> list[str]:
    feeds = {
        i.name: RNG.normal(0, 2, [d.dim_value or 2 for d in i.type.tensor_type.shape.dim]).astype(
            np.float32
        )
        for i in proto.graph.input
    }
    options = Options(activations=dtype, profile=profile)
    return [n.op_type for n in convert(proto, feeds, options).integer.graph]


@pytest.mark.parametrize(
    ("build", "dtype", "profile", "expected"),
    [
        (lambda: unary("Sigmoid"), WIDE, "tflm", ["SigmoidInteger16"]),
        (lambda: unary("Tanh"), WIDE, "litert", ["TanhInteger16"]),
        (lambda: unary("Sigmoid"), WIDE, "tosa-single", ["TableInterpolated"]),
        (lambda: unary("Sigmoid"), NARROW, "tflm", ["Table"]),
        (lambda: unary("Abs"), WIDE, "tflm", ["AbsDouble"]),
        (lambda: unary("LeakyRelu", alpha=0.2), WIDE, "litert", ["PReluDouble"]),
        (lambda: unary("Softmax", axis=-1), WIDE, "tflm", ["SoftmaxInteger16"]),
        (lambda: unary("Softmax", axis=-1), NARROW, "tflm", ["SoftmaxInteger"]),
        (lambda: two("Max"), NARROW, "tflm", ["MaxInteger"]),
        (lambda: two("Min"), WIDE, "litert", ["MinInteger"]),
        (lambda: one("ReduceMax", [2, 3], np.array([1])), WIDE, "tflm", ["ReduceMaxInteger"]),
        (lambda: one("ReduceSum", [2, 3], np.array([1])), NARROW, "tflm", ["SumDouble"]),
        (lambda: one("GlobalMaxPool", [1, 2, 3, 4]), NARROW, "tflm", ["MaxPool"]),
        (lambda: one("GlobalMaxPool", [1, 2, 3, 4]), WIDE, "tflm", ["MaxPoolInteger16"]),
        (lambda: matmul(False), WIDE, "tflm", ["MatMulInteger16By16", "RescaleWide"]),
        (lambda: matmul(True), NARROW, "litert", ["MatMulInteger", "RescaleReal"]),
        (lambda: matmul(True), NARROW, "tflm", ["MatMulInteger", "RescaleDouble"]),
        (lambda: matmul(False), NARROW, "litert", ["MatMulInteger", "RescaleDouble"]),
    ],
)
def test_the_operator_becomes(build, dtype, profile, expected):
    assert operators(build(), dtype, profile) == expected


def _file(operator: str, quantized: bool) -> ir.Model:
    """x op 1.5, the constant in integers or in float."""
    pair = ["s", "z"]
    constant = (
        [helper.make_node("DequantizeLinear", ["c_codes", *pair], ["c"], name="dc")]
        if quantized
        else []
    )
    nodes = [
        helper.make_node("DequantizeLinear", ["xq", *pair], ["x"], name="dx"),
        *constant,
        helper.make_node(operator, ["x", "c"], ["y"], name="n"),
        helper.make_node("QuantizeLinear", ["y", *pair], ["yq"], name="qy"),
        helper.make_node("DequantizeLinear", ["yq", *pair], ["yf"], name="dy"),
    ]
    info = helper.make_tensor_value_info
    numbers = {"s": np.float32(0.5), "z": np.int8(0)}
    numbers |= {"c_codes": np.int8(3)} if quantized else {"c": np.float32(1.5)}
    graph = helper.make_graph(
        nodes,
        "g",
        [info("xq", onnx.TensorProto.INT8, [4])],
        [info("yf", onnx.TensorProto.FLOAT, [4])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in numbers.items()],
        value_info=[info(n, onnx.TensorProto.FLOAT, [4]) for n in "xy"],
    )
    model = ir.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    )
    stamp_sources(model)
    return model


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Max"])
def test_a_constant_in_integers_means_the_kernel_of_two_tensors(operator):
    kernel = "MaxInteger" if operator == "Max" else f"{operator}Double"
    lowered = ToInteger()(_file(operator, quantized=True)).model
    assert [n.op_type for n in lowered.graph] == [kernel]
    lowered = ToInteger()(_file(operator, quantized=False)).model
    assert [n.op_type for n in lowered.graph] == ["Table"]
