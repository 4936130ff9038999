"""A layer seen as a matrix computes what onnxruntime computes."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.fitting.layers import choose_positions, find_layers, take_columns
from intaglio.transforms.scales import weight_quantization
from tests.helpers import build, run_float

LAYERS = [
    ("Conv<strides=[2,1], pads=[1,0,2,1], dilations=[1,2]>", (6, 4, 3, 2), (2, 4, 9, 8)),
    ("Conv<group=3, pads=[1,1,1,1]>", (6, 2, 3, 3), (2, 6, 9, 8)),
    ("Conv<group=6>", (6, 1, 3, 3), (2, 6, 9, 8)),
    ("Conv<strides=[2]>", (6, 4, 3), (2, 4, 9)),
    ("Conv", (3, 2, 2, 2, 2), (1, 2, 4, 5, 3)),
    (
        "ConvTranspose<strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]>",
        (4, 3, 3, 3),
        (2, 4, 5, 6),
    ),
    (
        "ConvTranspose<strides=[3,2], group=2, dilations=[1,2], pads=[0,2,1,0]>",
        (4, 3, 3, 2),
        (2, 4, 5, 6),
    ),
    ("ConvTranspose<strides=[2,2], pads=[2,2,2,2]>", (4, 3, 2, 2), (2, 4, 5, 6)),
    ("Gemm<transB=1>", (5, 7), (4, 7)),
    ("MatMul", (7, 5), (4, 3, 7)),
]


def layer_of(operator, shape, generator):
    name, _, attributes = operator.partition("<")
    attributes = f"<{attributes}" if attributes else ""
    weight = generator.standard_normal(shape).astype(np.float32)
    rank = {"Gemm": 2, "MatMul": 3}.get(name, len(shape))
    dims = ",".join("abcdef"[:rank])
    model = build(f"(float[{dims}] x) => (float y) {{ y = {name}{attributes}(x, w) }}", w=weight)
    (layer,), left_out = find_layers(model)
    assert not left_out
    return model, layer, weight


@pytest.mark.parametrize(("operator", "shape", "input_shape"), LAYERS)
def test_matrix_times_columns_is_the_output(operator, shape, input_shape):
    generator = np.random.default_rng(0)
    model, layer, weight = layer_of(operator, shape, generator)
    x = generator.standard_normal(input_shape).astype(np.float32)
    y = run_float(model, {"x": x})["y"]
    positions = choose_positions(layer, x, 1 << 30, generator)
    columns = take_columns(layer, x, positions)
    assert columns.shape[2] == layer.columns
    got = np.einsum("gok,grk->rgo", layer.matrix(), columns).reshape(columns.shape[1], -1)
    channels_last = np.moveaxis(y, 1, -1) if layer.kernel else y
    np.testing.assert_allclose(got, channels_last.reshape(got.shape), atol=1e-4)
    np.testing.assert_array_equal(layer.weights(layer.matrix()), weight)


@pytest.mark.parametrize(("operator", "shape", "input_shape"), LAYERS)
def test_scales_stand_beside_their_rows(operator, shape, input_shape):
    _, layer, weight = layer_of(operator, shape, np.random.default_rng(0))
    axis = {"ConvTranspose": 1, "MatMul": 1}.get(operator.partition("<")[0], 0)
    scheme = weight_quantization(weight, axis)
    codes = layer.matrix() / layer.scales(scheme)[..., None]
    np.testing.assert_allclose(
        layer.weights(np.rint(codes)), scheme.quantize(weight).astype(np.float32)
    )


def test_a_part_of_the_positions_is_drawn_without_repetition():
    generator = np.random.default_rng(0)
    _, layer, _ = layer_of("Conv", (2, 3, 3, 3), generator)
    x = generator.standard_normal((2, 3, 12, 12)).astype(np.float32)
    positions = choose_positions(layer, x, 37, generator)
    assert len(set(zip(*(i.tolist() for i in positions.index), strict=True))) == 37
    assert take_columns(layer, x, positions).shape == (1, 37, 27)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(float[2,4] x, float[3,4] w) => (float y) { y = Gemm<transB=1>(x, w) }", "computed"),
        ("(float[2,4] x) => (float y) { a = MatMul(x, v) y = MatMul(a, v) }", "shared"),
        ("(float[2,4] x) => (float y) { y = Gemm(x, v) }", "normal form"),
    ],
)
def test_other_nodes_are_left_out_with_a_reason(text, reason):
    constants = {"v": np.ones((4, 4))} if "v)" in text else {}
    layers, left_out = find_layers(build(text, **constants))
    assert not layers
    assert reason in left_out[0][1]
