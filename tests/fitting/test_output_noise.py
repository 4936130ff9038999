"""Errors at the outputs, measured against the model as it was at the start."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.fitting.data import open_data
from intaglio.fitting.layers import array_of, find_layers, set_array
from intaglio.fitting.output_noise import OutputNoise, logits_of
from intaglio.targets.base import spec_of
from intaglio.transforms.scales import activation_quantization
from tests.helpers import build

TEXT = """(float[{batch},6] x) => (float[{batch},3] y) {{
    h = Gemm<transB=1>(x, w1, b1) r = Relu(h)
    z = Gemm<transB=1>(r, w2, b2) y = Softmax(z) }}"""


def opened(batch="N", count=10):
    generator = np.random.default_rng(0)
    model = build(
        TEXT.format(batch=batch),
        w1=generator.standard_normal((5, 6)),
        b1=generator.standard_normal(5),
        w2=generator.standard_normal((3, 5)),
        b2=generator.standard_normal(3),
    )
    x = np.random.default_rng(1).standard_normal((count, 6)).astype(np.float32)
    return model, open_data({"x": x}, [spec_of(v) for v in model.graph.inputs]), x


def test_the_logits_stand_for_an_output_behind_a_softmax():
    model, _, _ = opened()
    assert logits_of(model.graph.outputs[0]) == "z"


def test_nothing_quantized_is_no_noise():
    model, data, _ = opened()
    assert OutputNoise(model, data, 8).measure(model) == 0.0


@pytest.mark.parametrize(("batch", "samples"), [("N", 7), ("N", 100), ("1", 7), ("5", 7)])
def test_a_changed_bias_gives_the_power_it_should(batch, samples):
    model, data, x = opened(batch)
    noise = OutputNoise(model, data, samples)
    last = find_layers(model)[0][-1]
    before = array_of(last.bias).copy()
    set_array(last.bias, before + np.float32(0.5))
    used = min(samples, len(x)) if batch != "5" else 10
    w1, b1, w2 = (array_of(v) for v in model.graph.initializers.values() if v.name in PARAMETERS)
    logits = np.maximum(x[:used] @ w1.T + b1, 0) @ w2.T + before
    assert noise.measure(model) == pytest.approx(0.25 * logits.size / np.square(logits).sum(), 1e-4)


PARAMETERS = ("w1", "b1", "w2")


def test_coarser_steps_are_more_noise():
    model, data, _ = opened()
    noise = OutputNoise(model, data, 10)
    found = [
        noise.measure(model, {"r": activation_quantization(0.0, top, "int8")}) for top in (10, 100)
    ]
    assert 0.0 < 10 * found[0] < found[1]
