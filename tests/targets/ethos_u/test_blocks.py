"""Operators that the NPU lacks are written as others that it has, with the same bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from intaglio.targets.ethos_u.compiler import compile_tflite
from intaglio.targets.ethos_u.options import EthosUConfig
from intaglio.targets.tflite.emit import emit
from tests.property.lowering_checks import Options
from tests.targets.tflite.emission import Emission, assert_same_bits, emit_float

SHAPE = [1, 3, 6, 4]


def enlarger(*middle: onnx.NodeProto) -> onnx.ModelProto:
    """A convolution to 12 channels, and what is made of them."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(12, 3, 3, 3)).astype(np.float32)
    bias = rng.normal(size=12).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["h"], pads=[1, 1, 1, 1]),
        *middle,
    ]
    graph = helper.make_graph(
        nodes,
        "enlarger",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def blocks(mode):
    return [helper.make_node("DepthToSpace", ["h"], ["y"], blocksize=2, mode=mode)]


CASES = {
    "CRD": blocks("CRD"),
    "DCR": blocks("DCR"),
    "CRD behind Relu and Tanh": [
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Tanh", ["r"], ["t"]),
        helper.make_node("DepthToSpace", ["t"], ["y"], blocksize=2, mode="CRD"),
    ],
    "SpaceToDepth": [helper.make_node("SpaceToDepth", ["h"], ["y"], blocksize=2)],
}


@pytest.fixture(params=sorted(CASES))
def emission(request):
    """The file for the NPU, and the graph that it was made from."""
    feeds = {"x": np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)}
    plain = emit_float(enlarger(*CASES[request.param]), feeds, Options())
    emitted = emit(plain.model, plain.profile, blocks_by_transpose=True)
    assert emitted.refusals == ()
    assert {"DEPTH_TO_SPACE", "SPACE_TO_DEPTH"} & set(plain.emitted.operators)
    return Emission(plain.model, emitted, plain.profile)


def test_blocks_moved_by_transpose_compute_the_same_bits(emission):
    pytest.importorskip("tflite_micro")
    assert "TRANSPOSE" in emission.emitted.operators
    assert not {"DEPTH_TO_SPACE", "SPACE_TO_DEPTH"} & set(emission.emitted.operators)
    assert_same_bits(emission, range(5))


def test_nothing_of_it_is_left_to_the_cpu(vela, emission):
    made = compile_tflite(emission.emitted.data, EthosUConfig())
    assert [each.on for each in made.report.operators] == ["NPU"] * len(made.report.operators)
