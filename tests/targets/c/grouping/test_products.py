"""Products: which convolutions and products small graphs become."""

from __future__ import annotations

import numpy as np
import pytest

from tests.passes.lower.corner_graphs import normal, one
from tests.passes.lower.float_graphs import Graph
from tests.targets.c.grouping.small_graphs import grouped, kinds


def test_a_convolution_has_its_weights_channels_last():
    pads, strides, dilations = [1, 0, 2, 1], [2, 1], [1, 2]
    proto = one(
        "Conv",
        [1, 4, 9, 8],
        normal(6, 2, 3, 2),
        group=2,
        pads=pads,
        strides=strides,
        dilations=dilations,
    )
    _, network = grouped(proto)
    [layer] = network.layers
    assert layer.weights.shape == (6, 3, 2, 2)
    assert layer.weights.flags.c_contiguous
    assert layer.groups == 2
    assert not layer.is_depthwise
    assert _fields(layer.window) == ((9, 8, 4), (5, 7, 6), (3, 2), (2, 1), (1, 2), (1, 0))
    assert layer.sources == ("n",)
    assert [t.source for t in (*layer.inputs, layer.output)] == ["x", "y"]


def _fields(window):
    return (
        window.image,
        window.result,
        window.kernel,
        window.strides,
        window.dilations,
        window.pads,
    )


def test_a_depthwise_convolution_is_known():
    _, network = grouped(one("Conv", [1, 4, 9, 8], normal(8, 1, 3, 3), group=4))
    [layer] = network.layers
    assert layer.is_depthwise
    assert layer.rescale.multiplier.shape == layer.rescale.shift.shape == (8,)


def test_equal_scales_of_all_channels_are_one():
    weights = np.tile(normal(1, 3, 2, 2), (5, 1, 1, 1))
    _, network = grouped(one("Conv", [1, 3, 6, 6], weights))
    [layer] = network.layers
    assert layer.rescale.multiplier.shape == layer.rescale.shift.shape == (1,)


@pytest.mark.parametrize("shape", [[1, 12], [7, 12], [2, 7, 12]])
def test_a_fully_connected_layer_is_a_convolution_of_one_row(shape):
    _, network = grouped(one("MatMul", shape, normal(12, 5)))
    [layer] = network.layers
    rows = int(np.prod(shape[:-1]))
    assert _fields(layer.window)[:3] == ((1, rows, 12), (1, rows, 5), (1, 1))
    assert layer.weights.shape == (5, 1, 1, 12)


def test_only_accumulators_that_may_leave_int32_are_wide():
    few, many = normal(12, 5), np.ones((1000, 3), np.float32)
    _, network = grouped(one("MatMul", [1, 12], few), "int16")
    assert [layer.wide for layer in network.layers] == [False]
    _, network = grouped(one("MatMul", [1, 1000], many), "int16")
    assert [layer.wide for layer in network.layers] == [True]


def test_the_litert_profile_connects_by_real_scales():
    _, network = grouped(one("MatMul", [1, 12], normal(12, 5)), profile="litert")
    [layer] = network.layers
    assert layer.rescale.rounding.value == "real"
    assert layer.rescale.multiplier.min() >= 1 << 52


def test_a_stack_of_constant_matrices_is_a_layer_for_each():
    _, network = grouped(one("MatMul", [3, 4, 6], normal(3, 6, 5)))
    assert kinds(network) == ["Move", "Convolution"] * 3 + ["Move"]
    _, network = grouped(one("MatMul", [4, 6], normal(2, 6, 5)))
    assert kinds(network) == ["Convolution", "Convolution", "Move"]


def test_a_product_of_two_tensors_pairs_their_matrices():
    g = Graph()
    g.op("MatMul", ["a", "b"], "y")
    _, network = grouped(g.model({"a": [2, 3, 4, 6], "b": [3, 6, 5]}))
    [layer] = network.layers
    assert layer.sizes == (4, 6, 5)
    assert layer.batches == ((0, 0), (1, 1), (2, 2), (3, 0), (4, 1), (5, 2))


def test_several_images_have_a_layer_each():
    _, network = grouped(one("Conv", [2, 4, 6, 6], normal(3, 4, 3, 3)))
    assert kinds(network) == ["Move", "Convolution", "Move", "Convolution", "Move"]
