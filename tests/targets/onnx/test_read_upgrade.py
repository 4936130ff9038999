"""Old and new operator sets: the upgraded model computes what the original computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from intaglio.errors import InputError, UnsupportedError
from intaglio.targets.onnx.read import read_onnx
from tests.helpers import assert_same_outputs, build_proto, operators, random_inputs, run_float

RNG = np.random.default_rng(5)

OLD = {
    "batch_norm_9": (
        9,
        "(float[2,3,4,4] x) => (float y) { y = BatchNormalization(x, s, b, m, v) }",
        {"s": RNG.random(3), "b": RNG.random(3), "m": RNG.random(3), "v": RNG.random(3) + 0.5},
    ),
    "clip_6": (9, "(float[1,4] x) => (float y) { y = Clip<min = 0.0, max = 6.0>(x) }", {}),
    "dropout_7": (9, "(float[1,4] x) => (float y) { y = Dropout<ratio = 0.5>(x) }", {}),
    "pad_2": (
        9,
        "(float[1,2,4,4] x) => (float y) "
        '{ y = Pad<mode = "constant", pads = [0,0,1,1,0,0,1,1]>(x) }',
        {},
    ),
    "reduce_mean_1": (
        11,
        "(float[1,2,4,4] x) => (float y) { y = ReduceMean<axes = [2,3], keepdims = 1>(x) }",
        {},
    ),
    "slice_1": (
        9,
        "(float[1,4,5] x) => (float y) "
        "{ y = Slice<axes = [1,2], starts = [1,0], ends = [3,4]>(x) }",
        {},
    ),
    "softmax_last": (9, "(float[2,3,4] x) => (float y) { y = Softmax<axis = 2>(x) }", {}),
    "softmax_middle": (9, "(float[2,3,4] x) => (float y) { y = Softmax<axis = 1>(x) }", {}),
    "softmax_default": (8, "(float[2,3] x) => (float y) { y = Softmax(x) }", {}),
    "split_2": (
        11,
        "(float[1,4] x) => (float y, float z) { y, z = Split<axis = 1, split = [1,3]>(x) }",
        {},
    ),
    "squeeze_1": (9, "(float[1,4,1] x) => (float y) { y = Squeeze<axes = [0,2]>(x) }", {}),
    "upsample_9": (
        9,
        '(float[1,2,3,3] x) => (float y) { y = Upsample<mode = "nearest">(x, scales) }',
        {"scales": [1.0, 1.0, 2.0, 2.0]},
    ),
    "resize_10": (
        10,
        '(float[1,2,3,3] x) => (float y) { y = Resize<mode = "nearest">(x, scales) }',
        {"scales": [1.0, 1.0, 2.0, 2.0]},
    ),
    "hard_swish_14": (14, "(float[1,4] x) => (float y) { y = HardSwish(x) }", {}),
}


@pytest.mark.parametrize("case", OLD)
def test_old_operators_compute_the_same(tmp_path, case):
    opset, text, weights = OLD[case]
    proto = build_proto(text, opset, 6, **weights)
    path = tmp_path / "old.onnx"
    onnx.save(proto, path)
    model = read_onnx(path)
    inputs = random_inputs(model)
    assert_same_outputs(run_float(model, inputs), run_float(path, inputs), 1e-6)


def test_softmax_on_the_last_axis_stays_one_node(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(build_proto(OLD["softmax_last"][1], 9, 4), path)
    assert operators(read_onnx(path)) == ["Softmax"]


@pytest.mark.parametrize("opset", [22, 23, 24])
def test_newer_operator_sets_are_taken_back(tmp_path, opset):
    text = (
        "(float[1,3,6,6] x) => (float y) "
        "{ a = Conv(x, w) b = Relu(a) c = GlobalAveragePool(b) y = Flatten(c) }"
    )
    w = np.random.default_rng(0).standard_normal((4, 3, 3, 3))
    path = tmp_path / "new.onnx"
    onnx.save(build_proto(text, opset, w=w), path)
    model = read_onnx(path)
    assert model.opset_imports == {"": 21}
    inputs = random_inputs(model)
    want = run_float(build_proto(text, 21, w=w), inputs)
    assert_same_outputs(run_float(model, inputs), want, 1e-6)


def test_operators_newer_than_ours_are_refused_by_name(tmp_path):
    path = tmp_path / "new.onnx"
    onnx.save(build_proto("(float[1,3] x) => (float y) { y = Swish(x) }", 24), path)
    with pytest.raises(UnsupportedError) as caught:
        read_onnx(path)
    assert "opset 21" in str(caught.value)


def test_unknown_future_operator_set_is_refused(tmp_path):
    path = tmp_path / "future.onnx"
    onnx.save(build_proto("(float[1,3] x) => (float y) { y = Relu(x) }", 999), path)
    with pytest.raises(InputError, match="opset 999") as caught:
        read_onnx(path)
    assert caught.value.remedy


@pytest.mark.parametrize("axis", [1, 2])
def test_broadcasting_by_axis_lines_up_with_that_axis(tmp_path, axis):
    proto = build_proto(
        "(float[2,3,4,5] x) => (float[2,3,4,5] y)"
        f" {{ y = Add<broadcast = 1, axis = {axis}>(x, b) }}",
        opset=6,
        ir_version=3,
        b=np.arange((3, 4)[axis - 1], dtype=np.float32),
    )
    path = tmp_path / "old.onnx"
    onnx.save(proto, path)
    model = read_onnx(path)
    x = random_inputs(model)["x"]
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    want = x + np.arange((3, 4)[axis - 1]).reshape(shape)
    np.testing.assert_allclose(run_float(model, {"x": x})["y"], want, rtol=1e-6)


def test_broadcasting_a_computed_tensor_by_axis_is_refused(tmp_path):
    proto = build_proto(
        "(float[2,3,4,5] x, float[3] b) => (float[2,3,4,5] y)"
        " { y = Add<broadcast = 1, axis = 1>(x, b) }",
        opset=6,
        ir_version=3,
    )
    path = tmp_path / "old.onnx"
    onnx.save(proto, path)
    with pytest.raises(UnsupportedError, match="middle axis"):
        read_onnx(path)
