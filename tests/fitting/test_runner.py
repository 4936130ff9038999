from __future__ import annotations

import numpy as np
import pytest

from intaglio.errors import UnsupportedError
from intaglio.fitting.data import open_data
from intaglio.fitting.runner import Runner, batch_size, float_values
from intaglio.targets.base import spec_of
from intaglio.transforms.scales import TensorQuantization
from tests.helpers import build, run_float

TEXT = """(float[N,3] x) => (float[N,2] y) {
    h = Gemm<transB=1>(x, w) r = Relu(h) y = Gemm<transB=1>(r, v) }"""


def small(seed=0):
    generator = np.random.default_rng(seed)
    return build(TEXT, w=generator.standard_normal((4, 3)), v=generator.standard_normal((2, 4)))


X = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)


def test_inner_values_inputs_and_outputs_are_returned():
    model = small()
    found = Runner(model, ["x", "h", "r"]).run({"x": X})
    assert set(found) == {"x", "h", "r", "y"}
    np.testing.assert_array_equal(found["r"], np.maximum(found["h"], 0))
    np.testing.assert_array_equal(found["y"], run_float(model, {"x": X})["y"])


def test_only_what_is_asked_for_is_computed():
    model = small()
    assert set(Runner(model, ["h"], outputs=False).run({"x": X})) == {"h"}
    assert set(Runner(model, ["y"], outputs=False).run({"x": X})) == {"y"}
    assert set(Runner(model, ["x"], outputs=False).run({"x": X})) == {"x"}


def test_quantized_values_are_seen_by_their_readers():
    model = small()
    w, v = (model.graph.initializers[name].const_value.numpy() for name in "wv")
    spec = TensorQuantization("int8", (0.05,), (3,))
    wide = TensorQuantization("int16", (0.001,), (0,))
    found = Runner(model, ["r"], quantized={"x": spec, "r": wide, "y": spec}).run({"x": X})
    x = spec.dequantize(spec.quantize(X))
    r = wide.dequantize(wide.quantize(np.maximum(x @ w.T, 0)))
    np.testing.assert_allclose(found["r"], r, atol=1e-6)
    np.testing.assert_allclose(found["y"], spec.dequantize(spec.quantize(r @ v.T)), atol=1e-6)


def test_weights_can_be_replaced_and_the_model_stays_as_it_was():
    model = small()
    zero = np.zeros((2, 4), np.float32)
    assert not Runner(model, weights={"v": zero}).run({"x": X})["y"].any()
    assert Runner(model).run({"x": X})["y"].any()


def test_streaming_reports_progress():
    model = small()
    data = open_data({"x": X}, [spec_of(v) for v in model.graph.inputs])
    seen = []
    stream = Runner(model).stream(data, batch=2, progress=lambda *done: seen.append(done))
    assert [len(found["y"]) for found in stream] == [2, 2, 1]
    assert seen == [(2, 5), (4, 5), (5, 5)]
    limited = Runner(model).stream(data, batch=2, limit=3)
    assert [len(found["y"]) for found in limited] == [2, 1]


def test_batches_shrink_with_the_activations():
    assert batch_size(small()) == 16
    large = build(
        "(float[N,1,2048,2048] x) => (float[N,1,2048,2048] y) { h = Relu(x) y = Relu(h) }"
    )
    assert batch_size(large) == 2


def test_float_values_are_inputs_and_node_outputs():
    model = build("(float[2,3] x) => (float y) { s = Shape(x) t = Neg(x) y = Reshape(t, s) }")
    assert [value.name for value in float_values(model)] == ["x", "t", "y"]


def test_a_model_that_cannot_run_is_refused():
    model = small()
    model.graph.node(0).op_type = "NoSuchOperator"
    with pytest.raises(UnsupportedError, match="onnxruntime"):
        Runner(model)
