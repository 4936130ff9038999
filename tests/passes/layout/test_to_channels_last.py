"""Integer graphs in channels last: the same bits, and no transposes that CNNs do not need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.errors import UnsupportedError
from intaglio.passes.annotations import get_layout
from intaglio.passes.layout.problem import is_inside
from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.targets.onnx.read import read_onnx
from tests.conftest import shared_folder
from tests.helpers import build_proto, operators
from tests.passes.layout.channels_last_checks import check_channels_last, integer_feeds
from tests.property.lowering_checks import Options, canonical, convert
from tests.property.random_graphs import graphs

SAMPLES = Path(__file__).resolve().parents[3] / "sample_models"
_COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


def integer_form(proto: onnx.ModelProto, activations: str = "int8", size: int = 20) -> ir.Model:
    """The integer form, calibrated on random numbers."""
    proto = canonical(proto)
    feeds = integer_feeds(ir.from_proto(proto), size=size)
    return convert(proto, feeds, Options(activations=activations)).integer


def example(text: str, activations: str = "int8", **weights) -> ir.Model:
    return integer_form(build_proto(text, **weights), activations)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def zoo_models() -> list[Path]:
    folder = shared_folder()
    return [] if folder is None else sorted((folder / "zoo").glob("*.onnx"))


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", ["digits", "fashion", "spoken_digits", "superres"])
def test_the_sample_models_keep_their_bits_without_a_transpose(name, activations):
    model = integer_form(onnx.load(SAMPLES / name / f"{name}.onnx"), activations)
    result = check_channels_last(model)
    assert result.facts["transposes_remaining"] == 0
    assert get_layout(model.graph.inputs[0]) == "NHWC"


@pytest.mark.parametrize("activations", ["int8", pytest.param("int16", marks=pytest.mark.long)])
@pytest.mark.parametrize("path", zoo_models(), ids=lambda path: path.stem)
def test_the_models_of_the_zoo_keep_their_bits(path, activations):
    model = integer_form(ir.to_proto(read_onnx(path)), activations)
    result = check_channels_last(model)
    # Pixel shuffles that exporters write as a Transpose of six dimensions remain.
    expected = 1 if "super_resolution" in path.stem else 0
    assert result.facts["transposes_remaining"] == expected


@settings(max_examples=60, **_COMMON)
@given(graph=graphs(), activations=st.sampled_from(["int8", "int16"]))
def test_random_graphs_keep_their_bits(graph, activations):
    check_random(graph, activations)


@pytest.mark.long
@settings(max_examples=1000, **_COMMON)
@given(graph=graphs(most=12), activations=st.sampled_from(["int8", "int16"]))
def test_many_larger_random_graphs_keep_their_bits(graph, activations):
    check_random(graph, activations)


def check_random(graph, activations):
    try:
        model = convert(graph.model, graph.feeds, Options(activations=activations)).integer
    except UnsupportedError:
        return
    check_channels_last(model)


CNN = """(float[1,3,8,8] x) => (float[1,10] y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w, b)
    c = Relu(a)
    d = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c)
    e = Conv <pads = [1, 1, 1, 1]> (d, v)
    f = Add(e, d)
    g = Flatten(f)
    y = Gemm <transB = 1> (g, m, n)
}"""


def test_a_flattening_cnn_has_no_transpose_left():
    weights = {
        "w": normal(5, 3, 3, 3),
        "b": normal(5),
        "v": normal(5, 5, 3, 3),
        "m": normal(10, 80),
        "n": normal(10),
    }
    model = example(CNN, **weights)
    result = check_channels_last(model)
    assert result.facts["transposes_remaining"] == 0
    assert result.facts["channels_last_operators"] == 3
    assert list(model.graph.inputs[0].shape) == [1, 8, 8, 3]
    bias = next(n for n in model.graph if n.op_type == "Add" and n.domain == "")
    assert list(bias.inputs[1].shape) == [5]


def test_a_squeezing_and_exciting_block_has_no_transpose_left():
    text = """(float[1,4,6,6] x) => (float[1,4,6,6] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w)
        p = GlobalAveragePool(a)
        c = Conv(p, v)
        s = Sigmoid(c)
        y = Mul(a, s)
    }"""
    model = example(text, w=normal(4, 4, 3, 3), v=normal(4, 4, 1, 1))
    assert check_channels_last(model).facts["transposes_remaining"] == 0
    assert get_layout(model.graph.outputs[0]) == "NHWC"


def test_an_upsampling_network_has_no_transpose_left():
    text = """(float[1,4,6,6] x) => (float[1,1,12,12] y) {
        a = Conv(x, w)
        b = Resize <mode = "linear"> (a, , scales)
        c = ConvTranspose <strides = [2, 2], kernel_shape = [2, 2]> (a, v)
        d = Concat <axis = 1> (b, c)
        e = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (d)
        y = Conv(e, u)
    }"""
    model = example(
        text,
        w=normal(4, 4, 1, 1),
        v=normal(4, 2, 2, 2),
        u=normal(1, 6, 1, 1),
        scales=np.float32([1, 1, 2, 2]),
    )
    assert check_channels_last(model).facts["transposes_remaining"] == 0


def test_an_operator_that_wants_the_other_order_gets_one_transpose_of_the_smaller_tensor():
    text = """(float[1,3,8,8] x) => (float[1,4,5] y) {
        a = Conv(x, w)
        b = Relu(a)
        p = MaxPool <kernel_shape = [4, 4], strides = [4, 4]> (b)
        f = Reshape(p, rows)
        y = MatMul(f, m)
    }"""
    model = example(text, w=normal(4, 3, 1, 1), m=normal(4, 5), rows=[1, 4, 4])
    result = check_channels_last(model)
    assert result.facts["transposes_remaining"] == 1
    assert result.facts["elements_moved"] == 16


def test_one_dimensional_convolutions_have_one_transpose_at_the_border_at_most():
    text = """(float[1,3,16] x) => (float[1,10] y) {
        a = Conv <pads = [1, 1]> (x, w)
        b = Relu(a)
        c = Conv <pads = [1, 1]> (b, v)
        g = Flatten(c)
        y = Gemm <transB = 1> (g, m)
    }"""
    model = example(text, w=normal(4, 3, 3), v=normal(4, 4, 3), m=normal(10, 64))
    result = check_channels_last(model)
    assert result.facts["transposes_remaining"] == 1
    assert result.facts["elements_moved"] == 48
    assert list(model.graph.inputs[0].shape) == [1, 3, 16]


def test_one_channel_costs_nothing():
    text = """(float[1,1,12] x) => (float[1,4,12] y) {
        y = Conv <pads = [1, 1]> (x, w)
    }"""
    model = example(text, w=normal(1, 1, 3))
    assert "Transpose" not in _own(model)
    check_channels_last(model)
    assert "Transpose" not in _own(model)


def _own(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph if not is_inside(node)]


def test_three_dimensional_convolutions_are_left_alone():
    text = "(float[1,2,4,4,4] x) => (float[1,2,2,2,2] y) { y = Conv(x, w) }"
    model = example(text, w=normal(2, 2, 3, 3, 3))
    result = check_channels_last(model)
    assert not result.modified
    assert "four" in result.skips[0].reason
    assert get_layout(model.graph.inputs[0]) == ""


def test_an_output_that_is_read_inside_keeps_its_name_and_meaning():
    text = """(float[1,3,8,8] x) => (float[1,4,8,8] a, float[1,4,8,8] y) {
        a = Conv(x, w)
        b = Relu(a)
        y = Conv(b, v)
    }"""
    model = example(text, w=normal(4, 3, 1, 1), v=normal(4, 4, 1, 1))
    result = check_channels_last(model)
    assert result.facts["transposes_remaining"] == 0
    assert [v.name for v in model.graph.outputs] == ["a", "y"]
    assert [list(v.shape) for v in model.graph.outputs] == [[1, 8, 8, 4]] * 2


def test_symbolic_sizes_pass():
    text = """(float[N,3,H,W] x) => (float[N,4,h,w] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w)
        b = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric"> (a, , scales)
        y = Conv(b, v)
    }"""
    weights = {"w": normal(4, 3, 3, 3), "v": normal(4, 4, 1, 1)}
    model = example(text, scales=np.float32([1, 1, 2, 2]), **weights)
    assert check_channels_last(model).facts["transposes_remaining"] == 0
    assert [str(d) for d in model.graph.inputs[0].shape] == ["N", "H", "W", "3"]


def test_results_keep_the_names_of_their_operators():
    weights = {"w": normal(5, 3, 3, 3), "b": normal(5), "v": normal(5, 5, 3, 3)}
    model = example(CNN, m=normal(10, 80), n=normal(10), **weights)
    names = {v.name for node in model.graph for v in node.outputs}
    ToChannelsLast()(model)
    kept = {v.name for node in model.graph for v in node.outputs}
    # A flattened tensor has its elements in another order now.
    assert names - kept == {"g"}
    assert "g_reordered" in kept


def test_float_models_are_left_alone():
    model = ir.from_proto(build_proto(CNN, m=normal(10, 80), n=normal(10), w=normal(5, 3, 3, 3)))
    result = ToChannelsLast()(model)
    assert not result.modified
    assert "integer form" in result.skips[0].reason
    assert operators(model)[0] == "Conv"
