"""Moves as few copies, and values that are a tensor already."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.passes.lower.to_integer import ToInteger
from intaglio.targets.c import network as layers
from tests.helpers import build
from tests.passes.lower.corner_graphs import ints, normal, one
from tests.passes.lower.float_graphs import Graph
from tests.targets.c.grouping.agreement import (
    copies,
    group,
)
from tests.targets.c.grouping.small_graphs import chain, grouped, kinds
from tests.targets.tflite.test_emit_operators import GRAPHS


def test_a_reshape_makes_no_layer():
    _, network = grouped(
        chain(
            [1, 3, 4, 4],
            ("Conv", [normal(2, 3, 1, 1)], {}),
            ("Flatten", [], {}),
            ("MatMul", [normal(32, 3)], {}),
        )
    )
    assert kinds(network) == ["Convolution", "Convolution"]
    assert network.layers[0].output in network.aliases.values()


def test_a_transpose_that_only_moves_ones_makes_no_layer():
    _, network = grouped(
        chain(
            [1, 6],
            ("MatMul", [normal(6, 5)], {}),
            ("Unsqueeze", [ints(1)], {}),
            ("Transpose", [], {"perm": [1, 0, 2]}),
            ("MatMul", [normal(5, 3)], {}),
        )
    )
    assert kinds(network) == ["Convolution", "Convolution"]


def test_nearest_resizing_by_a_whole_number_is_one_block():
    proto = one("Resize", [1, 2, 3, 4], None, None, ints(1, 2, 6, 8), mode="nearest")
    _, network = grouped(proto)
    [layer] = network.layers
    [block] = layer.blocks
    assert block.sizes[-1] == 2
    assert block.strides[-1] == block.to_strides[-1] == 1


def test_positions_without_order_are_a_list():
    places = ints(*np.random.default_rng(0).permutation(40))
    _, network = grouped(one("Gather", [2, 40, 3], places, axis=1))
    [layer] = network.layers
    assert isinstance(layer, layers.Take)
    assert (layer.outer, layer.length, layer.inner) == (2, 40, 3)
    assert layer.indices.tolist() == places.tolist()


@pytest.mark.parametrize(("channels", "expected"), [(1, ["Take", "Take"]), (64, ["Take"])])
def test_resizing_in_two_directions_stores_what_is_smaller(channels, expected):
    sizes = ints(1, channels, 17, 23)
    _, network = grouped(one("Resize", [1, channels, 12, 13], None, None, sizes, mode="nearest"))
    assert kinds(network) == expected


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_padding_that_keeps_sizes_and_repeats_elements(mode):
    amounts = ints(1, 2, -1, 1, -1, 1, 1, 2)
    _, network = grouped(one("Pad", [3, 4, 4, 5], amounts, mode=mode))
    assert "Take" in kinds(network)


def test_a_tensor_that_is_joined_twice_is_one_operand():
    model = build(
        """(float[1,3] x) => (float[1,6] y) {
            q = QuantizeLinear (x, s, z)
            a = DequantizeLinear (q, s, z)
            both = Concat <axis = 1> (a, a)
            p = QuantizeLinear (both, s, z)
            y = DequantizeLinear (p, s, z)
        }""",
        s=np.float32(0.1),
        z=np.int8(3),
    )
    model = ToChannelsLast()(ToInteger()(model).model).model
    [layer] = group(model).layers
    assert len(layer.inputs) == 1
    assert [block.operand for block in layer.blocks] == [0, 0]


def test_padding_fills_and_copies():
    proto = one("Pad", [1, 2, 3, 4], ints(0, 0, 1, 2, 0, 0, 3, 0), np.float32(0.5))
    _, network = grouped(proto)
    [layer] = network.layers
    assert len(layer.blocks) == 1
    assert layer.fill is not None


def test_a_maximum_of_int16_that_runs_on_int32_stays_int16():
    _, network = grouped(GRAPHS["max_3d"](), "int16")
    assert {layer.output.dtype for layer in network.layers} == {"int16"}
    assert any(isinstance(layer, layers.Extreme) for layer in network.layers)


def test_a_softmax_of_another_axis_is_turned():
    _, network = grouped(one("Softmax", [1, 3, 4], axis=1))
    assert kinds(network) == ["Move", "Softmax", "Move"]
    assert network.layers[1].output.shape == (1, 4, 3)


def test_rows_of_a_reshaped_softmax_need_no_copy():
    _, network = grouped(
        chain(
            [1, 3, 4, 4],
            ("Conv", [normal(5, 3, 1, 1)], {}),
            ("GlobalAveragePool", [], {}),
            ("Flatten", [], {}),
            ("Softmax", [], {"axis": -1}),
        )
    )
    assert kinds(network) == ["Convolution", "Reduction", "Softmax"]


def test_a_tensor_has_the_shape_that_its_readers_want():
    g = Graph()
    g.op("MatMul", ["x", g.normal("w", 6, 8)], "a")
    g.op("Reshape", ["a", g.const("s", ints(1, 2, 4))], "b")
    g.op("Mul", ["b", "z"], "y")
    _, network = grouped(g.model({"x": [1, 6], "z": [1, 2, 1]}))
    assert kinds(network) == ["Convolution", "Multiplication"]
    assert network.layers[0].output.shape == (1, 2, 4)


def test_what_broadcasts_in_two_shapes_is_copied_once():
    g = Graph()
    g.op("Mul", ["x", "w"], "a")
    g.op("Reshape", ["a", g.const("s", ints(1, 2, 4))], "b")
    g.op("Mul", ["b", "z"], "y")
    g.op("Add", ["b", "z"], "v")
    inputs = {"x": [1, 8], "w": [1, 8], "z": [1, 2, 1]}
    _, network = grouped(g.model(inputs, ("y", "v")))
    assert len(copies(network)) == 1
