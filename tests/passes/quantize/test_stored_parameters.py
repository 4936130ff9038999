from __future__ import annotations

import base64
import dataclasses
import zlib

import numpy as np
import pytest

from intaglio.errors import RecipeError
from intaglio.passes.annotations import get_quantization, set_quantization
from intaglio.passes.quantize.stored_parameters import restore_parameters, store_parameters
from intaglio.passes.quantize.weight_grid import WeightGrid
from intaglio.transforms.scales import weight_quantization
from tests.helpers import build


def planned(weights):
    model = build(
        "(float[2,4] x) => (float[2,3] y) { y = Gemm<transB=1>(x, w, b) }",
        w=weights,
        b=np.arange(3.0),
    )
    weight = model.graph.initializers["w"]
    set_quantization(weight, weight_quantization(WEIGHTS, 0))
    return model


WEIGHTS = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


def on_grid(codes):
    return get_quantization(planned(WEIGHTS).graph.initializers["w"]).dequantize(codes)


def codes():
    scheme = weight_quantization(WEIGHTS, 0)
    exact = WEIGHTS / np.array(scheme.scale)[:, None]
    return np.where(np.eye(3, 4, dtype=bool), np.floor(exact), np.rint(exact)).astype(np.int8)


def value(model, name):
    return model.graph.initializers[name].const_value.numpy()


def test_rounded_weights_and_biases_come_back_to_the_bit():
    rounded = planned(on_grid(codes()))
    stored = store_parameters(rounded)
    assert set(stored) == {"w", "b"}
    fresh = planned(WEIGHTS)
    shifted = np.array([0.5, 0.25, 7.0], np.float32)
    stored["b"] = base64.b64encode(zlib.compress(shifted.tobytes())).decode()
    restore_parameters(fresh, stored)
    np.testing.assert_array_equal(value(fresh, "w"), on_grid(codes()))
    np.testing.assert_array_equal(value(fresh, "b"), shifted)


def test_weights_of_sixteen_bits_and_their_bias_come_back_to_the_bit():
    def wide(weights):
        model = planned(weights)
        grid = WeightGrid().quantization(WEIGHTS)
        set_quantization(model.graph.initializers["w"], grid)
        return model, grid

    generator = np.random.default_rng(1)
    model, grid = wide(WEIGHTS)
    moved = grid.quantize(WEIGHTS) + generator.integers(-1, 2, WEIGHTS.shape).astype(np.int16)
    model, _ = wide(grid.dequantize(moved))
    fresh, _ = wide(WEIGHTS)
    restore_parameters(fresh, store_parameters(model))
    np.testing.assert_array_equal(grid.quantize(value(fresh, "w")), moved)
    np.testing.assert_array_equal(value(fresh, "b"), value(model, "b"))


def test_an_edited_scale_is_rounded_anew():
    stored = store_parameters(planned(on_grid(codes())))
    fresh = planned(WEIGHTS)
    weight = fresh.graph.initializers["w"]
    scheme = get_quantization(weight)
    wider = dataclasses.replace(scheme, scale=tuple(2 * s for s in scheme.scale))
    set_quantization(weight, wider)
    restore_parameters(fresh, stored)
    np.testing.assert_array_equal(value(fresh, "w"), WEIGHTS)


def test_what_was_not_stored_stays():
    fresh = planned(WEIGHTS)
    restore_parameters(fresh, {})
    np.testing.assert_array_equal(value(fresh, "w"), WEIGHTS)


@pytest.mark.parametrize(
    "text",
    [
        "not base64!",
        base64.b64encode(b"not compressed").decode(),
        base64.b64encode(zlib.compress(b"short")).decode(),
        base64.b64encode(zlib.compress(b"x" * 100_000)).decode(),
    ],
)
def test_damaged_values_are_refused(text):
    with pytest.raises(RecipeError, match="the plan's values of 'w'") as caught:
        restore_parameters(planned(WEIGHTS), {"w": text})
    assert caught.value.remedy
