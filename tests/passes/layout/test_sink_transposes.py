"""Transposes of float and quantized graphs go where they cost least."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from intaglio.passes.annotations import get_layout, set_layout
from intaglio.passes.canonicalize.fuse_pad import FusePad
from intaglio.passes.canonicalize.sink_transposes import SinkTransposes
from intaglio.passes.provenance import sources
from intaglio.registry import load_pass
from intaglio.targets.tflite.read import read_tflite
from tests.conftest import shared_folder
from tests.helpers import build, operators, run_float

SAMPLES = Path(__file__).resolve().parents[3] / "sample_models"


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def sink(model: ir.Model, *, exact: bool = False):
    rng = np.random.default_rng(1)
    feeds = {}
    for value in model.graph.inputs:
        shape = [d if isinstance(d, int) else 2 for d in value.shape]
        dtype = value.dtype.numpy()
        feeds[value.name] = (rng.standard_normal(shape) * 20).astype(dtype)
    border = [(v.name, list(v.shape), get_layout(v)) for v in _border(model)]
    want = run_float(model, feeds)
    result = SinkTransposes()(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    got = run_float(model, feeds)
    for name, array in want.items():
        if exact:
            np.testing.assert_array_equal(got[name], array)
        else:
            scale = float(np.abs(array).max(initial=1e-6))
            np.testing.assert_allclose(got[name], array, atol=1e-5 * scale)
    assert [(v.name, list(v.shape), get_layout(v)) for v in _border(model)] == border
    assert not SinkTransposes()(model).modified
    return result


def _border(model: ir.Model) -> list[ir.Value]:
    return [*model.graph.inputs, *model.graph.outputs]


NHWC_CNN = """(float[N,12,12,3] x) => (float[N,10] y) {
    a1 = Pad(x, pads)
    a2 = Transpose <perm = [0, 3, 1, 2]> (a1)
    a3 = Conv(a2, w, b)
    a4 = Transpose <perm = [0, 2, 3, 1]> (a3)
    a5 = Clip(a4, zero, six)
    b1 = Transpose <perm = [0, 3, 1, 2]> (a5)
    b2 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b1)
    b3 = Transpose <perm = [0, 2, 3, 1]> (b2)
    b4 = Mul(b3, gain)
    c1 = Transpose <perm = [0, 3, 1, 2]> (b4)
    c2 = Conv <pads = [1, 1, 1, 1]> (c1, v)
    c3 = Transpose <perm = [0, 2, 3, 1]> (c2)
    c4 = Add(c3, b3)
    d1 = Concat <axis = 3> (c4, b4)
    d2 = Reshape(d1, flat)
    y = Gemm <transB = 1> (d2, m)
}"""


def nhwc_cnn() -> ir.Model:
    return build(
        NHWC_CNN,
        pads=[0, 1, 1, 0, 0, 1, 1, 0],
        w=normal(4, 3, 3, 3),
        b=normal(4),
        v=normal(4, 4, 3, 3),
        zero=np.float32(0),
        six=np.float32(6),
        gain=normal(4),
        flat=[-1, 288],
        m=normal(10, 288),
    )


def test_a_channels_last_cnn_keeps_one_transpose_at_its_input():
    model = nhwc_cnn()
    result = sink(model)
    assert operators(model).count("Transpose") == 1
    assert model.graph[0].op_type == "Transpose"
    assert result.facts == {
        "transposes_before": 6,
        "transposes_inserted": 1,
        "transposes_cancelled": 6,
        "transposes_remaining": 1,
        "elements_moved_before": 16 * (3 * 14 * 14 + 2 * 4 * 144 + 3 * 4 * 36),
        "elements_moved": 16 * 3 * 144,
    }


def test_padding_comes_to_stand_where_it_fuses():
    model = nhwc_cnn()
    SinkTransposes()(model)
    assert FusePad()(model).modified
    assert "Pad" not in operators(model)


def test_padding_of_one_channel_comes_to_stand_where_it_fuses():
    text = """(float[1,8,8,1] x) => (float[1,4,8,8] y) {
        a = Pad(x, pads)
        b = Transpose <perm = [0, 3, 1, 2]> (a)
        y = Conv(b, w)
    }"""
    model = build(text, pads=[0, 1, 1, 0, 0, 1, 1, 0], w=normal(4, 1, 3, 3))
    sink(model)
    assert operators(model) == ["Reshape", "Pad", "Conv"]
    FusePad()(model)
    assert operators(model) == ["Reshape", "Conv"]


def test_a_transpose_of_ones_is_a_reshape():
    text = """(float[N,1,8,1] x) => (float[N,8,1,1] y) {
        y = Transpose <perm = [0, 2, 3, 1]> (x)
    }"""
    model = build(text)
    result = sink(model, exact=True)
    assert operators(model) == ["Reshape"]
    assert result.facts["elements_moved_before"] == 0


def test_open_sizes_that_a_reshape_cannot_say_keep_the_transpose():
    text = """(float[N,H,W,1] x) => (float[N,1,H,W] y) {
        y = Transpose <perm = [0, 3, 1, 2]> (x)
    }"""
    model = build(text)
    assert not sink(model, exact=True).modified


def test_the_transpose_goes_to_the_smallest_tensor():
    text = """(float[1,8,8,4] x) => (float[1,2,2,2] y) {
        a = Relu(x)
        b = Slice(a, s, e)
        c = Pad(b, pads)
        d = Transpose <perm = [0, 3, 1, 2]> (c)
        f = Relu(d)
        y = Conv(f, w)
    }"""
    model = build(
        text, s=[0, 0, 0], e=[1, 2, 2], pads=[0, 1, 1, 0, 0, 1, 1, 0], w=normal(2, 4, 3, 3)
    )
    result = sink(model)
    assert result.facts["elements_moved"] == 16
    assert operators(model) == ["Relu", "Slice", "Transpose", "Pad", "Relu", "Conv"]


def test_readers_that_need_the_same_order_share_one_transpose():
    text = """(float[1,6,6,4] x) => (float[1,4,6,6] y, float[1,4,6,6] z) {
        a = Transpose <perm = [0, 3, 1, 2]> (x)
        b = Transpose <perm = [0, 3, 1, 2]> (x)
        y = Conv(a, w)
        z = Conv(b, w)
    }"""
    model = build(text, w=normal(4, 4, 1, 1))
    result = sink(model)
    assert result.facts["transposes_remaining"] == 1


def test_an_order_that_both_sides_dislike_equally_stays():
    text = """(float[1,6,6,4] x) => (float[1,4,6,6] y) {
        a = Relu(x)
        b = Transpose <perm = [0, 3, 1, 2]> (a)
        c = Neg(b)
        y = Conv(c, w)
    }"""
    model = build(text, w=normal(4, 4, 1, 1))
    assert not sink(model).modified


def test_transposed_outputs_keep_name_shape_and_note():
    text = """(float[1,6,6,4] x) => (float[1,6,6,4] y, float[1,4,6,6] z) {
        a = Transpose <perm = [0, 3, 1, 2]> (x)
        z = Conv(a, w)
        b = Transpose <perm = [0, 2, 3, 1]> (z)
        y = Relu(b)
    }"""
    model = build(text, w=normal(4, 4, 1, 1))
    set_layout(model.graph.outputs[0], "NHWC")
    sink(model)


def test_removed_transposes_are_remembered_as_sources():
    model = nhwc_cnn()
    names = {name for node in model.graph for name in sources(node)}
    result = SinkTransposes()(model)
    left = {name for node in model.graph for name in sources(node)}
    assert left <= names
    assert {change.kind for change in result.changes} >= {"reorder", "remove_view"}
    removed = [change.node for change in result.changes if change.kind == "remove_view"]
    assert set(removed) <= names


def test_values_read_by_a_branch_keep_their_order():
    text = """<ir_version: 10, opset_import: ["": 21]>
    g (float[2,3,4] x, bool p) => (float[2,3,4] y) {
        a = Transpose <perm = [1, 0, 2]> (x)
        b = Relu(a)
        c = If (p) <
            then_branch = one () => (float[3,2,4] t) { t = Neg(b) },
            else_branch = two () => (float[3,2,4] u) { u = Abs(b) }
        >
        y = Transpose <perm = [1, 0, 2]> (c)
    }"""
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))
    feeds = {"x": normal(2, 3, 4), "p": np.array(True)}
    want = run_float(model, feeds)["y"]
    SinkTransposes()(model)
    np.testing.assert_array_equal(run_float(model, feeds)["y"], want)


@pytest.mark.parametrize("name", ["digits", "fashion", "spoken_digits", "superres"])
def test_models_without_transposes_are_not_touched(name):
    model = ir.load(SAMPLES / name / f"{name}.onnx")
    assert "Transpose" not in operators(model)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert not SinkTransposes()(model).modified
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def tflite_models() -> list[Path]:
    folder = shared_folder()
    found = [] if folder is None else sorted((folder / "zoo").glob("*.tflite"))
    return [path for path in found if "audio_preprocessor" not in path.stem]


@pytest.mark.parametrize("path", tflite_models(), ids=lambda path: path.stem)
def test_tflite_models_keep_one_transpose_at_most_at_their_input(path):
    model = read_tflite(path)
    for step in ("fold_constants", "remove_identities", "normalize_operators"):
        model = load_pass(f"canonicalize.{step}")()(model).model
    sink(model)
    left = [node for node in model.graph if node.op_type == "Transpose"]
    if "ultraface" in path.stem:
        # Its eight heads give their results pixel by pixel.
        assert len(left) == 9
        return
    assert len(left) <= 1
    if left:
        assert left[0].inputs[0].shape[3] == 3
