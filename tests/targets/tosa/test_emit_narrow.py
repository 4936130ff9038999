"""Results clipped to next to nothing: sums stay within what RESCALE takes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.property.lowering_checks import Options, canonical
from tests.targets.tosa.emission import assert_same_bits, emit_float

_KINDS = {
    "Conv": ([1, 64, 5, 5], (5, 64, 3, 3), [1, 5, 3, 3]),
    "MatMul": ([1, 576], (576, 5), [1, 5]),
    "ConvTranspose": ([1, 64, 3, 3], (64, 5, 2, 2), [1, 5, 4, 4]),
}


def emission_of(kind, high, profile="tflm"):
    shape, weights, result = _KINDS[kind]
    rng = np.random.default_rng(0)
    constants = {"w": 4 * rng.normal(size=weights), "low": np.array(0), "high": np.array(high)}
    graph = helper.make_graph(
        [
            helper.make_node(kind, ["x", "w"], ["c"]),
            helper.make_node("Clip", ["c", "low", "high"], ["y"]),
        ],
        "narrow",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    feeds = {"x": rng.normal(size=shape).astype(np.float32)}
    return emit_float(canonical(model), feeds, Options(activations="int8", profile=profile))


@pytest.mark.parametrize("profile", ["tflm", "tosa-single"])
@pytest.mark.parametrize("kind", _KINDS)
def test_sums_beyond_a_shift_are_bounded(environment, kind, profile):
    emission = emission_of(kind, 1e-4, profile)
    assert {"MAXIMUM", "MINIMUM"} <= set(emission.emitted.operators)
    assert assert_same_bits(emission, range(3)) > 0


@pytest.mark.parametrize("kind", _KINDS)
def test_ordinary_results_need_no_bounds(kind):
    assert not {"MAXIMUM", "MINIMUM"} & set(emission_of(kind, 6.0).emitted.operators)
