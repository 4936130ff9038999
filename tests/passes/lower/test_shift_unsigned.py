from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.passes.annotations import get_quantization
from intaglio.passes.lower.shift_unsigned import ShiftUnsigned
from tests.passes.lower.float_graphs import GRAPHS
from tests.passes.lower.test_to_integer import integer_outputs, lower, quantize, run


def test_uint8_files_compute_the_same_real_values_as_int8():
    model, feeds = quantize(GRAPHS["conv_relu"][0](), activations="uint8")
    unsigned = run(model, feeds)["y"]
    shifted = model.clone()
    assert ShiftUnsigned()(shifted).modified
    assert not ShiftUnsigned()(shifted).modified
    np.testing.assert_array_equal(run(shifted, feeds)["y"], unsigned)
    integer = lower(shifted)
    meaning = get_quantization(integer.graph.outputs[0])
    assert meaning.dtype == "int8"
    codes = integer_outputs(integer, feeds)["y"].astype(int)
    assert np.abs(codes - meaning.quantize(unsigned)).max() <= 1


def test_a_name_that_is_taken_is_not_taken_for_the_result():
    model, feeds = quantize(GRAPHS["conv_relu"][0](), activations="uint8")
    graph = model.graph
    for name in ("x_zero_point", "y_zero_point"):
        other = ir.tensor(np.array(7, np.int8), name=f"{name}_int8")
        graph.register_initializer(
            ir.Value(
                name=other.name,
                shape=other.shape,
                type=ir.TensorType(other.dtype),
                const_value=other,
            )
        )
    before = run(model, feeds)["y"]
    ShiftUnsigned()(model)
    np.testing.assert_array_equal(run(model, feeds)["y"], before)


def test_missing_zero_point_means_zero_and_becomes_minus_128():
    proto = GRAPHS["relu"][0]()
    model, feeds = quantize(proto, activations="uint8")
    for node in model.graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.resize_inputs(2)
    # Without a zero point the output type of QuantizeLinear is uint8.
    feeds = {name: np.abs(value) for name, value in feeds.items()}
    before = run(model, feeds)["y"]
    ShiftUnsigned()(model)
    assert {n.inputs[2].dtype for n in model.graph if n.op_type == "QuantizeLinear"} == {
        ir.DataType.INT8
    }
    np.testing.assert_array_equal(run(model, feeds)["y"], before)
